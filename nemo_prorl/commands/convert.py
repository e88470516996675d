"""`prorl convert`: model folders of Hugging Face, Megatron and NeMo made of each other, and compared."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from nemo_prorl.commands.convert_options import parser
from nemo_prorl.errors import ConfigError
from nemo_prorl.world import world_size_from_environment

T = TypeVar("T")

PROGRESS_SECONDS = 5.0
LOGPROB_TOLERANCE = 1e-3  # of fp32 arithmetic in another order


def run(arguments: list[str], *, dry_run: bool = False) -> int:
    """Convert or compare, or with `dry_run` print what would be done.

    Returns the exit code: 0, and 1 when `compare` or `--check-logprobs` finds a difference.
    """
    actions = {
        "info": info,
        "hf-to-megatron": to_megatron,
        "megatron-to-hf": megatron_to_hf,
        "compare": compare,
        "reshard": to_megatron,
    }
    options = parser().parse_args(arguments)
    if dry_run:
        print(", ".join(f"{key}={value}" for key, value in vars(options).items() if key != "what"))
        return 0
    writes_or_runs = "destination" in options or getattr(options, "logprobs", False)
    if writes_or_runs and (ranks := world_size_from_environment()) > 1:
        raise ConfigError(f"prorl convert was started as {ranks} ranks; start it once, without torchrun or srun.")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    logging.getLogger("megatron").setLevel(logging.ERROR)
    return actions[options.what](options)


def info(options: argparse.Namespace) -> int:
    """Say what a folder holds."""
    from nemo_prorl.commands import folder_info  # torch is loaded here

    print("\n".join(folder_info.lines(options.folder, options.like, tensors=options.tensors)))
    return 0


def to_megatron(options: argparse.Namespace) -> int:
    """Of a Hugging Face folder, or of a checkpoint: then it is a resharding."""
    from nemo_prorl.commands import conversions

    layout = conversions.MegatronLayout(
        format=options.format,
        dtype=options.dtype,
        vocabulary_multiple=options.vocabulary_multiple,
        tensor_parallel_size=options.tensor_parallel,
        max_file_bytes=options.max_shard_bytes,
    )
    path = conversions.to_megatron(options.source, options.destination, layout, like=options.like, watch=_with_progress)
    print(f"{options.source} -> {path}")
    return _checked(options, options.source, path)


def megatron_to_hf(options: argparse.Namespace) -> int:
    """The policy of a checkpoint as a Hugging Face folder."""
    from nemo_prorl.commands import conversions

    path = conversions.to_hugging_face(
        options.checkpoint,
        options.destination,
        like=options.like,
        dtype=options.dtype,
        max_shard_bytes=options.max_shard_bytes,
        overwrite=options.overwrite,
        watch=_with_progress,
    )
    print(f"{path} -> {options.destination}")
    return _checked(options, path, options.destination)


def compare(options: argparse.Namespace) -> int:
    """Say which tensors of two folders differ and how much, and on request how much logprobs differ."""
    from nemo_prorl.megatron.interop.model_folder import open_folder
    from nemo_prorl.weights.compare import compare_tensors

    left, right = open_folder(options.first, options.like), open_folder(options.second, options.like)
    with left.by_name() as first, right.by_name() as second:
        compared = list(_with_progress(compare_tensors(first, second), "tensors compared"))
    apart = [tensor for tensor in compared if tensor.difference is not None]
    for tensor in apart:
        largest = "" if tensor.largest is None else f", largest difference {tensor.largest:.3g}"
        print(f"{tensor.name}: {tensor.difference}{largest}")
    print(f"{len(compared) - len(apart)} of {len(compared)} tensors are the same bit for bit")
    found = [float("inf") if tensor.largest is None else tensor.largest for tensor in apart]
    if options.logprobs:
        found.append(_logprobs_apart(options.first, options.second, options, transformers=options.transformers))
    allowed = options.tolerance
    same = not apart and not any(found) if allowed is None else all(difference <= allowed for difference in found)
    return 0 if same else 1


def _checked(options: argparse.Namespace, source: Path, written: Path) -> int:
    if not options.check_logprobs:
        return 0
    return 0 if _logprobs_apart(source, written, options, transformers=True) <= LOGPROB_TOLERANCE else 1


def _logprobs_apart(first: Path, second: Path, options: argparse.Namespace, *, transformers: bool) -> float:
    from nemo_prorl.commands.logit_check import largest_logprob_difference

    found = largest_logprob_difference(first, second, like=options.like, through_transformers=transformers)
    print(f"logprobs of random tokens: largest difference {found:.3g}")
    return found


def _with_progress(items: Iterable[T], what: str) -> Iterator[T]:
    """`items`, with a line about how far they are every few seconds."""
    last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - last > PROGRESS_SECONDS:
            last = time.monotonic()
            print(f"{done} {what}", file=sys.stderr, flush=True)
