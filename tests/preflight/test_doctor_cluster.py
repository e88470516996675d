"""`prorl doctor cluster` as a user starts it."""

from __future__ import annotations

import json
import time

import pytest

from nemo_prorl.cli import main
from nemo_prorl.commands.doctor_cluster import Limit
from tests.end_to_end.runs import ROOT
from tests.processes import Command, run_ranks

pytestmark = pytest.mark.processes
ENOUGH = "120"  # seconds: a busy machine


def test_a_host_alone_is_looked_at(tmp_path, capfd):
    assert main(["doctor", "cluster", "--folder", str(tmp_path / "run"), "--free-gib", "0", "--seconds", ENOUGH]) == 0
    said = capfd.readouterr().out
    assert "1 ranks on 1 hosts: ready" in said
    assert "gloo, met in" in said
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_is_told_for_programs_too(tmp_path, capfd):
    asked = ["doctor", "cluster", "--folder", str(tmp_path), "--free-gib", "1e9", "--json", "--seconds", ENOUGH]
    assert main(asked) == 1
    (report,) = json.loads(capfd.readouterr().out)["reports"]
    assert [one["check"] for one in report["findings"] if one["outcome"] == "failed"] == ["free space"]


@pytest.mark.parametrize("limit", ["5", "nan", "soon"])
def test_a_limit_in_which_ranks_could_not_meet_is_refused(limit, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "cluster", "--seconds", limit])
    assert ended.value.code == 2
    assert f"{limit!r} is not a number of seconds from 10 to 3600" in capsys.readouterr().err


def ended_by_limit() -> None:
    with Limit("rank 1 on n2", 0.2, "asking nvidia-smi"):
        time.sleep(60)


def test_a_check_that_hangs_ends_with_its_name():
    with pytest.raises(AssertionError, match=r"rank 1 on n2: still asking nvidia-smi after 0.2 seconds"):
        run_ranks(ended_by_limit, 1)


def test_two_ranks_find_each_other_and_one_tells(tmp_path):
    asked = ["-m", "nemo_prorl", "doctor", "cluster", "--folder", str(tmp_path), "--free-gib", "0", "--seconds", ENOUGH]
    with Command(2, asked, logs=tmp_path, folder=ROOT) as ranks:
        codes = ranks.wait(200)
    assert codes == [0, 0], ranks.output(0) + ranks.output(1)
    assert "2 ranks on 1 hosts: ready" in ranks.output(0)
    assert "all 2 ranks see each other" in ranks.output(0)
