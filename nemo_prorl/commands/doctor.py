"""`prorl doctor <topic>`: what this host has and allows of what a run needs, and what to do about what is missing."""

from __future__ import annotations

import argparse
import json
from typing import get_args

from nemo_prorl.commands import doctor_cluster, doctor_rollout
from nemo_prorl.commands.option_parser import option_parser
from nemo_prorl.errors import VerifierError
from nemo_prorl.verifiers.sandbox import SandboxReport, SandboxSettings, probe
from nemo_prorl.verifiers.sandbox.contract import Layered, Level

EXAMPLES = """\
examples:
  prorl doctor sandbox
  prorl doctor sandbox --level namespaces --json
  prorl doctor sandbox --without namespaces        as on a host that doesn't allow them
  prorl doctor rollout recipe=prorl megatron=gpu rollout=tensorrt_llm model.path=FOLDER
  prorl doctor cluster --folder runs               this host; all hosts of a job: sbatch slurm/preflight.sh

Exit codes: 0 when a run would start; otherwise that of the error with which it would end here; of `cluster` 1."""

_WEAKER = {
    "namespaces": "",
    "landlock": "A program sees names and sizes of the host's files, but opens none; how much it writes, time bounds.",
    "seccomp": "A program can read and write what the user may; no network, no processes.",
    "none": "A program can do what the user may, within limits of memory and time.",
}


def run(arguments: list[str], *, dry_run: bool = False) -> int:
    """Look into a topic and say what was found; with `dry_run` only say what would be looked into.

    Returns the exit code: 0, or that of the error with which a run would end here.
    """
    options = parser().parse_args(arguments)
    if dry_run:
        print(options.plan)
        return 0
    return int(options.action(options))


def sandbox(options: argparse.Namespace) -> int:
    """Which layers of isolation hold for programs that a model writes, and whether rewards for code would be given."""
    settings = SandboxSettings(level=options.level, without=tuple(options.without))
    report = probe(settings)
    accepted = report.satisfies(settings.level)
    if options.json:
        print(json.dumps({"accepted": accepted, "demanded": settings.level, **report.as_json()}, indent=1))
    else:
        print(_told(report, settings, accepted))
    return 0 if accepted else VerifierError.exit_code


def _told(report: SandboxReport, settings: SandboxSettings, accepted: bool) -> str:
    verdict = "Code is run" if accepted else "Code is NOT run, and rewards for it are refused"
    verdict += f": level {report.level!r} holds, {settings.level!r} is demanded."
    weaker = [_WEAKER[report.level]] if _WEAKER[report.level] else []
    advice = ["", "to do:", report.advice()] if report.advice() else []
    return "\n".join([report.describe(), "", verdict, *weaker, *advice])


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = option_parser("prorl doctor", __doc__.partition(": ")[2], EXAMPLES)
    topics = made.add_subparsers(required=True, metavar="TOPIC")

    isolation = topics.add_parser(
        "sandbox",
        help="what keeps programs that a model writes from touching anything of yours",
        description="Try every layer of the sandbox on this host. The exit code is 0 when rewards for code are given.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    isolation.add_argument("--level", choices=get_args(Level), default="auto", help="what is demanded; default: auto")
    isolation.add_argument(
        "--without", action="append", choices=get_args(Layered), default=[], help="as on a host that doesn't allow this"
    )
    isolation.add_argument("--json", action="store_true", help="for programs to read")
    isolation.set_defaults(action=sandbox, plan="would try each layer of the sandbox in a process of its own")
    sampler = topics.add_parser(
        "rollout",
        help="whether a run's rollout engine samples the policy that the run trains",
        description=doctor_rollout.DESCRIPTION,
        epilog=doctor_rollout.EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    doctor_rollout.add_options(sampler)
    doctor_cluster.add_topic(topics)
    return made
