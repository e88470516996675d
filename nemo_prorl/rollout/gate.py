"""The gate: before training, and every so many steps, is what the rollout engine samples the trainer's own policy?"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, replace
from typing import Protocol, TypeAlias, TypeVar

from torch import Tensor

from nemo_prorl.algorithm.mismatch import Mismatch, sampler_mismatch
from nemo_prorl.config.gate import GateConfig
from nemo_prorl.data.batch import RolloutBatch
from nemo_prorl.data.blend import Blend
from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.sampling import SamplingParams, step_seed
from nemo_prorl.data.trajectory import Completion, Group, Verdict
from nemo_prorl.errors import RolloutError
from nemo_prorl.recipe import Stage
from nemo_prorl.rollout.engine import RolloutEngine, in_order
from nemo_prorl.world import World, gather_or_raise

log = logging.getLogger(__name__)

T = TypeVar("T")

Score = Callable[[RolloutBatch], Tensor]
"""The trainer's logprobs of a batch, [B, T], at its temperature; collective."""

Compare: TypeAlias = Callable[[RolloutBatch, Tensor], T]


class Refitted(Protocol):
    """Does some work while the engine holds the newest weights, and gives what it gives; collective."""

    def __call__(self, work: Callable[[], list[Group]]) -> list[Group]: ...


class PromptSource(Protocol):
    """What the gate asks of the mixture: what comes next, which it puts back."""

    def draw(self, n: int, blend: Blend, *, avoid: Collection[str] = ()) -> list[Prompt]: ...

    def put_back(self, n: int) -> None: ...


class MismatchGate:
    """Compares the engine's logprobs with the trainer's, rank by rank, on a few answers that it has the engine give.

    `refitted` does what it is given while the engine holds the newest weights, `score` is the trainer's scoring. It
    changes nothing that training depends on: the prompts come again, and no random stream goes on. Every method is
    collective.
    """

    def __init__(
        self,
        *,
        engine: RolloutEngine,
        engine_name: str,
        refitted: Refitted,
        score: Score,
        prompts: PromptSource,
        world: World,
        config: GateConfig,
        run_seed: int,
    ) -> None:
        self._engine, self._engine_name, self._refitted, self._score = engine, engine_name, refitted, score
        self._prompts, self._world, self._config, self._run_seed = prompts, world, config, run_seed

    def at_start(self, stage: Stage, step: int) -> None:
        """Before anything else of a run that starts or resumes.

        Raises:
            RolloutError: as `check`.
        """
        if self._config.enabled and (worst := self.check(stage, step)) is not None:
            log.info("the rollout engine %r samples the trainer's policy: %s", self._engine_name, worst)

    def look(self, stage: Stage, step: int) -> dict[str, float]:
        """Before the step after `step` steps: metrics, of the worst rank, when the gate's turn has come.

        Raises:
            RolloutError: as `check`.
        """
        every = self._config.every_steps
        if not self._config.enabled or every is None or step == 0 or step % every:
            return {}
        worst = self.check(stage, step)
        return {} if worst is None else {f"rollout/gate_{name}": float(value) for name, value in asdict(worst).items()}

    def check(self, stage: Stage, step: int) -> Mismatch | None:
        """The worst rank's figures; None when the engine knows no logprobs at all, so that there is nothing to compare.

        Where it knows none at the stage's temperature it is asked again at `plain`: whose weights it has shows there,
        too.

        Raises:
            RolloutError: on every rank, when the engine of some rank is beyond the limit, or fails.
        """
        for sampling in dict.fromkeys((stage.sampling, plain(stage.sampling))):
            answered = self._answered(stage.blend, sampling, step)
            if have_logprobs(answered):
                return self._judged(answered, sampling.temperature, step)
        log.warning(
            "the rollout engine %r knows no logprobs, not even at temperature 1: nothing tells whose policy it samples",
            self._engine_name,
        )
        return None

    def _judged(self, answered: Sequence[Group], temperature: float, step: int) -> Mismatch:
        size = len(answered) // self._world.size
        of_rank = [answered[rank * size : (rank + 1) * size] for rank in range(self._world.size)]
        everywhere = compared_by_rank(of_rank, temperature, self._score, mismatch_of, self._world)
        outside = {rank: one for rank, one in everywhere.items() if not one.is_within(self._config.limit)}
        worst = max(outside or everywhere, key=lambda rank: (outside or everywhere)[rank].multiplicative_error)
        if outside:
            raise RolloutError(self._message(worst, everywhere[worst], len(outside), step))
        return everywhere[worst]

    def _answered(self, blend: Blend, sampling: SamplingParams, step: int) -> list[Group]:
        """What every rank's engine answers, of all ranks in their order; each has its own seed."""
        prompts = self._prompts.draw(self._config.prompts, blend)
        self._prompts.put_back(len(prompts))
        few = replace(
            sampling,
            samples_per_prompt=self._config.samples_per_prompt,
            max_response_tokens=min(sampling.max_response_tokens, self._config.max_response_tokens),
            seed=step_seed(self._run_seed, step, f"gate, rank {self._world.rank}"),
        )
        return self._refitted(lambda: self._asked(prompts, few))

    def _asked(self, prompts: Sequence[Prompt], sampling: SamplingParams) -> list[Group]:
        groups: list[Group] = []
        failure: Exception | None = None
        try:
            groups = answers(self._engine, prompts, sampling)
        except Exception as error:
            failure = error
        parts = gather_or_raise(self._world, groups, failure, "asking the rollout engine for a few answers")
        return [group for part in parts for group in part]

    def _message(self, rank: int, mismatch: Mismatch, count: int, step: int) -> str:
        where = f"rank {rank}" + (f", the worst of {count} ranks" if count > 1 else "")
        return (
            f"before step {step + 1} the rollout engine {self._engine_name!r} ({where}) does not sample the policy "
            f"that is trained: {mismatch}; gate.limit={self._config.limit:g}. Likely causes: a tensor that did not "
            "arrive in a refit, or arrived in another's place; logprobs that the engine takes at another temperature, "
            "or of a cut distribution; caches from before the refit; much lower precision than the trainer's (FP8, "
            "quantized caches); another attention or position encoding than config.json asks for. `prorl doctor "
            "rollout` looks into each. Where the difference is known and meant, correct for it "
            "(loss.sampler_correction) and raise gate.limit."
        )


