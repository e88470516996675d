"""`prorl <command> ...`: what a user types. A command's own module is loaded only when it is asked for."""

from __future__ import annotations

import argparse
import os
import select
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import NamedTuple

from nemo_prorl import __version__
from nemo_prorl.commands.option_parser import positive
from nemo_prorl.errors import INTERRUPTED, UNREAD, ProRLError, SettingsError, Stopped
from nemo_prorl.world import rank_from_environment

EXAMPLES = """\
examples:
  prorl quickstart                                    everything in minutes on a small machine
  prorl train model.path=FOLDER --dry-run             what a run would do; builds nothing
  prorl train recipe=tiny model.path=FOLDER run.dir=runs/first
  torchrun --nproc-per-node 2 -m nemo_prorl train recipe=tiny model.path=FOLDER megatron.tensor_parallel_size=2
  prorl sft sft=jsonl sft.source.path=FILE model.path=FOLDER
  prorl data prepare only=[reasoning_gym]             the paper's sources as files; also: inspect, validate
  prorl evaluate MODEL benchmarks=math run.dir=evaluations/final
  prorl analyze evaluations/base evaluations/final --output analysis
  prorl verify responses.jsonl --output rewards.jsonl
  prorl report runs/first --watch                     one HTML page that keeps up with the run
  prorl stop runs/first                               a live run saves and ends; the same command goes on
  prorl doctor sandbox                                whether programs of a model can be run here
  prorl doctor rollout model.path=FOLDER rollout=...  whether the engine samples the policy that is trained
  prorl settings megatron                             every key: type, default, range, meaning

`prorl COMMAND --help` says more. Errors are explained in a sentence; PRORL_TRACEBACK=1 shows where they come from."""

SETTINGS = """\
Settings are KEY=VALUE. A group's name chooses one of its YAML files (recipe=tiny, loss=grpo); a dotted path sets one
value (optimizer.lr=1e-6, recipe.stages.run1.kl_weight=0). `prorl settings` lists all keys with their defaults, ranges
and meaning, conf/ has all choices. Files of your own: hydra.searchpath=[FOLDER]."""


TRAIN_EXAMPLES = """\
examples:
  prorl train recipe=tiny model.path=FOLDER --dry-run           the plan: stages, updates, memory; builds nothing
  prorl train recipe=tiny model.path=FOLDER run.dir=runs/first  a few steps; again: it goes on where it stopped
  prorl train recipe=prorl data=prorl data.folder=DATA model.path=FOLDER megatron=gpu --dry-run --world-size 32
  torchrun --nproc-per-node 2 -m nemo_prorl train recipe=tiny model.path=FOLDER megatron.tensor_parallel_size=2

Exit codes: 0 done; 75 asked to stop, the same command goes on; 2 to 10 see docs/runs.md; 130 Ctrl-C twice."""

SFT_EXAMPLES = """\
examples:
  prorl sft sft=jsonl sft.source.path=FILE model.path=FOLDER --dry-run
  prorl sft sft=jsonl sft.source.path=FILE model.path=FOLDER run.dir=runs/cold optimizer.lr=1e-5

A line of FILE is {"messages": [{"role": "user", "content": "..."}], "response": "..."}.

Exit codes: as prorl train."""

EVALUATE_EXAMPLES = """\
examples:
  prorl evaluate MODEL benchmarks=math run.dir=evaluations/final --dry-run
  prorl evaluate MODEL_OR_CHECKPOINT benchmarks=paper run.dir=evaluations/final    again: it goes on where it stopped

Exit codes: as prorl train."""


class Command(NamedTuple):
    """`module` has run(arguments, *, dry_run) -> exit code, and parser() with its options and examples.

    `settings`: it takes Hydra overrides in their place, and its examples stand here.
    """

    module: str
    summary: str
    settings: bool = False
    examples: str = ""


