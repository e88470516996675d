"""`prorl doctor rollout`: whether the rollout engine of a run samples the policy that the run would train."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from nemo_prorl.errors import ConfigError, RolloutError
from nemo_prorl.world import rank_from_environment

if TYPE_CHECKING:
    from nemo_prorl.rollout.findings import Finding

DESCRIPTION = """\
Build trainer and rollout engine from model.path, with the settings of a run: what is typed after `prorl train`. Compare
them token by token, before and after a refit. The exit code is 0 when the engine samples the trainer's policy."""

EXAMPLES = """\
examples:
  prorl doctor rollout model.path=FOLDER recipe=tiny
  prorl doctor rollout recipe=prorl megatron=gpu rollout=tensorrt_llm model.path=FOLDER
  prorl doctor rollout rollout=openai rollout.base_url=http://HOST:8000/v1 model.path=FOLDER --json
  torchrun --nproc-per-node 2 -m nemo_prorl doctor rollout model.path=FOLDER megatron.tensor_parallel_size=2

Exit codes: 0; 6 when the engine samples another policy; as `prorl train` when trainer or engine can't be built."""


def add_options(topic: argparse.ArgumentParser) -> None:
    """Of the command line."""
    topic.add_argument("settings", nargs="+", metavar="KEY=VALUE", help="as after `prorl train`")
    topic.add_argument("--samples", type=int, default=8, help="of each of four short prompts; default: 8")
    topic.add_argument("--response-tokens", type=int, default=32, help="of an answer, at most; default: 32")
    topic.add_argument("--json", action="store_true", help="for programs to read")
    topic.set_defaults(
        action=rollout, plan="would build trainer and rollout engine from model.path, and compare them token by token"
    )


def rollout(options: argparse.Namespace) -> int:
    """Look it over and say what was found."""
    if options.samples < 2 or options.response_tokens < 1:
        raise ConfigError("--samples must be 2 or more, --response-tokens 1 or more")
    # What is large is imported here: the topic's options are asked for by whoever completes a line, too.
    from nemo_prorl.config.load import load_config
    from nemo_prorl.rollout.engine import chosen_engine

    config = load_config("train", options.settings)
    chosen_engine(config.rollout)  # which sets the process up, before Megatron sees a GPU
    from nemo_prorl.build.doctor import rollout_checkup

    findings: list[Finding] = []
    is_main = rank_from_environment() == 0
    with rollout_checkup(config, samples=options.samples, response_tokens=options.response_tokens) as checkup:
        for finding in checkup.run():
            findings.append(finding)
            if is_main and not options.json:
                print(f"{finding.name:<13}  {finding.state:<6}  {finding.said}", flush=True)
    failed = [finding for finding in findings if finding.state == "failed"]
    if is_main:
        print(_as_json(findings) if options.json else _verdict(config.rollout.name, failed))
    return RolloutError.exit_code if failed else 0


def _as_json(findings: Sequence[Finding]) -> str:
    good = not any(finding.state == "failed" for finding in findings)
    return json.dumps({"good": good, "findings": [asdict(finding) for finding in findings]}, indent=1)


def _verdict(engine: str, failed: Sequence[Finding]) -> str:
    if not failed:
        return f"\nThe rollout engine {engine!r} samples the policy that would be trained, as far as was seen."
    advice = [f"{finding.name}: {finding.advice}" for finding in failed]
    return "\n".join([f"\nThe rollout engine {engine!r} can't be trained with.", "", "to do:", *advice])
