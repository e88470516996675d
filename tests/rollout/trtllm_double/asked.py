"""What tests ask of an engine on the double, and look at behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.sampling import SamplingParams
from tests.rollout import asked

SAMPLING = SamplingParams(4, max_response_tokens=40, context_tokens=128, temperature=1.0, seed=3)


def answers(engine: Any, prompts: Sequence[Prompt], sampling: SamplingParams = SAMPLING) -> asked.Answers:
    return asked.answers(engine, prompts, sampling)


def events() -> list[str]:
    """What happened to memory, weights and caches, in order."""
    from tensorrt_llm._torch import virtual_memory

    return virtual_memory.events


def loop_of(engine: Any) -> Any:
    """The executor's loop inside an engine."""
    return engine._llm._executor.engine
