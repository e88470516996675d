"""`python -m benchmarks.pool_soak [verdicts]`: what the pool itself costs, and whether anything stays behind.

100,000 verdicts by verifiers that take no time, by real ones, by some that end or hang their process, in confined and
in other processes that are replaced every 200 verdicts. All along, this process's and the fork server's descriptors,
memory and children are watched; at the end all must be gone.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from random import Random
from typing import Any

import psutil

from benchmarks.machine import in_a_line, machine
from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.trajectory import OUTCOMES, Verdict
from nemo_prorl.verifiers.pool import VerifierPool

WORKERS, DEADLINE_SECONDS, VERDICTS_PER_PROCESS, WAITING = 2, 1.0, 200, 500
RESULTS = Path(__file__).parent / "results" / "pool_soak.json"
TEXT = "Let me think. " * 300
SUM = {"dataset": "chain_sum", "entry": {"question": "1 + 2 =", "answer": "3", "metadata": {}}}


class Idle:
    """Takes no time, so that all there is to measure is the pool."""

    def check(self, reference: Mapping[str, Any], text: str) -> Verdict:
        return Verdict(1.0, "nothing to do")


class Open(Idle):
    confined = False


class Dies:
    def check(self, reference: Mapping[str, Any], text: str) -> Verdict:
        os._exit(3)


class Hangs:
    def check(self, reference: Mapping[str, Any], text: str) -> Verdict:
        while True:
            time.sleep(1)


# Name, reference, text, and how often it is drawn.
MIX: tuple[tuple[str, dict[str, Any], str, float], ...] = (
    ("benchmarks.pool_soak:Idle", {}, TEXT, 6000),
    ("benchmarks.pool_soak:Open", {}, TEXT, 1000),
    ("logic", SUM, TEXT + "<answer>3</answer>", 2500),
    ("math", {"answer": "1/2"}, TEXT + "\\boxed{0.5}", 450),
    ("benchmarks.pool_soak:Dies", {}, TEXT, 48),
    ("benchmarks.pool_soak:Hangs", {}, TEXT, 2),
)


def main(verdicts: int = 100_000) -> int:
    described = machine()
    print(in_a_line(described))
    overhead = overhead_of(20_000)
    print("the pool's own, by verdict: " + ", ".join(f"{key} {value:.3f}" for key, value in overhead.items()))
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        before = _state()
        begun = time.perf_counter()
        with _pool(VERDICTS_PER_PROCESS) as pool:
            watched, outcomes = soak(pool, verdicts)
        seconds = time.perf_counter() - begun
        after = _state() | {"temporary_files": len(list(Path(folder).iterdir()))}
    problems = problems_of(before, watched, after)
    print(f"{verdicts} verdicts in {seconds:.0f} s: {outcomes}")
    print("\n".join(problems) or "nothing stays behind")
    RESULTS.parent.mkdir(exist_ok=True)
    found = {"before": before, "watched": watched, "after": after, "outcomes": outcomes, "seconds": round(seconds)}
    report = {"machine": described, "verdicts": verdicts, "overhead": overhead, "problems": problems, **found}
    RESULTS.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written to {RESULTS}")
    return 1 if problems else 0


def overhead_of(verdicts: int) -> dict[str, float]:
    """Milliseconds of CPU time by verdict, on 4 kB of text: of this process, and of the pool's processes."""
    with _pool(1000) as pool:
        for future in [pool.submit(_prompt(*MIX[0][:2]), TEXT) for _ in range(100)]:
            future.result()
        ours, theirs, begun = time.process_time(), _cpu_of_children(), time.perf_counter()
        for future in [pool.submit(_prompt(*MIX[0][:2]), TEXT) for _ in range(verdicts)]:
            future.result()
        return {
            "here_ms": 1000 * (time.process_time() - ours) / verdicts,
            "in_processes_ms": 1000 * (_cpu_of_children() - theirs) / verdicts,
            "wall_ms": 1000 * (time.perf_counter() - begun) / verdicts,
        }


def soak(pool: VerifierPool, verdicts: int) -> tuple[list[dict[str, int]], dict[str, int]]:
    """What was seen on the way, ten times, and how many verdicts came out how."""
    draw = Random(0)
    waiting: deque[Future[Verdict]] = deque()
    watched, outcomes = [], dict.fromkeys(OUTCOMES, 0)
    for number in range(verdicts):
        name, reference, text, _ = draw.choices(MIX, [weight for *_, weight in MIX])[0]
        waiting.append(pool.submit(_prompt(name, reference), text))
        while len(waiting) > WAITING or (number == verdicts - 1 and waiting):
            outcomes[waiting.popleft().result().outcome] += 1
        if (number + 1) % (verdicts // 10) == 0:
            watched.append({"verdicts": number + 1, **_state()})
            print(watched[-1], flush=True)
    return watched, outcomes


def problems_of(before: dict[str, int], watched: list[dict[str, int]], after: dict[str, int]) -> list[str]:
    """What grew, or stayed, in words."""
    first, last = watched[1], watched[-1]
    problems = [
        f"{name} grew from {first[name]} to {last[name]}"
        for name, allowed in {
            "descriptors": 2,
            "server_descriptors": 2,
            "memory_mib": 50,
            "server_memory_mib": 50,
        }.items()
        if last[name] > first[name] + allowed
    ]
    problems += [f"{row['zombies']} zombies at {row['verdicts']}" for row in watched if row["zombies"] > WORKERS]
    problems += [f"{row['processes']} processes" for row in watched if row["processes"] > 1 + 2 * WORKERS]
    problems += [
        f"{name} is {after[name]}, was {before[name]}"
        for name in ("descriptors", "processes")
        if after[name] > before[name]
    ]
    return problems + ([f"{after['temporary_files']} temporary files"] if after["temporary_files"] else [])


def _state() -> dict[str, int]:
    this = psutil.Process()
    children = this.children(recursive=True)
    state = {
        "descriptors": this.num_fds(),
        "memory_mib": this.memory_info().rss >> 20,
        "processes": len(children),
        "zombies": sum(child.status() == psutil.STATUS_ZOMBIE for child in children if child.is_running()),
    }
    servers = [child for child in children if child.ppid() == this.pid]
    return state | {
        "server_descriptors": sum(server.num_fds() for server in servers),
        "server_memory_mib": sum(server.memory_info().rss >> 20 for server in servers),
    }


def _cpu_of_children() -> float:
    children = psutil.Process().children(recursive=True)
    return sum(sum(child.cpu_times()) for child in children)


def _pool(verdicts_per_process: int) -> VerifierPool:
    return VerifierPool(
        workers=WORKERS,
        deadline_seconds=DEADLINE_SECONDS,
        max_error_rate=1.0,
        min_verdicts_to_judge=1,
        verdicts_per_process=verdicts_per_process,
    )


def _prompt(verifier: str, reference: dict[str, Any]) -> Prompt:
    return Prompt("soak", "math", "soak", "soak", ({"role": "user", "content": "?"},), (1,), verifier, reference)


if __name__ == "__main__":
    raise SystemExit(main(*map(int, sys.argv[1:])))
