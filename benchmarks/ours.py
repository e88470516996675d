"""Our side of the comparison: `prorl train` itself, with a clock in it. Run by benchmarks/step.py.

Everything that a run does is done: weights to the rollout engine, sampling, verdicts in the worker processes, logprobs
of policy and reference, the update, metrics and their files. Only an end token doesn't end a response here.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from copy import copy
from pathlib import Path
from typing import Any, Protocol

import yaml

from benchmarks.turns import Turns
from benchmarks.workload import OBJECTIVE
from nemo_prorl import build
from nemo_prorl.config.folder import conf_folder
from nemo_prorl.config.schema import ProRLConfig
from nemo_prorl.control import StopSignals
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.plugins import resolve
from nemo_prorl.rollout.engine import ROLLOUT_ENGINES, RolloutEngine
from nemo_prorl.telemetry.run import open_run

PHASES = ("rollout", "logprobs")  # the rest is the update
MAX_PROMPT_TOKENS = 256


def never_stopping(
    model_path: str | Path, tokenizer: Tokenizer, device: Any, *, engine: str, knobs: dict[str, Any]
) -> RolloutEngine:
    """The rollout engine of that name, for which no token ends a response, so that every one has its full length."""
    endless = copy(tokenizer)
    endless.stop_ids = ()
    made: RolloutEngine = resolve(engine, ROLLOUT_ENGINES, "engine")(model_path, endless, device, **knobs)
    return made


class PhaseClock:
    """The trainer's timer, measuring processor seconds too."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        begun = self._turns.now()
        try:
            yield
        finally:
            if phase in PHASES:
                self._turns.add(phase, self._turns.now() - begun)

    def drain(self) -> dict[str, float]:
        return {}


class StepReporter:
    """The trainer's progress line: tells the orchestrator instead of a user."""

    def __init__(self, turns: Turns, new_tokens: int) -> None:
        self._turns, self._new_tokens = turns, new_tokens

    def step(self, step: int, stage: str, values: Mapping[str, float]) -> None:
        tokens = values["rollout/response_tokens_mean"]
        assert tokens == self._new_tokens, f"responses of {tokens} tokens instead of {self._new_tokens}"
        self._turns.step_done()

    def resume(self, step: int) -> None:
        pass

    def say(self, text: str) -> None:
        pass


class Sizes(Protocol):
    """What of the workload is given on the command line."""

    folder: Path
    prompts: int
    samples: int
    new_tokens: int
    threads: int
    megatron: dict[str, Any]


def config_of(sizes: Sizes, run_dir: str) -> ProRLConfig:
    """A run of many steps of this workload, with what we ship for CPU."""
    stage = {
        "steps": 10_000,
        "prompts_per_step": sizes.prompts,
        "prompts_per_update": sizes.prompts,
        "samples_per_prompt": sizes.samples,
        "max_response_tokens": sizes.new_tokens,
        "context_tokens": MAX_PROMPT_TOKENS + sizes.new_tokens,
        "temperature": OBJECTIVE["temperature"],
        "kl_weight": OBJECTIVE["kl_weight"],
    }
    source = {"name": "jsonl", "path": str(sizes.folder / "prompts.jsonl"), "domain": "logic"}
    engine = _shipped("rollout/native")
    clip = {"name": "clip_higher", "clip_low": OBJECTIVE["clip_low"], "clip_high": OBJECTIVE["clip_high"]}
    settings: dict[str, Any] = {
        "run": {"dir": run_dir, "torch_threads": sizes.threads},
        "model": {"path": str(sizes.folder / "model")},
        "megatron": {**_shipped("megatron/cpu"), **sizes.megatron},
        "optimizer": {"lr": OBJECTIVE["lr"], "clip_grad_norm": OBJECTIVE["clip_grad_norm"]},
        "loss": {"objective": clip},
        "recipe": {"stages": {"benchmark": stage}},
        "sampling": {"drop_equal_groups": False},
        "data": {
            "max_prompt_tokens": MAX_PROMPT_TOKENS,
            "sources": {"practice": {**source, "verifier": "benchmarks.reward:HashedReward"}},
        },
        "rollout": {"name": "benchmarks.ours:never_stopping", "engine": engine.pop("name"), "knobs": engine},
        "checkpoint": {"every_steps": None},
        "export": {"at_end": False},
    }
    return ProRLConfig.model_validate(settings)


def _shipped(choice: str) -> dict[str, Any]:
    """A file of conf/ that a user would choose."""
    settings: dict[str, Any] = yaml.safe_load((conf_folder() / f"{choice}.yaml").read_text())
    return settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    for name in ("prompts", "samples", "new_tokens", "threads"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, required=True)
    parser.add_argument("--megatron", type=yaml.safe_load, default={}, help="settings of megatron.*, as YAML")
    sizes = parser.parse_args()
    turns = Turns()
    with ExitStack() as stack:
        config = config_of(sizes, stack.enter_context(tempfile.TemporaryDirectory()))
        run = stack.enter_context(open_run(config, stack.enter_context(StopSignals())))
        trainer = stack.enter_context(build.training(config, run))
        trainer.timer, trainer.progress = PhaseClock(turns), StepReporter(turns, sizes.new_tokens)  # type: ignore[assignment]
        turns.ready()
        trainer.fit()


if __name__ == "__main__":
    main()