def answers(engine: RolloutEngine, prompts: Sequence[Prompt], sampling: SamplingParams) -> list[Group]:
    """What the engine answers, without verdicts: groups for scoring alone.

    Raises:
        RolloutError: it left out a completion.
    """
    found: list[dict[int, Completion]] = [{} for _ in prompts]
    for place, sample, completion in engine.generate(prompts, sampling):
        found[place][sample] = completion
    unjudged = (Verdict(0.0, "not judged"),) * sampling.samples_per_prompt
    return [
        Group(prompt, tuple(in_order(given, prompt, sampling, engine)), unjudged)
        for prompt, given in zip(prompts, found, strict=True)
    ]


def plain(sampling: SamplingParams) -> SamplingParams:
    """At temperature 1 with nothing cut, where every engine that knows logprobs tells the policy's."""
    return replace(sampling, temperature=1.0, top_p=1.0, top_k=0)


def have_logprobs(groups: Iterable[Group]) -> bool:
    return all(completion.logprobs is not None for group in groups for completion in group.completions)


def mismatch_of(batch: RolloutBatch, logprobs_BT: Tensor) -> Mismatch:
    """Of a batch whose sampler's logprobs are known, and the trainer's."""
    assert batch.sampler_logprobs_BT is not None
    return Mismatch.of(sampler_mismatch(logprobs_BT, batch.sampler_logprobs_BT, batch.response_mask_BT))


def compared_by_rank(
    answers_of_rank: Sequence[Sequence[Group]], temperature: float, score: Score, compare: Compare[T], world: World
) -> dict[int, T]:
    """`compare` of each rank's answers and the trainer's logprobs of them, by rank, on every rank; collective.

    Every rank knows all answers. Each data rank scores some ranks' answers, since ranks that hold one model together
    have to score the same ones.
    """
    found = {}
    for rank in range(world.data_rank, world.size, world.data_size):
        batch = RolloutBatch.from_groups(answers_of_rank[rank], temperature)
        found[rank] = compare(batch, score(batch))
    everywhere: dict[int, T] = {}
    for part in world.gather(found):
        everywhere |= part
    return everywhere
