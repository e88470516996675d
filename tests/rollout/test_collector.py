"""Dynamic sampling: what is kept, in which order, for any number of ranks; and how it ends when nothing teaches."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nemo_prorl.config.sampling_budget import SamplingBudgetConfig
from nemo_prorl.data.batch import RolloutBatch
from nemo_prorl.errors import ConfigError, PeerLostError, RolloutError, VerifierError
from nemo_prorl.recipe import Stage
from nemo_prorl.rollout.collector import Collected, Collector
from nemo_prorl.rollout.engine import RolloutEngine, Sampled
from nemo_prorl.world import LocalWorld, World
from tests.rollout.stand_ins import (
    InlinePool,
    NumberedPrompts,
    on_ranks,
    prompt,
    scripted,
    stage,
)


def teaches_unless_divisible_by_3(prompt, sample):
    """Sample 0 is right and the others are wrong, but for prompts 0, 3, 6, ..., which nobody can answer."""
    return "0" if int(prompt.uid) % 3 == 0 or sample else "1"


def collector(
    answer=teaches_unless_divisible_by_3,
    *,
    world: World | None = None,
    prompts: NumberedPrompts | None = None,
    pool: InlinePool | None = None,
    engine: RolloutEngine | None = None,
    **budget,
) -> Collector:
    return Collector(
        engine=engine or scripted(answer),
        pool=pool or InlinePool(),
        mixture=prompts or NumberedPrompts(),
        world=world or LocalWorld(),
        budget=SamplingBudgetConfig(**budget),
        run_seed=0,
    )


def uids(collected: Collected) -> list[str]:
    return [group.prompt.uid for group in collected.groups]


# -- what is kept ------------------------------------------------------------------------------------------------------


def test_the_first_groups_that_teach_are_kept_in_the_order_of_drawing():
    """4 are wanted. Drawn 0 1 2 3: 1 and 2 teach. 2 are missing, half teach, so 4 more are drawn: 4 and 5 teach."""
    assert uids(collector().collect(stage(prompts=4), 0)) == ["1", "2", "4", "5"]


@pytest.mark.parametrize("wanted", [2, 4, 6, 16])
@pytest.mark.parametrize("oversample", [1.0, 1.7, 4.0])
def test_refill_is_exact(wanted, oversample):
    groups = collector(oversample=oversample).collect(stage(prompts=wanted, update=2), 0).groups
    assert [int(group.prompt.uid) for group in groups] == [i for i in range(99) if i % 3][:wanted]


def test_what_is_beyond_the_last_group_needed_is_given_up_and_its_prompts_come_again_in_the_next_step():
    """12 are drawn and 4 are wanted: 1 2 4 5. Of the 6 after 5 no answer is begun here, and all are drawn again."""
    prompts = NumberedPrompts()
    collecting = collector(prompts=prompts, oversample=3.0)
    first = collecting.collect(stage(prompts=4), 0)
    assert first.metrics["rollout/sampled_groups"] == 6
    assert first.metrics["rollout/kept_groups"] == 4
    assert first.metrics["rollout/surplus_groups"] == 0
    assert first.metrics["time/aborted_completions"] == 6 * 2
    assert first.metrics["time/unused_completions"] == first.metrics["time/unused_tokens"] == 0
    assert prompts.position == 6
    assert uids(collecting.collect(stage(prompts=4), 1)) == ["7", "8", "10", "11"]


@pytest.mark.parametrize("samples", [8, 16, 32])
def test_equal_rewards_teach_nothing_whatever_their_value(samples):
    """Prompt i earns i/60 from every answer: no group teaches, for none of the 61 values."""
    nothing = collector(lambda prompt, _: repr(int(prompt.uid) / 60), max_rounds=1, on_exhausted="skip")
    collected = nothing.collect(stage(prompts=61, update=1, samples=samples), 0)
    assert collected.groups == []
    assert collected.metrics["rollout/teaching_fraction"] == 0


@pytest.mark.parametrize("right", [1, 7])
def test_one_answer_that_differs_is_enough(right):
    groups = collector(lambda _, sample: str(int(sample < right))).collect(stage(samples=8), 0).groups
    assert [sum(group.rewards) for group in groups] == [right] * 4


def test_without_dynamic_sampling_every_group_is_kept_and_sampled_once():
    collected = collector(drop_equal_groups=False, oversample=2.0).collect(stage(prompts=4), 0)
    assert uids(collected) == ["0", "1", "2", "3"]
    assert collected.metrics["rollout/rounds"] == 1
    assert collected.metrics["rollout/surplus_groups"] == 0


def test_a_problem_drawn_twice_in_a_step_is_answered_from_another_seed():
    seeds = []

    class Remembering:
        def generate(self, prompts, sampling) -> Iterator[Sampled]:
            seeds.extend((one.uid, sampling.seed) for one in prompts)
            return scripted(lambda _, sample: str(sample)).generate(prompts, sampling)

    collector(engine=Remembering(), prompts=NumberedPrompts(of=2)).collect(stage(prompts=4), 0)
    assert [uid for uid, _ in seeds] == ["0", "1", "0", "1"]
    assert len(set(seeds)) == 4


def test_verdicts_are_asked_for_while_generation_goes_on():
    pool = InlinePool()

    class Watching:
        def generate(self, prompts, sampling) -> Iterator[Sampled]:
            for given, sampled in enumerate(scripted(lambda _, sample: str(sample)).generate(prompts, sampling)):
                assert len(pool.judged) == given
                yield sampled

    assert len(collector(engine=Watching(), pool=pool).collect(stage(), 0).groups) == 4


# -- any number of ranks -----------------------------------------------------------------------------------------------


def of_ranks(size: int, at: Stage, steps: int = 2, data_size: int | None = None, **budget) -> list[list[Collected]]:
    """What each rank collects in each of some steps."""

    def run(world):
        collecting = collector(world=world, **budget)
        return [collecting.collect(at, step) for step in range(steps)]

    return on_ranks(size, run, data_size)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_kept_groups_and_their_order_are_the_same_for_any_number_of_ranks(size):
    """Ranks of one tensor-parallel group (data_size 1) get all groups, in order, step after step."""
    ranks = of_ranks(size, stage(prompts=4), data_size=1)
    assert [[uids(step) for step in rank] for rank in ranks] == [[["1", "2", "4", "5"], ["7", "8", "10", "11"]]] * size


def test_every_update_is_shared_out_evenly_over_data_ranks():
    """Kept 1 2 4 5 | 7 8 10 11, all equally long, so ranks take turns; a rank's own split gives its updates back."""
    ranks = of_ranks(2, stage(prompts=8, update=4), steps=1)
    assert [uids(rank[0]) for rank in ranks] == [["1", "4", "7", "10"], ["2", "5", "8", "11"]]
    parts = [RolloutBatch.from_groups(rank[0].groups, 1.0, updates=2).split() for rank in ranks]
    assert [len(part) for rank in parts for part in rank] == [4, 4, 4, 4]


