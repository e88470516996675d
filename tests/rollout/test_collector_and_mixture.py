"""The collector on the real mixture, across the epochs of a small source."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest

from nemo_prorl.config.sampling_budget import SamplingBudgetConfig
from nemo_prorl.data.mixture import Avoidance, Mixture
from nemo_prorl.data.prompt import Row
from nemo_prorl.rollout.collector import Collector
from nemo_prorl.world import LocalWorld
from tests.rollout.stand_ins import InlinePool, byte_tokenizer, on_ranks, scripted, stage


@dataclass(frozen=True)
class Numbers:
    """`size` problems; number i has the uid "i"."""

    size: int
    tasks: tuple[str, ...] = ("numbers",)

    @property
    def domains(self) -> Mapping[str, Sequence[int] | None]:
        return {"logic": range(self.size)}

    def row(self, index: int) -> Row:
        return Row(str(index), "logic", "numbers", "test", ({"role": "user", "content": str(index)},), "logic", {})


def teaches_unless_divisible_by_3(prompt, sample):
    return "0" if int(prompt.uid) % 3 == 0 or sample else "1"


def mixture_of_8(**avoidance) -> Mixture:
    settings = {"seed": 3, "max_prompt_tokens": 60, "avoidance": Avoidance(**avoidance)}
    return Mixture({"numbers": (Numbers(8), 1.0)}, byte_tokenizer(), **settings)


def kept_uids(size: int, oversample: float, steps: int = 5, **avoidance) -> list[list[str]]:
    """Of each step, as rank 0 of `size` ranks sees them: steps of 4 groups from 8 problems, 5 of which teach."""

    def run(world):
        collecting = Collector(
            engine=scripted(teaches_unless_divisible_by_3),
            pool=InlinePool(),
            mixture=mixture_of_8(**avoidance),
            world=world,
            budget=SamplingBudgetConfig(oversample=oversample),
            run_seed=0,
        )
        return [[group.prompt.uid for group in collecting.collect(stage(), step).groups] for step in range(steps)]

    return on_ranks(size, run, data_size=1)[0]


@pytest.mark.parametrize(("size", "oversample"), [(1, 2.5), (2, 1.0), (3, 1.0), (3, 2.0)])
def test_neither_ranks_nor_oversampling_change_which_problems_a_run_trains_on(size, oversample):
    assert kept_uids(size, oversample) == kept_uids(1, 1.0)


HOPELESS = {"hopeless_at": 0.0, "min_samples": 2, "revisit_probability": 0.3}


@pytest.mark.parametrize(("size", "oversample"), [(1, 2.5), (2, 1.0), (3, 2.0)])
def test_nor_do_they_when_hopeless_problems_are_passed_over(size, oversample):
    assert kept_uids(size, oversample, steps=12, **HOPELESS) == kept_uids(1, 1.0, steps=12, **HOPELESS)


def test_hopeless_problems_are_sampled_less_often_once_they_are_known():
    """3 of 8 problems never teach: without a rule they are 3 of 8 draws, with it about 0.3 of that."""

    def sampled(**avoidance):
        mixture = mixture_of_8(**avoidance)
        collecting = Collector(
            engine=scripted(teaches_unless_divisible_by_3),
            pool=InlinePool(),
            mixture=mixture,
            world=LocalWorld(),
            budget=SamplingBudgetConfig(),
            run_seed=0,
        )
        return sum(collecting.collect(stage(), step).metrics["rollout/sampled_groups"] for step in range(12))

    assert sampled(**HOPELESS) < sampled()


def test_a_step_repeats_no_problem_while_there_are_others():
    assert all(len(set(uids)) == 4 for uids in kept_uids(1, 1.0))
