"""A rank dies, stops, hangs or fails: all ranks end within seconds, with one line that says which, where and why.

The suite tries each kind. Many in a row, at random moments of every phase, with what they leave compared with an
unbroken run bit for bit:

    PRORL_FAULTS=20 python -m pytest tests/end_to_end/test_faults.py -s
"""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.end_to_end.forked import Death, Forked, status
from tests.end_to_end.runs import settings

pytestmark = [pytest.mark.end_to_end, pytest.mark.processes]

LOST, HUNG = 12, 13
KILLED = -signal.SIGKILL
END_SECONDS = 60.0
SOON = ["run.watchdog.silent_seconds=5", "run.watchdog.minutes=0.1"]


def ends(folder: Path, arguments: Sequence[str], death: Death, codes: list[int]) -> str:
    """Run two ranks until `death` has come over one of them, and see all end with these codes; gives what they said."""
    with Forked(arguments, folder / "logs", ranks=2, death=death) as run:
        assert run.until(run.death_has_come), f"it ended before\n{run.output()}"
        begun = time.monotonic()
        found = run.wait(END_SECONDS)
        assert found == codes, f"{found} after {time.monotonic() - begun:.0f} s\n{run.output()}"
        return run.output()


@pytest.mark.parametrize(
    ("death", "codes", "said"),
    [
        (Death("starting", seconds=1.0, rank=1), [LOST, KILLED], "in phase starting"),
        (Death("update", 2, rank=1), [LOST, KILLED], "has ended without a word"),
        (Death("rollout", 2, 0.3, rank=0), [KILLED, LOST], "in phase rollout after step 1"),
        (Death("rollout", 2, rank=1, how="stop"), [HUNG, HUNG], "no sign of life"),
        (Death("update", 2, rank=1, how="hang"), [HUNG, HUNG], "no progress"),
        (Death("checkpoint", 1, rank=1, how="raise"), [LOST, 1], "Fault: a fault of the test's own in checkpoint"),
    ],
    ids=lambda value: f"{value.how}_{value.rank}_in_{value.phase}" if isinstance(value, Death) else "",
)
def test_whatever_befalls_a_rank_all_end_soon_and_say_which_and_where(
    death: Death, codes: list[int], said: str, model: Path, problems: Path, tmp_path: Path
) -> None:
    arguments = settings(model, problems, tmp_path / "run", "megatron.tensor_parallel_size=2", *SOON)
    output = ends(tmp_path, arguments, death, codes)
    assert said in output, output
    assert f"rank {death.rank}" in output, output
    if death.rank != 0:
        left = status(tmp_path / "run")
        assert (left["state"], left["exit_code"], left["restart"]) == ("failed", codes[0], True), left
        assert f"rank {death.rank}" in left["reason"]
    if death.how == "hang":
        logs = (tmp_path / "run").glob("attempts/0001/logs/rank_*.log")
        stacks = [log.read_text() for log in sorted(logs)]
        assert len(stacks) == 2
        assert all("most recent call first" in text for text in stacks)
        assert "in comes" in stacks[1]
