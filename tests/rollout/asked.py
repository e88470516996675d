"""Prompts of given lengths, and what an engine answers, by prompt and sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.data.trajectory import Completion
from nemo_prorl.rollout.engine import RolloutEngine

Answers = dict[tuple[str, int], Completion]


def prompts(*lengths: int) -> list[Prompt]:
    """Of ids 20, 21 and so on; the first is called 0-<length>."""
    return [
        Prompt(f"{i}-{length}", "math", "t", "s", (), tuple(range(20, 20 + length)), "math", {})
        for i, length in enumerate(lengths)
    ]


def answers(engine: RolloutEngine, asked: Sequence[Prompt], sampling: SamplingParams) -> Answers:
    return {(asked[p].uid, sample): completion for p, sample, completion in engine.generate(asked, sampling)}


def tokens(completions: Mapping[tuple[str, int], Completion]) -> dict[tuple[str, int], list[int]]:
    return {place: completion.token_ids.tolist() for place, completion in completions.items()}
