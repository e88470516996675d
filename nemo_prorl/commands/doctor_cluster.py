"""`prorl doctor cluster`: whether all hosts of a job have what a run needs, and see and reach each other."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from nemo_prorl.commands.option_parser import seconds
from nemo_prorl.errors import ProRLError
from nemo_prorl.preflight.finding import Finding, RankReport
from nemo_prorl.preflight.host import check_gpus, check_space, gpus_of_job
from nemo_prorl.preflight.meeting import Meeting
from nemo_prorl.preflight.versions import check_versions
from nemo_prorl.world import rank_from_environment, world_size_from_environment

FAILED = 1
IMPORT_SECONDS = 120.0  # importing torch from a cold network file system takes its time, and is no failure
SECONDS_TO_TELL = 4.0  # before the limit: what is missing by then is missing
LEAST_SECONDS = 10.0  # in less, ranks could not find each other before that

DESCRIPTION = """\
Look at this host; under srun or torchrun at all hosts of the job, and whether they see and reach each other:
versions, GPUs, driver, free space, the shared folder, one all-reduce. Says what to do about what is wrong, and exits
with 1 then."""

EXAMPLES = """\
examples:
  prorl doctor cluster --folder runs                         this host
  sbatch slurm/preflight.sh FOLDER                           all hosts of a job
  torchrun --nproc-per-node 2 -m nemo_prorl doctor cluster   the ranks of this one

Exit codes: 0; 1 when something is wrong, with what to do about it."""


def add_topic(topics: Any) -> None:
    """The topic's own options, for `prorl doctor`."""
    topic = topics.add_parser(
        "cluster",
        help="what a run on several hosts needs",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    topic.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        default=Path(),
        help="run.dir, or where runs lie: must be shared by all hosts; default: here",
    )
    topic.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="what the run is to compute on"
    )
    topic.add_argument(
        "--seconds",
        type=seconds(LEAST_SECONDS, 3600),
        default=30.0,
        metavar="N",
        help="limit of all checks; default: 30",
    )
    topic.add_argument("--free-gib", type=float, default=50.0, metavar="N", help="in --folder; default: 50")
    topic.add_argument("--json", action="store_true", help="for programs to read")
    topic.set_defaults(action=cluster, plan="would look at every host of this job, and have them meet")


def cluster(options: argparse.Namespace) -> int:
    """Check, and on the first rank say what all ranks have found. Returns the exit code."""
    rank, size = rank_from_environment(), world_size_from_environment()
    meeting = Meeting(existing(options.folder.absolute()), meeting_name(os.environ), size=size)
    with Limit(f"rank {rank} on {socket.gethostname()}", IMPORT_SECONDS, "importing torch") as limit:
        import torch.cuda  # first, so that its time isn't the checks'

        device = options.device if options.device != "auto" else _device(torch.cuda.is_available())
        limit.restart(options.seconds)
        own = _examine(options, device, limit, meeting)
        if rank != 0:
            return FAILED if own.failed else 0
        limit.doing = "waiting for the reports of the other ranks"
        everybody = {0: own, **_heard(meeting, limit)}
    print(json.dumps(_as_json(everybody, size), indent=1) if options.json else told(everybody, size))
    return 0 if len(everybody) == size and all(one.done and not one.failed for one in everybody.values()) else FAILED


def _examine(options: argparse.Namespace, device: Literal["cpu", "cuda"], limit: Limit, meeting: Meeting) -> RankReport:
    """This rank's report, which it has left for the first one, too."""
    found: list[Finding] = []
    host = os.environ.get("SLURMD_NODENAME") or socket.gethostname()

    def report(*, done: bool) -> RankReport:
        return RankReport(rank_from_environment(), host, tuple(found), done)

    try:
        meeting.leave(report(done=False))
        for finding in _checks(options, device, limit, meeting):
            found.append(finding)
            meeting.leave(report(done=False))
        meeting.leave(report(done=True))
    except OSError as error:
        advice = "it must be writable on every host (in a container: CONTAINER_MOUNTS)"
        found.append(Finding("shared folder", "failed", str(error), advice))
    return report(done=True)


def _heard(meeting: Meeting, limit: Limit) -> dict[int, RankReport]:
    """The reports of all ranks that have come to their end in time, and of others as far as they have come."""
    whole = meeting.gather(limit.end - SECONDS_TO_TELL / 4, done=True)
    heard = {**meeting.reports(), **whole}
    meeting.close()
    return heard