def test_metrics_are_the_same_on_every_rank():
    (first,), (second,) = of_ranks(2, stage(prompts=8, update=4), steps=1)
    assert first.metrics == second.metrics
    verdicts = first.metrics["verifier/math/verdicts"] + first.metrics["verifier/logic/verdicts"]
    assert verdicts == 2 * first.metrics["rollout/sampled_groups"]


def test_a_few_missing_groups_give_every_rank_something_to_do():
    """2 groups are wanted by 4 ranks: each samples one. The second and the third teach; the last one is for nothing."""
    ranks = of_ranks(4, stage(prompts=2), steps=1, data_size=1)
    assert [len(rank[0].examples) for rank in ranks] == [1, 1, 1, 0]
    metrics = ranks[0][0].metrics
    assert metrics["time/aborted_completions"] + metrics["time/unused_completions"] == 2


def test_groups_that_data_ranks_cannot_share_evenly_are_refused():
    for error in on_ranks(2, lambda world: collector(world=world).collect(stage(prompts=3, update=3), 0)):
        assert isinstance(error, ConfigError)
        assert "prompts_per_update=3 can't be divided evenly over 2" in str(error)


def test_when_one_rank_fails_all_stop_and_say_why():
    def run(world):
        def answer(prompt, sample):
            if prompt.uid == "1":
                raise ZeroDivisionError("boom")
            return str(sample)

        return collector(answer, world=world).collect(stage(), 0)

    first, second = on_ranks(2, run)
    assert isinstance(second, ZeroDivisionError)
    assert isinstance(first, PeerLostError)
    assert "rank 1 failed while sampling" in str(first) and "boom" in str(first)


