"""A function run in a fresh process of its own, so that its memory and its caches are its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.measure import forget_peak, give_back_freed, now, peak_bytes, resident_bytes

ROOT = Path(__file__).resolve().parents[1]


def apart(
    function: Callable[..., dict[str, float]], *, threads: int = 1, cuda: bool = False, **arguments: Any
) -> dict[str, float]:
    """What `function` returns, run with JSON `arguments` in a new process of so many torch threads.

    Without `cuda` the process sees no GPU.

    Raises:
        RuntimeError: the process fails; with its last words.
    """
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    if not cuda:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    command = [sys.executable, "-m", "benchmarks.apart", f"{function.__module__}:{function.__qualname__}"]
    done = subprocess.run(
        [*command, json.dumps(arguments)], capture_output=True, text=True, cwd=ROOT, env=environment, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[2:])} with {arguments} failed:\n{done.stderr[-3000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def costs(work: Callable[[], object], *, repeats: int) -> dict[str, float]:
    """Peak extra memory of one warm-up call, then the fastest of `repeats` calls, in wall and CPU seconds.

    The fastest, since what other processes add to a short call is never negative.
    """
    give_back_freed()
    before = resident_bytes()
    forget_peak()
    work()
    extra = peak_bytes() - before
    timed = []
    for _ in range(repeats):
        begun = now()
        work()
        timed.append(now() - begun)
    return {
        "wall_seconds": min(cost.wall_seconds for cost in timed),
        "cpu_seconds": min(cost.cpu_seconds for cost in timed),
        "extra_bytes": float(extra),
    }


def main() -> None:
    module, _, name = sys.argv[1].partition(":")
    print(json.dumps(getattr(import_module(module), name)(**json.loads(sys.argv[2]))))


if __name__ == "__main__":
    main()
