from __future__ import annotations

import json
import threading
import time

import pytest
from packaging.specifiers import SpecifierSet

from nemo_prorl.commands.doctor_cluster import existing, meeting_name, told
from nemo_prorl.errors import DataError
from nemo_prorl.preflight.finding import Finding, RankReport
from nemo_prorl.preflight.host import check_gpus, check_space, gpus_of_job
from nemo_prorl.preflight.meeting import Meeting
from nemo_prorl.preflight.versions import check_versions, our_requirements

NGC = {
    "torch": "2.10.0a0+b4e4ee81d3.nv25.12",
    "megatron-core": "0.16.1",
    "nemo-aligner": "0.7.0",
    "transformers": "4.57.3",
    "transformer-engine": "2.10.0",
    "apex": "0.1",
    "tensorrt-llm": "1.2.1",
}
GOOD_GPU = "NVIDIA H100 80GB HBM3, 580.95.05, 4, 81559, 0"


def outcomes(installed: dict[str, str]) -> dict[str, str]:
    known = {"torch": ">=2.6", "megatron-core": ">=0.16,<0.17", "nemo-aligner": "==0.7.0", "transformers": ">=5,<6"}
    findings = check_versions(installed.get, {name: SpecifierSet(text) for name, text in known.items()})
    return {finding.check: finding.outcome for finding in findings}


def test_versions_of_nvidias_image_are_known_but_for_its_older_transformers():
    assert outcomes(NGC) == dict.fromkeys(NGC, "ok") | {"transformers": "warning"}


def test_what_is_required_and_missing_fails_and_what_is_optional_does_not():
    assert outcomes({"transformers": "5.1"}) == {
        **dict.fromkeys(("torch", "megatron-core", "nemo-aligner"), "failed"),
        **dict.fromkeys(("transformers", "transformer-engine", "apex", "tensorrt-llm"), "ok"),
    }


def test_versions_that_we_do_not_know_are_warned_of():
    found = outcomes(NGC | {"megatron-core": "0.17.0", "transformer-engine": "1.13.0", "tensorrt-llm": "0.20.0"})
    assert [name for name, outcome in found.items() if outcome == "warning"] == [
        *("megatron-core", "transformers", "transformer-engine", "tensorrt-llm")
    ]


def test_our_own_requirements_say_what_is_known():
    assert our_requirements()["megatron-core"].contains("0.16.1")
    assert not our_requirements()["megatron-core"].contains("0.17.0")


@pytest.mark.parametrize(
    ("query", "check", "words"),
    [
        (GOOD_GPU, "GPUs", "1, but 2 tasks run here"),
        (f"{GOOD_GPU}\n{GOOD_GPU.replace(' 4,', ' 60000,')}", "GPUs", "number [1] in use (60,000 MiB)"),
        (f"{GOOD_GPU[:-1]}3\n{GOOD_GPU}", "GPUs", "uncorrected memory errors on number [0]"),
        (f"{GOOD_GPU}\n{GOOD_GPU}".replace("580.95.05", "470.1"), "driver", "470.1"),
        ("Failed to initialize NVML: Driver/library version mismatch", "GPUs", "NVML"),
    ],
)
def test_a_host_whose_gpus_are_not_fit_is_told_with_advice(query, check, words):
    (bad,) = [finding for finding in check_gpus(2, query) if finding.outcome == "failed"]
    assert bad.check == check
    assert words in bad.found
    assert bad.advice


def test_gpus_that_are_fit_are_counted():
    findings = check_gpus(2, f"{GOOD_GPU}\n{GOOD_GPU.replace(', 0', ', [N/A]')}")
    assert [(one.outcome, one.found) for one in findings] == [("ok", "580.95.05"), ("ok", "2 x NVIDIA H100 80GB HBM3")]


def test_a_step_needs_a_gpu_for_each_task_of_a_host():
    assert gpus_of_job({"SLURM_STEP_TASKS_PER_NODE": "8(x4)"}) == 8
    assert gpus_of_job({"SLURM_STEP_TASKS_PER_NODE": "2,1"}) == 2
    assert gpus_of_job({}) == 0


def test_room_is_measured_where_the_run_will_write(tmp_path):
    assert check_space(tmp_path, 0.0).outcome == "ok"
    assert check_space(tmp_path, 1e9).outcome == "failed"
    assert existing(tmp_path / "not" / "yet") == tmp_path


def report(rank: int, *findings: Finding, done: bool = True) -> RankReport:
    return RankReport(rank, f"n{rank // 2 + 1}", findings, done)


def test_a_finding_that_is_not_well_says_what_to_do():
    with pytest.raises(DataError, match="without a word on what to do"):
        Finding("GPUs", "failed", "none")


def test_ranks_meet_in_a_folder(tmp_path):
    meetings = [Meeting(tmp_path, "job", size=3) for _ in range(3)]
    seen: list[Finding] = []

    def come(rank: int) -> None:
        meetings[rank].leave(report(rank, done=False))
        seen.append(meetings[rank].check(time.monotonic() + 20))

    threads = [threading.Thread(target=come, args=(rank,)) for rank in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [finding.outcome for finding in seen] == ["ok"] * 3
    meetings[1].leave(report(1, Finding("versions", "ok", "fine")))
    assert meetings[0].gather(time.monotonic(), done=True) == {1: report(1, Finding("versions", "ok", "fine"))}
    meetings[0].close()
    assert list(tmp_path.iterdir()) == []


def test_a_rank_that_never_comes_is_named(tmp_path):
    meeting = Meeting(tmp_path, "job", size=3)
    meeting.leave(report(0))
    finding = meeting.check(time.monotonic() + 0.2)
    assert finding.outcome == "failed"
    assert "nothing seen of rank 1, 2" in finding.found


def test_every_finding_is_told_once_with_the_hosts_that_have_it():
    torch, full = Finding("torch", "ok", "2.6"), Finding("free space", "failed", "0.1 GiB in /run", "make room")
    text = told({rank: report(rank, torch, *([full] if rank > 1 else [])) for rank in range(4)}, 4)
    assert text.splitlines() == [
        "ok       torch              2.6",
        "failed   free space         0.1 GiB in /run  [n2: rank 2, 3]",
        "                            -> make room",
        "4 ranks on 2 hosts: NOT ready",
    ]


def test_a_rank_that_was_not_heard_to_the_end_is_a_failure():
    text = told({0: report(0), 1: report(1, done=False)}, 3)
    assert "nothing, or not all, was heard of rank 1, rank 2" in text
    assert text.endswith("NOT ready")


def test_a_report_survives_its_file():
    whole = report(3, Finding("GPUs", "warning", "odd", "look"))
    assert RankReport.from_json(json.loads(json.dumps(whole.as_json()))) == whole


def test_each_start_meets_under_a_name_of_its_own():
    first = meeting_name({"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "1"})
    assert first == meeting_name({"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "1", "SLURM_PROCID": "3"})
    assert first != meeting_name({"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "1", "SLURM_RESTART_COUNT": "1"})