COMMANDS = {
    "train": Command("nemo_prorl.commands.train", "prolonged reinforcement learning", True, TRAIN_EXAMPLES),
    "sft": Command("nemo_prorl.commands.sft", "a cold start on demonstrations", True, SFT_EXAMPLES),
    "evaluate": Command(
        "nemo_prorl.commands.evaluate", "a model's answers to benchmarks, stored and scored", True, EVALUATE_EXAMPLES
    ),
    "analyze": Command(
        "nemo_prorl.commands.analyze", "where the boundary of reasoning moved, from base to final model"
    ),
    "data": Command("nemo_prorl.commands.data", "problems to train on: prepare, inspect, validate"),
    "convert": Command("nemo_prorl.commands.convert", "between Hugging Face folders and Megatron checkpoints"),
    "verify": Command("nemo_prorl.commands.verify", "rewards for responses that are in a file"),
    "report": Command("nemo_prorl.commands.report", "a run, its evaluations and samples on one HTML page"),
    "stop": Command("nemo_prorl.commands.stop", "have a live run save and end, to be resumed"),
    "reset": Command("nemo_prorl.commands.reset", "have a live run reset reference and optimizer"),
    "settings": Command("nemo_prorl.commands.settings", "every key: type, default, range, meaning"),
    "doctor": Command("nemo_prorl.commands.doctor", "what this host allows of what a run needs"),
    "quickstart": Command("nemo_prorl.commands.quickstart", "a tiny model, cold start, ProRL, export and a report"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0, that of the error's class (see errors.py), 130 after Ctrl-C, or 141."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # so that "my_module:MyVerifier" is found beside where one works
    if "_ARGCOMPLETE" in os.environ:
        complete()
    options, rest = _parser().parse_known_args(sys.argv[1:] if arguments is None else arguments)
    command = COMMANDS[options.command]
    if command.settings:
        rest = [*options.overrides, *rest]
        _refuse_options(options.command, rest)
        _plan_for(options)
    if options.dry_run and rank_from_environment() != 0:
        return 0  # the plan is the same in every rank
    try:
        run: Callable[..., int] = import_module(command.module).run
        exit_code = run(rest, dry_run=options.dry_run)
        print(end="", flush=True)  # here, where what is wrong with it can be told
        return exit_code
    except ProRLError as error:
        _explain(error)
        return error.exit_code
    except BrokenPipeError:
        if not _is_read_no_further():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its end
        return 0 if options.dry_run else UNREAD
    except KeyboardInterrupt:
        print("prorl: interrupted", file=sys.stderr)
        return INTERRUPTED


def _is_read_no_further() -> bool:
    """Whether the pipe that broke is our own output: `... | head` has read enough."""
    output = select.poll()
    with suppress(OSError):  # no file at all
        output.register(sys.stdout.fileno(), 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in output.poll(0))


def complete() -> None:
    """Answer a shell that asks how the line it is given may go on, and end."""
    from nemo_prorl.commands.completion import answer

    answer(_parser(), COMMANDS)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="prorl",
        description="Prolonged reinforcement learning of reasoning models on Megatron.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"prorl {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        # A command with options of its own has a help of its own.
        sub = commands.add_parser(
            name,
            help=command.summary,
            description=f"{command.summary[0].upper()}{command.summary[1:]}.",
            epilog=f"{command.examples}\n\n{SETTINGS}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            add_help=command.settings,
            allow_abbrev=False,
        )
        sub.add_argument("--dry-run", action="store_true", help="print what would be done, and do nothing")
        if command.settings:
            sub.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings, see below")
            sub.add_argument(
                "--world-size", type=positive, metavar="N", help="with --dry-run: plan for N ranks, without torchrun"
            )
    return parser


def _refuse_options(command: str, overrides: Sequence[str]) -> None:
    unknown = [argument for argument in overrides if argument.startswith("-")]
    if unknown:
        _explain(SettingsError(f"prorl {command} has no option {unknown[0]!r}; settings are KEY=VALUE, see --help"))
        raise SystemExit(SettingsError.exit_code)


def _plan_for(options: argparse.Namespace) -> None:
    """Hand --world-size on in the way in which torchrun tells it."""
    if options.world_size is None:
        return
    if not options.dry_run:
        _explain(SettingsError("--world-size only plans (with --dry-run); to start ranks: torchrun -m nemo_prorl ..."))
        raise SystemExit(SettingsError.exit_code)
    os.environ["WORLD_SIZE"] = str(options.world_size)


def _explain(error: ProRLError) -> None:
    """The error on stderr, without a traceback unless PRORL_TRACEBACK=1."""
    rank = rank_from_environment()
    if isinstance(error, SettingsError) and rank != 0:
        return  # every rank reads the same settings, so rank 0 has said it
    if os.environ.get("PRORL_TRACEBACK", "0") not in ("", "0"):
        traceback.print_exception(error)
    if isinstance(error, Stopped) and rank != 0:
        return
    where = f" (rank {rank})" if rank else ""
    said = str(error) if isinstance(error, Stopped) else f"{type(error).__name__}{where}: {error}"
    with suppress(OSError):  # it may go to a file on the disk that is full
        print(f"prorl: {said}", file=sys.stderr)
