"""Problems to judged answers: what validation and evaluation share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing

from nemo_prorl.control import StopReason, until_asked
from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.data.trajectory import Completion, Group, Verdict
from nemo_prorl.rollout.engine import RolloutEngine, in_order
from nemo_prorl.rollout.sampling import VerdictPool


def judged_groups(
    engine: RolloutEngine,
    pool: VerdictPool,
    prompts: Sequence[Prompt],
    sampling: SamplingParams,
    stop_reason: StopReason,
) -> Iterator[Group]:
    """Every prompt with its judged answers, in order. Each completion goes to the verifiers as soon as it is there,
    while others are still generated.

    Raises:
        RolloutError: the engine left out a completion.
        Stopped: this rank was asked to stop.
    """
    answers: list[dict[int, tuple[Completion, Future[Verdict]]]] = [{} for _ in prompts]
    with closing(until_asked(engine.generate(prompts, sampling), stop_reason)) as sampled:
        for number, sample, completion in sampled:
            answers[number][sample] = (completion, pool.submit(prompts[number], completion.text))
    complete = [in_order(found, prompt, sampling, engine) for prompt, found in zip(prompts, answers, strict=True)]
    for prompt, found in zip(prompts, complete, strict=True):
        completions, verdicts = zip(*found, strict=True)
        yield Group(prompt, completions, tuple(verdict.result() for verdict in verdicts))