def test_sick_verifiers_on_one_rank_stop_all_with_the_same_kind_of_error():
    def run(world):
        sick = VerifierError("domain code: 90% time-outs") if world.rank == 0 else None
        return collector(world=world, pool=InlinePool(unhealthy=sick)).collect(stage(), 0)

    for error in on_ranks(2, run):
        assert isinstance(error, VerifierError)
        assert "domain code: 90% time-outs" in str(error)


# -- when too little teaches -------------------------------------------------------------------------------------------


def test_giving_up_names_domains_and_what_to_change():
    """Math (even) is always right, logic (odd) always wrong, but for one prompt, number 5, which teaches."""

    def answer(prompt, sample):
        number = int(prompt.uid)
        return str(sample) if number == 5 else str(1 - number % 2)

    with pytest.raises(RolloutError) as refused:
        collector(answer, max_rounds=3).collect(stage(prompts=4), 7)
    said = str(refused.value)
    assert "step 8, stage 'main': only 1 of 4 groups teach after 3 rounds of sampling and 12 prompts" in said
    assert "logic: 1 of 6 groups teach (17%), mean reward 0.083" in said and "too hard" in said
    assert "math: 0 of 6 groups teach (0%), mean reward 1.000" in said and "too easy" in said
    assert "sampling.max_rounds" in said and "sampling.on_exhausted=skip" in said


def test_a_step_may_be_left_out_and_is_counted():
    collected = collector(lambda *_: "0", max_rounds=2, on_exhausted="skip").collect(stage(prompts=4), 0)
    assert collected.groups == [] and collected.updates == 0
    assert collected.metrics["rollout/no_group_taught"] == 1
    assert collected.metrics["rollout/exhausted"] == 1
    assert collected.metrics["rollout/kept_groups"] == 0
    assert collected.metrics["rollout/rounds"] == 2
    assert collected.metrics["reward/sampled_mean"] == 0
    assert "reward/kept_mean" not in collected.metrics
    assert len(collected.examples) == 4


def test_updates_that_can_be_filled_are_made_even_when_the_step_cannot():
    """One round of 4 prompts, of which 0 teaches nothing: 3 of 4 groups, enough for one of two updates of 2."""
    answer = lambda prompt, sample: "0" if prompt.uid == "0" else str(sample)  # noqa: E731
    collected = collector(answer, max_rounds=1, on_exhausted="skip").collect(stage(prompts=4), 0)
    assert collected.updates == 1
    assert uids(collected) == ["1", "2"]
    assert collected.metrics["rollout/exhausted"] == 1
    assert collected.metrics["rollout/no_group_taught"] == 0
    assert collected.metrics["rollout/surplus_groups"] == 1


def test_an_engine_that_forgets_a_sample_is_found_out():
    class Forgetful:
        def generate(self, prompts, sampling) -> Iterator[Sampled]:
            return (one for one in scripted(lambda *_: "1").generate(prompts, sampling) if one.sample != 1)

    with pytest.raises(RolloutError, match=r"gave samples \[0\] of prompt '0', expected each of 0 to 1.*Forgetful"):
        collector(engine=Forgetful()).collect(stage(), 0)


def test_the_mixture_hears_of_every_group_but_those_that_come_again():
    """2 groups of the first round's 4 are wanted: the second and the third. The fourth is put back, and not told of."""
    prompts = NumberedPrompts()
    answers = {"0": "0", "1": "1", "2": "1", "3": "1"}
    engine = scripted(lambda prompt, sample: answers[prompt.uid] if sample else "0")
    collected = collector(prompts=prompts, engine=engine, oversample=2.0).collect(stage(prompts=2), 0)
    assert uids(collected) == ["1", "2"]
    assert prompts.observed == [("0", (0.0, 0.0)), ("1", (0.0, 1.0)), ("2", (0.0, 1.0))]
    assert prompts.position == 3


def test_a_prompt_without_room_stops_the_collector():
    class TooLong(NumberedPrompts):
        def draw(self, n, blend, *, avoid):
            return [prompt("long", length=64)] * n

    with pytest.raises(RolloutError, match="'long' of 'test' has 64 tokens"):
        collector(prompts=TooLong()).collect(stage(), 0)
