"""A model from any folder to any other: each tensor is read, written, and looked at again.

A `Source` gives, and a `Sink` takes, what one Megatron tensor is made of in Hugging Face's terms. So each format needs
one of either, and every pair of formats is a conversion. A few tensors are in memory at a time, never a model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, Protocol

from isal import isal_zlib
from torch import Tensor

from nemo_prorl.errors import WeightsError
from nemo_prorl.weights.architecture import Architecture, Dtype
from nemo_prorl.weights.families import weight_map
from nemo_prorl.weights.mapping import Operation
from nemo_prorl.weights.reused_memory import Empty, ReusedMemory
from nemo_prorl.weights.safetensors_file import TORCH_DTYPES, raw_bytes
from nemo_prorl.weights.work_folder import WorkFolder

WORKERS = 2  # one tensor each: while one waits for the disk, the other computes checksums
CHECKSUMS = "crc32"

Watch = Callable[[Iterator[str]], Iterator[str]]


class Source(Protocol):
    """Where tensors come from."""

    def read(self, name: str, operation: Operation, empty: Empty) -> list[Tensor]:
        """What Megatron's tensor `name` is made of, in memory from `empty`; several threads may ask at once."""


class Sink(Protocol):
    """Where tensors go."""

    def begin(self, done: Mapping[str, Any]) -> None:
        """Prepare; `done` are the tensors of an earlier attempt with what `write` said of each."""

    def write(self, name: str, operation: Operation, tensors: Sequence[Tensor]) -> dict[str, Any]:
        """Put the tensors away; what is to be known of them later. Several threads may write at once."""

    def finish(self, done: Mapping[str, Any]) -> None:
        """All are written: get them onto the disk, and write what comes last."""


def convert(
    source: Source, sink: Sink, architecture: Architecture, dtype: Dtype, work: WorkFolder, watch: Watch
) -> dict[str, int]:
    """Write every tensor that is not done yet, in `dtype`; the checksum of each, done before or now, by its name.

    The names of Megatron's tensors go through `watch` as they are finished.
    """
    operations = exported(architecture)
    memory = ReusedMemory()
    sink.begin(work.done)

    def one(name: str) -> str:
        memory.begin()
        tensors = [tensor.to(TORCH_DTYPES[dtype]) for tensor in source.read(name, operations[name], memory.empty)]
        checksums = {hf_name: checksum(each) for hf_name, each in zip(operations[name].hf_names, tensors, strict=True)}
        work.note(name, {CHECKSUMS: checksums} | sink.write(name, operations[name], tensors))
        return name

    for _ in watch(_each(one, [name for name in operations if name not in work.done])):
        pass
    sink.finish(work.done)
    return {hf_name: found for name in operations for hf_name, found in work.done[name][CHECKSUMS].items()}


def verify(
    written: Source, architecture: Architecture, expected: Mapping[str, int], work: WorkFolder, watch: Watch
) -> None:
    """Read everything again, from what was written.

    Raises:
        WeightsError: tensors differ from what they were made of; some are named, and nothing is left.
    """
    operations = exported(architecture)
    memory = ReusedMemory()
    wrong: list[str] = []

    def one(name: str) -> str:
        memory.begin()
        tensors = written.read(name, operations[name], memory.empty)
        pairs = zip(operations[name].hf_names, tensors, strict=True)
        wrong.extend(hf_name for hf_name, each in pairs if checksum(each) != expected[hf_name])
        return name

    for _ in watch(_each(one, list(operations))):
        pass
    if wrong:
        raise WeightsError(
            f"{work.path}: {len(wrong)} tensors are not what was written ({min(wrong)} is the first by name), so the "
            "disk or the memory of this machine is failing. Nothing was left there; try another disk."
        )


def checksum(tensor: Tensor) -> int:
    """CRC-32 of a tensor's bytes in memory order."""
    return int(isal_zlib.crc32(raw_bytes(tensor.contiguous())))


def exported(architecture: Architecture) -> dict[str, Operation]:
    """Megatron's tensors that a model is stored as, once each: {name: operation}."""
    return {name: operation for name, operation in weight_map(architecture).items() if operation.exported}


def _each(action: Callable[[str], str], names: Sequence[str]) -> Iterator[str]:
    """`action` on every name, by a few threads; the names as they are done. The first failure ends it."""
    with ThreadPoolExecutor(WORKERS) as pool:
        futures = [pool.submit(action, name) for name in names]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
