"""How a checkpoint gets onto the disk: whole or not at all, in this thread or in one beside the training."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.distributed.checkpoint.api import CheckpointException

from nemo_prorl.errors import CheckpointError
from nemo_prorl.megatron import checkpoint_folder, manifest
from nemo_prorl.megatron.checkpoint_folder import STATE
from nemo_prorl.megatron.torch_dist import TorchDist
from nemo_prorl.world import TorchWorld


class NotWrittenError(Exception):
    """Why some rank could not write its part, or the main rank not read the folder."""


@dataclass(frozen=True)
class Contents:
    """What this rank writes of the checkpoint of `step`: the trainer's own state, its random states, its tensors.

    The main rank writes `described` too, by file name: what the model is, for other programs.
    """

    step: int
    state: str
    random_states: bytes
    tensors: TorchDist
    described: Mapping[str, bytes]


class CheckpointWriter:
    """Writes into one folder, together with the other ranks of `world`. Every method is collective."""

    def __init__(self, folder: Path, world: TorchWorld) -> None:
        self._folder, self._world = folder, world

    def write(self, contents: Contents, tidy: Callable[[], None]) -> Path:
        """Write it beside, get it onto the disk, and give it its name. Then `tidy` runs on the main rank.

        Raises:
            CheckpointError: it could not be written; nothing half-written is left behind.
        """
        final = self._folder / checkpoint_folder.name_of(contents.step)
        partial = checkpoint_folder.unfinished(final)
        try:
            self._on_main(lambda: _make_empty(partial))
            contents.tensors.write(partial, self._on_main, self._world.group)
            random_states = partial / random_states_of(self._world.rank)
            together(self._world, lambda: random_states.write_bytes(contents.random_states))
            self._on_main(lambda: (partial / STATE).write_text(contents.state, encoding="utf-8"))
            self._on_main(lambda: _write_all(partial, contents.described))
            self._seal(partial, final)
        except (NotWrittenError, CheckpointException) as error:
            if self._world.is_main:
                shutil.rmtree(partial, ignore_errors=True)
            self._world.barrier()
            raise CheckpointError(
                f"the checkpoint of step {contents.step} could not be written to {self._folder}: {root_cause(error)}. "
                "Earlier checkpoints are untouched. Make room on the disk or choose another run.dir, then start again"
            ) from error
        if self._world.is_main:
            tidy()
        self._world.barrier()
        return final

    def _seal(self, partial: Path, final: Path) -> None:
        """Everything is written: note it down, get it onto the disk, and give it its name."""
        names = together(self._world, lambda: manifest.files_of(partial) if self._world.is_main else [])[0]
        mine = names[self._world.rank :: self._world.size]
        parts = together(self._world, lambda: {name: manifest.fingerprint(partial / name) for name in mine})
        whole = {name: wanted for part in parts for name, wanted in sorted(part.items())}

        def finish() -> None:
            manifest.write(partial, whole)
            checkpoint_folder.replace(final, partial)
            manifest.sync(final.parent)

        self._on_main(finish)

    def _on_main(self, action: Callable[[], Any]) -> None:
        together(self._world, lambda: action() if self._world.is_main else None)


class InFlight:
    """A checkpoint that is being written by a thread of its own, while this one trains."""

    def __init__(self, step: int, write: Callable[[], Path]) -> None:
        self._step, self._write = step, write
        self._path: Path | None = None
        self._failure: CheckpointError | None = None
        self._thread = threading.Thread(target=self._run, name=f"checkpoint-{step}", daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether it is written, or has failed, as far as this rank is concerned."""
        return not self._thread.is_alive()

    def wait(self) -> tuple[Path | None, CheckpointError | None]:
        """The checkpoint, or why there is none."""
        self._thread.join()
        return self._path, self._failure

    def _run(self) -> None:
        try:
            self._path = self._write()
        except CheckpointError as error:
            self._failure = error
        except BaseException as error:  # a thread has nobody to tell but who waits for it
            self._failure = CheckpointError(f"writing the checkpoint of step {self._step} failed: {root_cause(error)}")
            self._failure.__cause__ = error


def together(world: TorchWorld, action: Callable[[], Any]) -> list[Any]:
    """`action` on every rank; all results. When it fails on one, it fails on all: none waits for one that left.

    Raises:
        NotWrittenError: it did.
    """
    result = failure = None
    try:
        result = action()
    except Exception as error:
        failure = f"{root_cause(error)} (rank {world.rank})"
    answers = world.gather((result, failure))
    failures = [text for _, text in answers if text is not None]
    if failures:
        raise NotWrittenError("; ".join(failures))
    return [result for result, _ in answers]


def _write_all(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)


def random_states_of(rank: int) -> str:
    return f"rng_{rank:05d}.pt"


def root_cause(error: BaseException) -> str:
    """The innermost reason in one line; torch wraps what a rank raised in a report of all ranks."""
    if isinstance(error, NotWrittenError):
        return str(error)
    where = ""
    if isinstance(error, CheckpointException) and error.failures:
        rank, (inner, _) = sorted(error.failures.items())[0]
        error, where = inner, f" (rank {rank})"
    if "unexpected pos" in str(error):  # how torch's file writer says that it could not write on
        return f"a file could not be written to its end, so the disk is probably full{where}"
    lines = str(error).strip().splitlines() or ["no message"]
    return f"{type(error).__name__}: {lines[0][:300]}{where}"


def _make_empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
