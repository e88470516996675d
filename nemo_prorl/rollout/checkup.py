"""A rollout engine looked over beside the trainer, from one checkpoint: what `prorl doctor rollout` tells.

Every check is collective, and each speaks of the worst rank. A finding that fails says what to look at; what couldn't
be seen is told as such, and is no failure.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from nemo_prorl.algorithm.mismatch import Mismatch
from nemo_prorl.data.batch import RolloutBatch
from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.data.trajectory import Completion, Group
from nemo_prorl.rollout.copies import IMPROBABLE, log_chance_of_copies
from nemo_prorl.rollout.engine import RolloutEngine, takes_weights
from nemo_prorl.rollout.findings import Finding, memory_finding, used_memory
from nemo_prorl.rollout.gate import Score, answers, compared_by_rank, have_logprobs, mismatch_of, plain
from nemo_prorl.world import World, gather_or_raise

R = TypeVar("R")

SHARP = 1e-4  # a temperature at which a token has all the probability if its logit is the largest by a thousandth
LARGEST_BY_FAR = -math.log(2) - 1e-3  # logprob at SHARP of a token that no other beats; ties share
GREEDY_SHARE = 0.98  # of tokens; kernels that round otherwise decide close calls otherwise
FIRST_CHANGE, CHANGES = 0.05, 6  # relative, doubled until a policy differs enough for the gate


@dataclass(frozen=True)
class Trainer:
    """What of the trainer is needed.

    score    its logprobs of a batch, [B, T], at the batch's temperature; collective
    weights  the policy as a stream of Hugging Face named tensors; collective
    change   makes the policy another one, by a relative amount
    """

    score: Score
    weights: Callable[[], Iterable[tuple[str, Tensor]]]
    change: Callable[[float], None]


class Checkup:
    """Looks over `engine`, which is closed by whoever opened it. `prompts` are short ones; `sampling` as in the run."""

    def __init__(
        self,
        engine: RolloutEngine,
        trainer: Trainer,
        world: World,
        *,
        prompts: Sequence[Prompt],
        sampling: SamplingParams,
        stop_ids: Sequence[int],
        limit: float,
    ) -> None:
        self._engine, self._trainer, self._world = engine, trainer, world
        self._prompts, self._sampling, self._stop_ids, self._limit = prompts, sampling, stop_ids, limit

    def run(self) -> Iterator[Finding]:
        """All checks, one after another: the later ones begin where the earlier ones end."""
        if takes_weights(self._engine):
            yield self._refit("refit", "the checkpoint's weights")
        else:
            yield Finding("refit", "unseen", "the engine serves the weights that it was started with")
        sampled, seconds = self._timed(lambda: self._ask(self._prompts, self._sampling))
        yield self._speed(sampled, seconds)
        yield self._same_policy("logprobs", *self._comparable(self._prompts, sampled, self._sampling))
        yield self._greedy()
        yield self._streams(sampled)
        yield self._repeats(sampled)
        yield self._ends(sampled)
        yield self._long_prompt()
        if takes_weights(self._engine):
            yield from self._sleeps()
            yield from self._follows(sampled)

    # -- checks ------------------------------------------------------------------------------------------------------

    def _refit(self, name: str, what: str) -> Finding:
        size = [0]

        def counted() -> Iterator[tuple[str, Tensor]]:
            for item in self._trainer.weights():
                size[0] += item[1].nbytes
                yield item

        _, seconds = self._timed(lambda: self._together(lambda: self._engine.load_weights(counted()), "a refit"))
        return Finding(
            name,
            "good",
            f"{what}, {size[0] / 2**20:,.1f} MiB in {seconds:.3f} s, {size[0] / 2**30 / seconds:.2f} GiB/s",
        )

    def _speed(self, sampled: list[list[Group]], seconds: float) -> Finding:
        count = sum(length for group in self._own(sampled) for length in group.lengths)
        requests = len(self._prompts) * self._sampling.samples_per_prompt
        said = (
            f"{count / seconds:,.0f} tokens/s of a rank, with {requests} short answers at once; more at once is faster"
        )
        return Finding("speed", "good", said)

    def _same_policy(self, name: str, sampled: list[list[Group]], temperature: float, what: str = "") -> Finding:
        """Whether what was sampled is the trainer's policy; the worst rank's figures."""
        if not _all_have_logprobs(sampled):
            said = "the engine knows no logprobs, not even at temperature 1: nothing tells whose policy it samples"
            return Finding(name, "unseen", said)
        if temperature != self._sampling.temperature:
            what += "at temperature 1, for want of logprobs at the run's: "
        worst = self._worst(sampled, temperature)
        if worst.is_within(self._limit):
            return Finding(name, "good", f"{what}{worst}")
        advice = (
            "The engine doesn't sample the trainer's policy. If all is well with recipe.stages.<first>.temperature=1, "
            "its logprobs are taken at another temperature: see rollout.sampler. If `greedy` fails, too, weights or "
            "positions differ: compare dtypes, look for quantisation and rope settings in config.json."
        )
        return Finding(name, "failed", f"{what}{worst}; limit {self._limit:g}", advice)

    def _greedy(self) -> Finding:
        greedy = self._ask(self._prompts, replace(self._sampling, samples_per_prompt=1, temperature=0.0))

        def likeliest(batch: RolloutBatch, logprobs_BT: Tensor) -> tuple[int, int]:
            mask_BT = batch.response_mask_BT
            return int((logprobs_BT[mask_BT] > LARGEST_BY_FAR).sum()), int(mask_BT.sum())

        counts = compared_by_rank(greedy, SHARP, self._trainer.score, likeliest, self._world)
        agreed, of = min(counts.values(), key=lambda pair: pair[0] / pair[1])
        said = f"{agreed} of {of} tokens of greedy answers are the trainer's likeliest"
        if agreed >= GREEDY_SHARE * of:
            return Finding("greedy", "good", said)
        advice = (
            "Where logits are close, bf16 may decide otherwise; many such tokens mean other weights, another prompt "
            "or a sampler that isn't greedy at temperature 0."
        )
        return Finding("greedy", "failed", said, advice)

    def _streams(self, sampled: list[list[Group]]) -> Finding:
        """Whether samples of a prompt are equal more often than chance allows, by the trainer's own probabilities."""

        def chance(batch: RolloutBatch, logprobs_BT: Tensor) -> tuple[float, int]:
            mask_BT = batch.response_mask_BT
            totals = torch.where(mask_BT, logprobs_BT, 0.0).sum(1).tolist()
            rows = [tuple(batch.tokens_BS[row, 1:][mask_BT[row]].tolist()) for row in range(len(totals))]
            size = self._sampling.samples_per_prompt
            groups = [
                list(zip(rows[i : i + size], totals[i : i + size], strict=True)) for i in range(0, len(rows), size)
            ]
            return sum(map(log_chance_of_copies, groups)), sum(size - len(dict(group)) for group in groups)

        found = compared_by_rank(sampled, self._sampling.temperature, self._trainer.score, chance, self._world)
        log_chance, copies = min(found.values())
        total = len(self._prompts) * self._sampling.samples_per_prompt
        said = f"{total - copies} of {total} samples differ from the others of their prompt"
        if log_chance > IMPROBABLE:
            return Finding("seeds", "good", said)
        advice = (
            f"So many copies come by chance once in 10^{-log_chance / math.log(10):.0f} times: samples share a "
            "random stream. The engine must draw by each request's seed; TensorRT-LLM 1.2 does with "
            "rollout.sampler=TRTLLMSampler."
        )
        return Finding("seeds", "failed", said, advice)

    def _repeats(self, sampled: list[list[Group]]) -> Finding:
        again = self._ask(self._prompts, self._sampling)
        pairs = list(zip(_completions(sampled), _completions(again), strict=True))
        equal = sum(one.token_ids.tolist() == other.token_ids.tolist() for one, other in pairs)
        said = f"{equal} of {len(pairs)} samples come again when they are asked for again"
        if equal:
            return Finding("repeats", "good", said + ("" if equal == len(pairs) else "; the others by rounding"))
        return Finding("repeats", "unseen", said + ": a run that is resumed samples anew, which is no harm by itself")

    def _ends(self, sampled: list[list[Group]]) -> Finding:
        ended = [one for one in _completions(sampled) if one.finish_reason == "stop"]
        if not ended:
            return Finding("end token", "unseen", "no answer ended by itself within its few tokens")
        kept = sum(int(one.token_ids[-1]) in self._stop_ids for one in ended)
        said = f"kept in {kept} of {len(ended)} answers that ended by themselves"
        if kept == len(ended):
            return Finding("end token", "good", said)
        return Finding("end token", "failed", said, "The engine must keep it: its logprob is trained on, too.")

    def _long_prompt(self) -> Finding:
        """As long as the context allows: the whole of it must be read, which the following tokens' logprobs show."""
        few = min(8, self._sampling.max_response_tokens)
        length = self._sampling.context_tokens - few
        ids = [token for prompt in self._prompts for token in prompt.token_ids]
        long = replace(self._prompts[0], token_ids=tuple((ids * (length // len(ids) + 1))[:length]))
        once = replace(self._sampling, samples_per_prompt=1, max_response_tokens=few)
        sampled, temperature = self._comparable([long], self._ask([long], once), once)
        return self._same_policy("long prompt", sampled, temperature, f"{length:,} tokens: ")

    def _sleeps(self) -> Iterator[Finding]:
        """Whether the engine is what it was after its memory was lent to the trainer."""
        greedy = replace(self._sampling, samples_per_prompt=1, temperature=0.0)
        before, held = self._ask(self._prompts, greedy), used_memory()
        self._together(self._engine.release, "a release")
        left = used_memory()
        yield memory_finding(held, left)
        yield self._refit("wake", "after a release, the same weights")
        after = self._ask(self._prompts, greedy)
        same = all(
            one.token_ids.tolist() == other.token_ids.tolist()
            for one, other in zip(_completions(before), _completions(after), strict=True)
        )
        said = "greedy answers are the same as before"
        if same:
            yield Finding("sleep", "good", said)
        else:
            advice = (
                "Something was lost with the memory: set rollout.releases=cache, then nothing, and report which helps."
            )
            yield Finding("sleep", "failed", "greedy answers are not the same as before", advice)

    def _follows(self, sampled: list[list[Group]]) -> Iterator[Finding]:
        """Another policy: the gate must see that the engine hasn't got it yet, and that it has after a refit."""
        sampled, temperature = self._comparable(self._prompts, sampled, self._sampling)
        if not _all_have_logprobs(sampled):
            return
        change = FIRST_CHANGE
        for _ in range(CHANGES):
            self._trainer.change(change)
            stale = self._worst(sampled, temperature)
            if not stale.is_within(self._limit):
                break
            change *= 2
        said = f"of weights that the engine hasn't got yet: error {stale.multiplicative_error:.4f}, seen"
        if stale.is_within(self._limit):
            yield Finding("stale weights", "unseen", f"the policy changed too little to tell: {stale}")
        else:
            yield Finding("stale weights", "good", said)
        yield self._refit("second refit", "the changed weights")
        fresh = self._ask(self._prompts, self._sampling)
        yield self._same_policy("after refit", *self._comparable(self._prompts, fresh, self._sampling))

    # -- asking ------------------------------------------------------------------------------------------------------

    def _ask(self, prompts: Sequence[Prompt], sampling: SamplingParams) -> list[list[Group]]:
        """What each rank's engine answers, by rank, on every rank."""
        found = self._together(lambda: answers(self._engine, prompts, sampling), "asking the rollout engine")
        return list(found)

    def _comparable(
        self, prompts: Sequence[Prompt], sampled: list[list[Group]], sampling: SamplingParams
    ) -> tuple[list[list[Group]], float]:
        """`sampled`, or what is sampled at temperature 1 where logprobs are known there alone; and the temperature."""
        if _all_have_logprobs(sampled) or plain(sampling) == sampling:
            return sampled, sampling.temperature
        return self._ask(prompts, plain(sampling)), 1.0

    def _together(self, do: Callable[[], R], doing: str) -> list[R]:
        """What `do` gives on every rank; an error on one is an error on all."""
        value: Any = None
        failure: Exception | None = None
        try:
            value = do()
        except Exception as error:
            failure = error
        return gather_or_raise(self._world, value, failure, doing)

    def _worst(self, sampled: list[list[Group]], temperature: float) -> Mismatch:
        found = compared_by_rank(sampled, temperature, self._trainer.score, mismatch_of, self._world)
        outside = [one for one in found.values() if not one.is_within(self._limit)]
        return max(outside or found.values(), key=lambda one: one.multiplicative_error)

    def _own(self, sampled: list[list[Group]]) -> list[Group]:
        return sampled[self._world.rank]

    @staticmethod
    def _timed(do: Callable[[], R]) -> tuple[R, float]:
        began = time.perf_counter()
        value = do()
        return value, max(time.perf_counter() - began, 1e-9)


def _all_have_logprobs(sampled: list[list[Group]]) -> bool:
    """On all ranks: what follows is collective."""
    return all(map(have_logprobs, sampled))


def _completions(sampled: list[list[Group]]) -> list[Completion]:
    return [one for groups in sampled for group in groups for one in group.completions]