def _checks(
    options: argparse.Namespace, device: Literal["cpu", "cuda"], limit: Limit, meeting: Meeting
) -> Iterator[Finding]:
    limit.doing = "looking at versions"
    yield from check_versions()
    folder = meeting.folder.parent
    limit.doing = f"looking at {folder}"
    yield check_space(folder, options.free_gib)
    if device == "cuda":
        limit.doing = "asking nvidia-smi"
        yield from check_gpus(gpus_of_job())
    limit.doing = f"looking for the other ranks in {folder}"
    seen = meeting.check(limit.end - 2 * SECONDS_TO_TELL)
    yield seen
    if seen.outcome == "ok":  # else nobody would answer
        limit.doing = "adding up a number of all ranks"
        yield _all_reduce(device, limit)


def _all_reduce(device: Literal["cpu", "cuda"], limit: Limit) -> Finding:
    from nemo_prorl.megatron.reach import all_reduce_once

    try:
        return Finding("network", "ok", str(all_reduce_once(device, limit.end - time.monotonic() - SECONDS_TO_TELL)))
    except ProRLError as error:
        found, _, advice = str(error).partition(": ")
        return Finding("network", "failed", found, advice)
    except (RuntimeError, ValueError, OSError) as error:
        advice = (
            "the hosts see each other's files, but don't reach each other: NCCL_SOCKET_IFNAME or GLOO_SOCKET_IFNAME "
            "may have to name the interface, a firewall may be in between; NCCL_DEBUG=INFO says more (docs/cluster.md)"
        )
        found = str(error).strip() or type(error).__name__
        return Finding("network", "failed", found.splitlines()[0], advice)


class Limit:
    """Inside the `with`, the process ends with a sentence when the time is up: a driver or a file system that hangs
    can't be interrupted otherwise. `doing` is what the sentence names."""

    def __init__(self, who: str, seconds: float, doing: str) -> None:
        self._who, self.doing = who, doing
        self._over = threading.Event()
        self.restart(seconds)

    def restart(self, seconds: float) -> None:
        self._seconds, self.end = seconds, time.monotonic() + seconds

    def __enter__(self) -> Limit:
        threading.Thread(target=self._watch, name="limit", daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()

    def _watch(self) -> None:
        while (left := self.end - time.monotonic()) > 0:
            if self._over.wait(left):
                return
        sys.stderr.write(
            f"prorl doctor cluster: {self._who}: still {self.doing} after {self._seconds:g} seconds. Exclude the host "
            "if others are faster (sbatch --exclude), or allow more time with --seconds\n"
        )
        sys.stderr.flush()
        os._exit(FAILED)


def existing(folder: Path) -> Path:
    """`folder`, or what exists above it: a run makes its folder itself."""
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def meeting_name(environment: Mapping[str, str]) -> str:
    """The same on all ranks of a start, and of no other one."""
    parts = [environment.get(name) for name in ("SLURM_JOB_ID", "SLURM_RESTART_COUNT", "SLURM_STEP_ID")]
    if parts[0] is not None:
        return "_".join(part or "0" for part in parts)
    return environment.get("TORCHELASTIC_RUN_ID") or environment.get("MASTER_PORT") or str(os.getpid())


def told(everybody: Mapping[int, RankReport], size: int) -> str:
    """Every finding once, with the ranks and hosts that have it; what is wrong comes last, with what to do."""
    holders: dict[Finding, list[RankReport]] = {}
    for report in everybody.values():
        for finding in report.findings:
            holders.setdefault(finding, []).append(report)
    lines = []
    for finding, reports in sorted(
        holders.items(), key=lambda held: ("ok", "warning", "failed").index(held[0].outcome)
    ):
        whose = "" if len(reports) == size else f"  [{_whose(reports)}]"
        lines.append(f"{finding.outcome:<8} {finding.check:<18} {finding.found}{whose}")
        lines += [f"{'':<27} -> {finding.advice}"] if finding.advice else []
    silent = [f"rank {rank}" for rank in range(size) if rank not in everybody or not everybody[rank].done]
    if silent:
        lines.append(f"{'failed':<8} {'reports':<18} nothing, or not all, was heard of {', '.join(silent)}")
    is_well = not silent and all(finding.outcome != "failed" for finding in holders)
    hosts = len({report.host for report in everybody.values()})
    lines.append(f"{size} ranks on {hosts} hosts: {'ready' if is_well else 'NOT ready'}")
    return "\n".join(lines)


def _whose(reports: list[RankReport]) -> str:
    by_host: dict[str, list[int]] = {}
    for report in reports:
        by_host.setdefault(report.host, []).append(report.rank)
    return "; ".join(f"{host}: rank {', '.join(map(str, ranks))}" for host, ranks in by_host.items())


def _as_json(everybody: Mapping[int, RankReport], size: int) -> dict[str, Any]:
    return {"ranks": size, "reports": [report.as_json() for _, report in sorted(everybody.items())]}


def _device(torch_sees_one: bool) -> Literal["cpu", "cuda"]:
    """Where there is a driver a GPU is meant, whatever torch makes of it."""
    return "cuda" if torch_sees_one or shutil.which("nvidia-smi") else "cpu"
