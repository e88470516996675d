"""The command line of `prorl convert`."""

from __future__ import annotations

import argparse
from pathlib import Path

from nemo_prorl.commands.option_parser import option_parser, positive

COMMANDS = ("info", "hf-to-megatron", "megatron-to-hf", "compare", "reshard")
FOLDERS = """
A folder may be Hugging Face's (config.json, *.safetensors), a torch_dist checkpoint that prorl, Megatron-LM or
Megatron-Bridge wrote (an iter_... folder, or the folder of them: the newest whole one is taken), or a NeMo 2 checkpoint
(weights/, context/). Nothing in a folder is ever run. A conversion that was killed goes on when it is started again.
"""
EXAMPLES = """
examples:
  prorl convert info Qwen2.5-1.5B
  prorl convert hf-to-megatron Qwen2.5-1.5B qwen-megatron
  prorl convert megatron-to-hf runs/prorl/checkpoints my-model --like Qwen2.5-1.5B
  prorl convert compare Qwen2.5-1.5B my-model --logprobs
  prorl convert reshard nemo-checkpoint qwen-megatron --tensor-parallel 8

Exit codes: 0; 1 when `compare` or --check-logprobs finds a difference; 2, 4 or 5 when an option, a model folder or a
checkpoint can't be used.
"""


def parser() -> argparse.ArgumentParser:
    """The command's options; `what` is one of COMMANDS."""
    made = option_parser(
        "prorl convert",
        "Model folders of Hugging Face, Megatron and NeMo made of each other, and compared." + FOLDERS,
        EXAMPLES,
    )
    commands = made.add_subparsers(dest="what", required=True, metavar="|".join(COMMANDS))
    for add in (_info, _hf_to_megatron, _megatron_to_hf, _compare, _reshard):
        add(commands)
    return made


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, what: str, example: str
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.\n{FOLDERS}",
        epilog=f"example:\n  prorl convert {name} {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _info(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    command = _command(commands, "info", "say what a model folder holds", "runs/prorl/checkpoints --like Qwen2.5-1.5B")
    command.add_argument("folder", type=Path, help="model folder of any kind")
    _like(command)
    command.add_argument("--tensors", action="store_true", help="list every tensor")
    return command


def _hf_to_megatron(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    command = _command(
        commands,
        "hf-to-megatron",
        "write a Hugging Face folder as a torch_dist checkpoint, which any layout of ranks can load",
        "Qwen2.5-1.5B qwen-megatron --tensor-parallel 2",
    )
    command.add_argument("source", type=Path, help="Hugging Face folder")
    command.set_defaults(like=None)
    _to_megatron(command)
    return command


def _reshard(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    command = _command(
        commands,
        "reshard",
        "write the model of a checkpoint, whoever's, as a torch_dist checkpoint cut and padded anew, without optimizer",
        "runs/prorl/checkpoints resharded --tensor-parallel 8 --vocabulary-multiple 1024 --like Qwen2.5-1.5B",
    )
    command.add_argument("source", type=Path, help="checkpoint of prorl, Megatron-LM, Megatron-Bridge or NeMo 2")
    _like(command)
    _to_megatron(command)
    return command


def _to_megatron(command: argparse.ArgumentParser) -> None:
    command.add_argument("destination", type=Path, help="new folder for the checkpoint")
    command.add_argument(
        "--format",
        choices=("megatron", "nemo"),
        default="megatron",
        help="megatron: for prorl, Megatron-LM and Megatron-Bridge (the default); nemo: NeMo 2, needs nemo-toolkit",
    )
    command.add_argument(
        "--dtype", choices=("fp32", "bf16", "fp16"), help="of the written weights; default: bf16 for bf16, else fp32"
    )
    command.add_argument(
        "--vocabulary-multiple",
        type=positive,
        default=128,
        metavar="N",
        help="the vocabulary is padded to a multiple of N and of --tensor-parallel; must be as who loads it has it "
        "(megatron.vocabulary_multiple, --make-vocab-size-divisible-by; default: 128)",
    )
    command.add_argument(
        "--tensor-parallel",
        type=positive,
        default=1,
        metavar="N",
        help="cut tensors for N ranks, so that each reads no more than its own; others can load them too (default: 1)",
    )
    command.add_argument("--max-shard-bytes", type=positive, default=5_000_000_000, metavar="N", help="default: 5 GB")
    _check_logprobs(command)


def _megatron_to_hf(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    command = _command(
        commands,
        "megatron-to-hf",
        "write the model of a checkpoint as a Hugging Face folder",
        "runs/prorl/checkpoints my-model --like Qwen2.5-1.5B",
    )
    command.add_argument("checkpoint", type=Path, help="of prorl, Megatron-LM, Megatron-Bridge or NeMo 2")
    command.add_argument("destination", type=Path, help="new Hugging Face folder")
    _like(command)
    command.add_argument(
        "--dtype", choices=("fp32", "bf16", "fp16"), help="of the written weights; default: as in the model's config"
    )
    command.add_argument("--max-shard-bytes", type=positive, default=5_000_000_000, metavar="N", help="default: 5 GB")
    command.add_argument("--overwrite", action="store_true", help="replace a model folder that is there")
    _check_logprobs(command)
    return command


def _compare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    command = _command(
        commands,
        "compare",
        "compare two model folders; exit code 1 when they differ",
        "Qwen2.5-1.5B my-model --logprobs",
    )
    command.add_argument("first", type=Path, help="model folder of any kind")
    command.add_argument("second", type=Path, help="another")
    _like(command)
    command.add_argument("--tolerance", type=float, metavar="X", help="largest difference allowed; default: every bit")
    command.add_argument("--logprobs", action="store_true", help="also run both models on the same random tokens")
    command.add_argument(
        "--transformers", action="store_true", help="with --logprobs: run one of them by transformers, not by Megatron"
    )
    return command


def _like(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--like",
        type=Path,
        metavar="FOLDER",
        help="Hugging Face folder that the model came from: its config and tokenizer; needed where a checkpoint "
        "doesn't say what model it is",
    )


def _check_logprobs(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--check-logprobs",
        action="store_true",
        help="afterwards run both on the same random tokens, Megatron's with Megatron Core and Hugging Face's with "
        "transformers, and say how much logprobs differ (takes the memory of both models)",
    )
