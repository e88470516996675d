"""This rank's part of a round: completions go to the verifiers as they finish, until no more are needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from nemo_prorl.control import StopReason, until_asked
from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.sampling import SamplingParams, step_seed
from nemo_prorl.data.trajectory import Completion, Group, Verdict
from nemo_prorl.rollout.board import Board
from nemo_prorl.rollout.engine import RolloutEngine, in_order


class VerdictPool(Protocol):
    """What sampling, validation and evaluation ask of the verifiers."""

    def submit(self, prompt: Prompt, text: str) -> Future[Verdict]: ...

    def drain_metrics(self) -> Mapping[str, float]: ...

    def check_health(self) -> None: ...


class Draw(NamedTuple):
    """A prompt of a step. `number` counts over all ranks and rounds from 0, `repeat` how often its uid came before."""

    number: int
    repeat: int
    prompt: Prompt


@dataclass(frozen=True)
class Unused:
    """What was sampled of prompts that turned out not to be needed: finished completions, their tokens, and others."""

    completions: int = 0
    tokens: int = 0
    aborted: int = 0

    def __add__(self, other: Unused) -> Unused:
        return Unused(self.completions + other.completions, self.tokens + other.tokens, self.aborted + other.aborted)


@dataclass
class _Answers:
    """What has come of one draw so far."""

    prompt: Prompt
    sampling: SamplingParams
    by_sample: dict[int, tuple[Completion, Future[Verdict]]] = field(default_factory=dict)

    @property
    def is_judged(self) -> bool:
        is_sampled = len(self.by_sample) == self.sampling.samples_per_prompt
        return is_sampled and all(verdict.done() for _, verdict in self.by_sample.values())

    def group(self, engine: RolloutEngine) -> Group:
        """Waits for the verdicts that are still awaited."""
        completions, verdicts = zip(*in_order(self.by_sample, self.prompt, self.sampling, engine), strict=True)
        return Group(self.prompt, completions, tuple(verdict.result() for verdict in verdicts))

    def forget(self) -> Unused:
        for _, verdict in self.by_sample.values():
            verdict.cancel()
        tokens = sum(completion.length for completion, _ in self.by_sample.values())
        return Unused(len(self.by_sample), tokens, self.sampling.samples_per_prompt - len(self.by_sample))


class Sampler:
    """Samples and judges with this rank's engine and verifiers."""

    def __init__(self, engine: RolloutEngine, pool: VerdictPool, run_seed: int, stop_reason: StopReason) -> None:
        self._engine, self._pool, self._run_seed, self._stop_reason = engine, pool, run_seed, stop_reason

    def sample(
        self, draws: Mapping[int, Draw], sampling: SamplingParams, step: int, board: Board
    ) -> tuple[dict[int, Group], Unused]:
        """Judged groups of `draws`, by their place on `board`, as far as that needs them; and what was for nothing.

        Collective, also when it raises an error: the board then says on every rank that this one gives up.

        The mixture repeats a problem within a step only when it has no others. It is then sampled from another seed, so
        that its second group isn't a copy of the first.
        """
        found: dict[int, Group] = {}
        answers = {place: _Answers(draw.prompt, sampling) for place, draw in draws.items()}
        try:
            for repeat in sorted({draw.repeat for draw in draws.values()}):
                purpose = f"train, repeat {repeat}" if repeat else "train"
                places = [place for place, draw in draws.items() if draw.repeat == repeat]
                seeded = replace(sampling, seed=step_seed(self._run_seed, step, purpose))
                if not self._sample_until_over({place: answers[place] for place in places}, seeded, board, found):
                    break
            for place, answer in answers.items():
                if place not in found and place < board.needed and not board.is_over():
                    self._found(place, answer, board, found)
        except Exception:
            board.finish(gives_up=True)
            raise
        board.finish()
        unused = Unused()
        for place, answer in answers.items():
            if place >= board.needed:
                unused += answer.forget()
                found.pop(place, None)
        return found, unused

    def _sample_until_over(
        self, answers: Mapping[int, _Answers], sampling: SamplingParams, board: Board, found: dict[int, Group]
    ) -> bool:
        """Whether sampling went to its end; else no more is needed."""
        places: Sequence[int] = list(answers)
        sampled = self._engine.generate([answers[place].prompt for place in places], sampling)
        with closing(until_asked(sampled, self._stop_reason)) as completions:
            for index, sample, completion in completions:
                answer = answers[places[index]]
                answer.by_sample[sample] = completion, self._pool.submit(answer.prompt, completion.text)
                for place in places:
                    if place not in found and answers[place].is_judged:
                        self._found(place, answers[place], board, found)
                if board.is_over():
                    return False
        return True

    def _found(self, place: int, answer: _Answers, board: Board, found: dict[int, Group]) -> None:
        found[place] = answer.group(self._engine)
        board.tell(place, found[place].teaches)
