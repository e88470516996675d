"""Problems to judged answers: what validation and evaluation share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Protocol

from nemo_prorl.control import StopReason, until_asked
from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.data.trajectory import Completion, Group, Verdict
from nemo_prorl.errors import RolloutError
from nemo_prorl.rollout.engine import RolloutEngine


class Judges(Protocol):
    """What validation and evaluation need of a verifier pool."""

    def submit(self, prompt: Prompt, text: str) -> Future[Verdict]: ...

    def check_health(self) -> None: ...

    def drain_metrics(self) -> Mapping[str, float]: ...


def judged_groups(
    engine: RolloutEngine,
    pool: Judges,
    prompts: Sequence[Prompt],
    sampling: SamplingParams,
    stop_reason: StopReason,
    doing: str,
) -> Iterator[Group]:
    """Every prompt with its judged answers, in order. Each completion goes to the verifiers as soon as it is there,
    while others are still generated.

    Raises:
        RolloutError: the engine left out a completion; the message begins with `doing`.
        Stopped: this rank was asked to stop.
    """
    answers: list[dict[int, tuple[Completion, Future[Verdict]]]] = [{} for _ in prompts]
    for number, sample, completion in until_asked(engine.generate(prompts, sampling), stop_reason):
        answers[number][sample] = (completion, pool.submit(prompts[number], completion.text))
    for prompt, found in zip(prompts, answers, strict=True):
        if len(found) != sampling.samples_per_prompt:
            raise RolloutError(
                f"{doing} of {prompt.uid!r}: the engine gave {len(found)} completions of the "
                f"{sampling.samples_per_prompt} it was asked for; this is a bug in the engine"
            )
    for prompt, found in zip(prompts, answers, strict=True):
        completions, verdicts = zip(*(found[sample] for sample in sorted(found)), strict=True)
        yield Group(prompt, completions, tuple(verdict.result() for verdict in verdicts))
