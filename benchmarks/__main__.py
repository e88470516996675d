"""`make bench`: what things cost here, kept as JSON and plots in benchmarks/results/. See docs/benchmarks.md."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

import yaml

from benchmarks.results import Selection, keep

# Reading the table loads nothing.
BENCHMARKS = {
    "step": "benchmarks.step:STEP",  # a training step against TRL's
    "memory": "benchmarks.memory:MEMORY",  # the same at a vocabulary of 32k and long responses
    "rollout": "benchmarks.rollout:ROLLOUT",  # over models, batches and lengths, against the transformers engine
    "logprobs": "benchmarks.logprobs:LOGPROBS",  # from hidden states, against whole logits
    "packing": "benchmarks.packing:PACKING",  # against padded rows
    "costs": "benchmarks.costs:COSTS",  # of rows by their length, for sharing them out
    "levers": "benchmarks.levers:LEVERS",  # what trades memory for time
    "scaling": "benchmarks.scaling:SCALING",  # with tokens, vocabulary, group size, ranks
    "refit": "benchmarks.refit:REFIT",  # a rollout engine from a model that ranks share
    "converters": "benchmarks.converters:CONVERTERS",  # against cp
    "gpu": "benchmarks.gpu:GPU",  # what one GPU reaches: MFU, FP8 over bf16, logprobs, memory
}

# Measured only when named: the others together take about twenty minutes, and one of these needs a GPU.
ASKED_FOR = ("costs", "gpu", "scaling")


def main() -> None:
    options = _options()
    selection = Selection(
        quick=options.quick,
        steps=options.steps or (3 if options.quick else 5),
        threads=tuple(options.threads or ([1] if options.quick else [1, 2])),
        megatron=yaml.safe_load(options.megatron),
        peer_python=options.peer_python.absolute(),
    )
    default = [name for name in BENCHMARKS if name not in ASKED_FOR]
    for name in BENCHMARKS if "all" in options.names else options.names or default:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        module, _, attribute = BENCHMARKS[name].partition(":")
        print(keep(name, getattr(import_module(module), attribute), selection), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [*BENCHMARKS, "all"]
    parser.add_argument("names", nargs="*", choices=[*names, []], metavar="NAME", help=", ".join(names))
    parser.add_argument("--quick", action="store_true", help="smallest sizes, few repeats; kept as NAME-quick")
    parser.add_argument("--steps", type=int, help="measured steps of a training step's benchmark; 5, quick 3")
    parser.add_argument("--threads", type=int, nargs="+", help="torch threads to measure with; 1 2, quick 1")
    parser.add_argument("--megatron", default="{}", help="settings of megatron.* for our side, as YAML")
    parser.add_argument(
        "--peer-python", type=Path, default=Path(".bench-venv/bin/python"), help="where TRL is installed"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
