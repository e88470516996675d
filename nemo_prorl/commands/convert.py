"""`prorl convert`: model folders of Hugging Face and checkpoints of Megatron made of each other, and compared."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

PROGRESS_SECONDS = 5.0


def run(arguments: list[str], *, dry_run: bool = False) -> int:
    """Convert or compare, or with `dry_run` print what would be done.

    Returns the exit code: 0, and 1 when `compare` finds a difference.
    """
    options = _options(arguments)
    if dry_run:
        print(", ".join(f"{key}={value}" for key, value in vars(options).items() if key != "action"))
        return 0
    return int(options.action(options))


def hf_to_megatron(options: argparse.Namespace) -> int:
    from nemo_prorl.commands import conversions  # torch and Megatron are loaded here

    path = conversions.hf_to_megatron(
        options.source, options.destination, vocabulary_multiple=options.vocabulary_multiple
    )
    print(f"{options.source} -> {path}")
    return 0


def megatron_to_hf(options: argparse.Namespace) -> int:
    from nemo_prorl.commands import conversions

    path = conversions.megatron_to_hf(
        options.checkpoint,
        options.destination,
        like=options.like,
        dtype=options.dtype,
        max_shard_bytes=options.max_shard_bytes,
        overwrite=options.overwrite,
        watch=lambda stream: _with_progress(stream, "tensors written"),
    )
    print(f"{path} -> {options.destination}")
    return 0


def compare(options: argparse.Namespace) -> int:
    """Say which tensors of two Hugging Face folders differ and how much, and on request how much logprobs differ."""
    from nemo_prorl.weights.compare import compare_tensors
    from nemo_prorl.weights.hf_folder import TensorReader

    with TensorReader(options.first) as first, TensorReader(options.second) as second:
        compared = list(_with_progress(compare_tensors(first, second), "tensors compared"))
    apart = [tensor for tensor in compared if tensor.difference is not None]
    for tensor in apart:
        largest = "" if tensor.largest is None else f", largest difference {tensor.largest:.3g}"
        print(f"{tensor.name}: {tensor.difference}{largest}")
    print(f"{len(compared) - len(apart)} of {len(compared)} tensors are the same bit for bit")
    found = [float("inf") if tensor.largest is None else tensor.largest for tensor in apart]
    if options.logprobs:
        from nemo_prorl.commands import conversions

        found.append(conversions.largest_logprob_difference(options.first, options.second))
        print(f"logprobs of random tokens: largest difference {found[-1]:.3g}")
    allowed = options.tolerance
    same = not apart and not any(found) if allowed is None else all(difference <= allowed for difference in found)
    return 0 if same else 1


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="prorl convert", description=__doc__.partition(": ")[2])
    commands = parser.add_subparsers(required=True, metavar="hf-to-megatron|megatron-to-hf|compare")

    to_megatron = commands.add_parser("hf-to-megatron", help="write a Hugging Face folder as a torch_dist checkpoint")
    to_megatron.add_argument("source", type=Path, help="Hugging Face folder")
    to_megatron.add_argument("destination", type=Path, help="new folder for the checkpoint")
    to_megatron.add_argument(
        "--vocabulary-multiple", type=int, default=128, metavar="N", help="megatron.vocabulary_multiple of who loads it"
    )
    to_megatron.set_defaults(action=hf_to_megatron)

    to_hf = commands.add_parser(
        "megatron-to-hf",
        help="write the policy of a checkpoint as a Hugging Face folder",
        description="Write the policy of a checkpoint as a Hugging Face folder. The checkpoint must be one that prorl "
        "wrote (a training's, or of hf-to-megatron): beside Megatron's own files it has manifest.json and state.json, "
        "without which it is not read.",
    )
    to_hf.add_argument(
        "checkpoint",
        type=Path,
        help="an iter_... folder that prorl wrote, or the folder of them (the newest whole one is taken)",
    )
    to_hf.add_argument("destination", type=Path, help="new Hugging Face folder")
    to_hf.add_argument("--like", type=Path, required=True, help="Hugging Face folder that the model came from")
    to_hf.add_argument(
        "--dtype", choices=("fp32", "bf16", "fp16"), help="of the written weights; default: as in --like"
    )
    to_hf.add_argument("--max-shard-bytes", type=int, default=5_000_000_000, metavar="N")
    to_hf.add_argument("--overwrite", action="store_true", help="replace a model folder that is there")
    to_hf.set_defaults(action=megatron_to_hf)

    both = commands.add_parser("compare", help="compare two Hugging Face folders; exit code 1 when they differ")
    both.add_argument("first", type=Path)
    both.add_argument("second", type=Path)
    both.add_argument("--tolerance", type=float, metavar="X", help="largest difference allowed; default: every bit")
    both.add_argument("--logprobs", action="store_true", help="also run both models on the same random tokens")
    both.set_defaults(action=compare)
    return parser.parse_args(arguments)


def _with_progress(items: Iterable[T], what: str) -> Iterator[T]:
    """`items`, with a line about how far they are every few seconds."""
    last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - last > PROGRESS_SECONDS:
            last = time.monotonic()
            print(f"{done} {what}", file=sys.stderr, flush=True)
