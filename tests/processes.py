"""Torch ranks as real processes: of a function, for laws, and of a command, for whole runs.

    values = run_ranks(scenarios.trained, 2, folder)           # one result for each rank, in rank order
    with Command(2, ["-m", "nemo_prorl", "train", ...], logs=tmp_path) as ranks:
        ranks.wait()

Ranks find each other as under torchrun: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT are set for them.
"""

from __future__ import annotations

import multiprocessing
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import wait as wait_for_any
from pathlib import Path
from typing import Any, Literal

# Ranks are forked from a server that has imported these already: a rank starts in a moment instead of ten seconds.
PRELOADED = ["nemo_prorl.megatron.checkpoint", "nemo_prorl.megatron.schedule", "nemo_prorl.megatron.weights"]


class RankFailed(AssertionError):
    """A rank ended with an error, or not in time; the message holds what it wrote."""


def run_ranks(
    function: Callable[..., Any],
    count: int,
    *arguments: Any,
    timeout_seconds: float = 240,
    start_method: Literal["forkserver", "spawn"] = "forkserver",
) -> list[Any]:
    """`function(*arguments)` in each of `count` ranks; what they returned, in rank order.

    The function is found by its module's name, so it can't be a lambda or local; results are stored by `torch.save`.
    CUDA can't be used after a fork: ranks that want it are spawned, and import everything themselves.

    Raises:
        RankFailed: a rank raised an error or took longer than `timeout_seconds`; all ranks have been ended.
    """
    import torch

    context: Any = multiprocessing.get_context(start_method)
    if start_method == "forkserver":
        context.set_forkserver_preload(PRELOADED)
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="ranks_") as folder:
        paths = [Path(folder) / f"rank_{rank}" for rank in range(count)]
        ranks = [
            context.Process(target=_run_rank, args=(function, arguments, environment_of_rank(rank, count, port), path))
            for rank, path in enumerate(paths)
        ]
        for rank in ranks:
            rank.start()
        try:
            failed = _first_failed(ranks, timeout_seconds)
        finally:
            for rank in ranks:
                rank.kill()
                rank.join(30)
        if failed is not None:
            raise RankFailed(f"rank {failed} of {count} failed\n" + "\n".join(map(_log_of, paths)))
        return [torch.load(path.with_suffix(".result"), weights_only=False) for path in paths]


class Command:
    """`count` ranks of `python *arguments`, each writing to `<logs>/rank_<n>.log`; none outlives the `with`."""

    def __init__(
        self,
        count: int,
        arguments: Sequence[str],
        *,
        logs: Path,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.logs = [logs / f"rank_{rank}.log" for rank in range(count)]
        port = free_port()
        self.processes = []
        for rank, path in enumerate(self.logs):
            own = {**os.environ, **environment_of_rank(rank, count, port), **(environment or {})}
            with path.open("wb") as log:
                self.processes.append(
                    subprocess.Popen(
                        [sys.executable, *arguments],
                        env=own,
                        cwd=folder,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )

    def wait(self, timeout_seconds: float = 600) -> list[int]:
        """The exit codes. After a rank has failed the others get a few seconds before they are killed."""
        deadline = time.monotonic() + timeout_seconds
        while any(process.poll() is None for process in self.processes):
            if any(process.returncode for process in self.processes):
                deadline = min(deadline, time.monotonic() + 15)
            if time.monotonic() > deadline:
                self.kill()
            time.sleep(0.05)
        return [process.returncode for process in self.processes]

    def output(self, rank: int = 0) -> str:
        """What a rank has written so far to stdout and stderr."""
        return self.logs[rank].read_text(encoding="utf-8", errors="replace")

    def kill(self) -> None:
        """kill -9, of every rank and of whatever it has started."""
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()


def free_port() -> int:
    """A port of this host that nobody uses now, and that nobody is given by chance before our ranks take it.

    Systems hand out ports above 32768 to whoever asks for any; and each test worker looks in a range of its own.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
    while True:
        port = 20_000 + 1_500 * worker + secrets.randbelow(1_500)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def environment_of_rank(rank: int, count: int, port: int) -> dict[str, str]:
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def _run_rank(
    function: Callable[..., Any], arguments: tuple[Any, ...], environment: Mapping[str, str], path: Path
) -> None:
    """The whole life of a forked rank. Its output goes to a file, since the server's own may be gone."""
    import torch

    with path.with_suffix(".log").open("wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.environ.update(environment)
    torch.set_num_threads(1)
    try:
        torch.save(function(*arguments), path.with_suffix(".result"))
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # at once: a peer may be waiting for this rank in a collective


def _first_failed(ranks: Sequence[Any], timeout_seconds: float) -> int | None:
    """Wait until all ranks have ended well; the number of the first that has not."""
    deadline = time.monotonic() + timeout_seconds
    running = dict(enumerate(ranks))
    while running:
        left = deadline - time.monotonic()
        if left <= 0 or not wait_for_any([rank.sentinel for rank in running.values()], timeout=left):
            return min(running)
        for number, rank in list(running.items()):
            if rank.exitcode is not None:
                if rank.exitcode != 0:
                    return number
                del running[number]
    return None


def _log_of(path: Path) -> str:
    log = path.with_suffix(".log")
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return f"--- {path.name} ---\n{text[-4000:]}"
