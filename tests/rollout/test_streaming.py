"""Completions reach the verifiers as they finish; what isn't needed is given up; or it is carried to the next step."""

import json
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace

import pytest
from pydantic import ValidationError

from nemo_prorl.config.sampling_budget import SamplingBudgetConfig
from nemo_prorl.config.schema import ProRLConfig
from nemo_prorl.data.batch import RolloutBatch
from nemo_prorl.data.group_state import group_from_json, group_to_json
from nemo_prorl.data.trajectory import Group, Verdict
from nemo_prorl.rollout.collector import Collected, Collector
from nemo_prorl.rollout.engine import Sampled
from nemo_prorl.rollout.scripted_engine import ScriptedEngine
from nemo_prorl.rollout.surplus import Surplus
from nemo_prorl.world import LocalWorld
from tests.rollout.stand_ins import InlinePool, NumberedPrompts, byte_tokenizer, on_ranks, prompt, scripted, stage


def teaches_unless_divisible_by_3(prompt, sample):
    return "0" if int(prompt.uid) % 3 == 0 or sample else "1"


def collector(world=None, prompts=None, pool=None, engine=None, **budget) -> Collector:
    return Collector(
        engine=engine or ScriptedEngine(None, byte_tokenizer(), answer=teaches_unless_divisible_by_3, logprob=-1.5),
        pool=pool or InlinePool(),
        mixture=prompts or NumberedPrompts(),
        world=world or LocalWorld(),
        budget=SamplingBudgetConfig(**budget),
        run_seed=0,
    )


def carrying(**more) -> Collector:
    return collector(surplus="carry", **{"oversample": 2.0, **more})


def uids(groups: list[Group]) -> list[str]:
    return [group.prompt.uid for group in groups]


# -- giving up ---------------------------------------------------------------------------------------------------------


def test_sampling_ends_as_soon_as_enough_groups_teach():
    """4 of 12 prompts' groups are wanted: 1 2 4 5. After the second answer to 5 the engine is asked for no more."""
    given = []

    class Counting:
        def generate(self, prompts, sampling) -> Iterator[Sampled]:
            for sampled in scripted(teaches_unless_divisible_by_3).generate(prompts, sampling):
                given.append(prompts[sampled.prompt].uid)
                yield sampled

    assert uids(collector(engine=Counting(), oversample=3.0).collect(stage(prompts=4), 0).groups) == [
        "1",
        "2",
        "4",
        "5",
    ]
    assert given == [str(number // 2) for number in range(12)]


def test_a_late_verdict_is_waited_for_while_others_are_there_already():
    """Prompt 1's verdicts come last of all; it is kept all the same, and 7, which was judged long before, is not."""
    late: list[tuple[Future, Verdict]] = []

    class Late(InlinePool):
        def submit(self, prompt, text):
            verdict = super().submit(prompt, text)
            if prompt.uid != "1":
                if prompt.uid == "7":
                    for future, known in late:
                        future.done() or future.set_result(known)
                return verdict
            late.append((Future(), verdict.result()))
            return late[-1][0]

    collected = collector(pool=Late(), oversample=3.0).collect(stage(prompts=4), 0)
    assert uids(collected.groups) == ["1", "2", "4", "5"]
    assert collected.metrics["time/unused_completions"] >= 2
    assert collected.metrics["time/unused_completions"] + collected.metrics["time/aborted_completions"] == 12


def test_verdicts_that_nobody_needs_any_more_are_called_off():
    futures: dict[str, list[Future]] = {}

    class Waiting(InlinePool):
        def submit(self, prompt, text):
            if prompt.uid != "6":
                return super().submit(prompt, text)
            futures.setdefault(prompt.uid, []).append(Future())
            return futures[prompt.uid][-1]

    class Backwards:
        def generate(self, prompts, sampling) -> Iterator[Sampled]:
            return reversed(list(scripted(teaches_unless_divisible_by_3).generate(prompts, sampling)))

    collector(pool=Waiting(), engine=Backwards(), oversample=3.0).collect(stage(prompts=4), 0)
    assert [future.cancelled() for future in futures["6"]] == [True, True]


def test_what_is_told_of_a_step_does_not_depend_on_what_was_going_on_when_it_ended():
    def told(world):
        metrics = collector(world=world, oversample=3.0).collect(stage(prompts=4), 0).metrics
        return {name: value for name, value in metrics.items() if not name.startswith("time/")}

    alone = told(LocalWorld())
    for size in (2, 4):
        assert on_ranks(size, told, data_size=1) == [alone] * size


# -- carrying over -----------------------------------------------------------------------------------------------------


def test_surplus_is_carried_to_the_next_step_and_comes_first_there():
    """8 are drawn: 1 2 4 5 7 teach and 4 are wanted. 7 waits. Then 3 are missing: 6 more are drawn, 8 to 13."""
    prompts = NumberedPrompts()
    collecting = carrying(prompts=prompts)
    first, second = (collecting.collect(stage(prompts=4), step) for step in range(2))
    assert uids(first.groups) == ["1", "2", "4", "5"]
    assert (first.metrics["rollout/surplus_groups"], first.metrics["rollout/carried_groups"]) == (1, 0)
    assert first.metrics["rollout/sampled_groups"] == 8
    assert uids(second.groups) == ["7", "8", "10", "11"]
    assert [group.steps_waited for group in second.groups] == [1, 0, 0, 0]
    assert (second.metrics["rollout/surplus_groups"], second.metrics["rollout/carried_groups"]) == (1, 1)
    assert second.metrics["rollout/steps_waited_mean"] == 0.25
    assert prompts.position == 14


def test_each_group_is_told_to_the_mixture_once():
    prompts = NumberedPrompts()
    collecting = carrying(prompts=prompts)
    for step in range(4):
        collecting.collect(stage(prompts=4), step)
    told = [uid for uid, _ in prompts.observed]
    assert told == [str(number) for number in range(prompts.position)]


def test_a_group_that_has_waited_too_long_is_dropped_and_counted():
    """Of 32 drawn for a step of 4, 21 teach; after two more steps from them 9 are left, and too old."""
    collecting = carrying(oversample=8.0, max_steps_waited=2)
    steps = [collecting.collect(stage(prompts=4), step) for step in range(4)]
    assert [step.metrics["rollout/carried_groups"] for step in steps] == [0, 4, 4, 0]
    assert [step.metrics["rollout/dropped_groups"] for step in steps] == [0, 0, 0, 9]
    assert [step.metrics["rollout/steps_waited_mean"] for step in steps] == [0, 1, 2, 0]
    assert "reward/sampled_mean" not in steps[1].metrics  # nothing had to be sampled


def test_a_stage_that_samples_otherwise_takes_none_of_it():
    collecting = carrying()
    collecting.collect(stage(prompts=4), 0)
    hotter = stage(prompts=4)
    hotter = replace(hotter, sampling=replace(hotter.sampling, temperature=0.7))
    second = collecting.collect(hotter, 1)
    assert second.metrics["rollout/dropped_groups"] == 1
    assert uids(second.groups) == ["8", "10", "11", "13"]


def test_what_waits_is_forgotten_when_the_policy_becomes_another():
    collecting = carrying()
    collecting.collect(stage(prompts=4), 0)
    collecting.forget_surplus()
    assert uids(collecting.collect(stage(prompts=4), 1).groups) == ["8", "10", "11", "13"]


def of_ranks(size: int, steps: int, data_size: int | None = None) -> list[list[Collected]]:
    def run(world):
        collecting = carrying(world=world)
        return [collecting.collect(stage(prompts=4), step) for step in range(steps)]

    return on_ranks(size, run, data_size)


def test_ranks_share_carried_groups_as_any_others():
    alone = of_ranks(1, 3)[0]
    ranks = of_ranks(2, 3)
    for step in range(3):
        together = {uid for rank in ranks for uid in uids(rank[step].groups)}
        assert together == set(uids(alone[step].groups))
        assert [len(rank[step].groups) for rank in ranks] == [2, 2]
        first, second = ({name: value for name, value in rank[step].metrics.items()} for rank in ranks)
        assert first == second


def test_a_run_that_is_resumed_from_json_goes_on_with_the_same_groups_bit_for_bit():
    prompts, again = NumberedPrompts(), NumberedPrompts()
    unbroken, resumed = carrying(prompts=prompts), carrying(prompts=again)
    unbroken.collect(stage(prompts=4), 0)
    resumed.load_state_dict(json.loads(json.dumps(unbroken.state_dict())))
    again.position = prompts.position
    wanted, found = (collecting.collect(stage(prompts=4), 1) for collecting in (unbroken, resumed))
    assert found.metrics == wanted.metrics
    for one, other in zip(found.groups, wanted.groups, strict=True):
        assert group_to_json(one) == group_to_json(other)


def test_a_group_goes_through_json_exactly():
    engine = ScriptedEngine(None, byte_tokenizer(), answers=["so", "Größe"], logprob=-0.1)
    asked = replace(prompt("a"), reference={"answer": "2", "parts": [1, 2.5]}, metadata={"level": 3})
    completions = tuple(one.completion for one in engine.generate([asked], stage().sampling))
    group = Group(asked, completions, (Verdict(1 / 3, "why", "scored", 0.25), Verdict(0.0)), steps_waited=2)
    back = group_from_json(json.loads(json.dumps(group_to_json(group))))
    assert (back.prompt, back.verdicts, back.steps_waited) == (asked, group.verdicts, 2)
    for one, other in zip(back.completions, completions, strict=True):
        assert (one.text, one.finish_reason) == (other.text, other.finish_reason)
        assert one.token_ids.tobytes() == other.token_ids.tobytes() and one.token_ids.dtype == other.token_ids.dtype
        assert one.logprobs.tobytes() == other.logprobs.tobytes() and one.logprobs.dtype == other.logprobs.dtype


def test_a_batch_knows_which_rows_have_waited():
    collecting = carrying()
    groups = [collecting.collect(stage(prompts=4), step).groups for step in range(2)][1]
    batch = RolloutBatch.from_groups(groups, 1.0, updates=2)
    assert batch.fresh_B.tolist() == [False, False, *[True] * 6]
    assert [part.fresh_B.tolist() for part in batch.split()] == [[False, False, True, True], [True] * 4]
    plain = collector().collect(stage(prompts=4), 0).groups
    assert RolloutBatch.from_groups(plain, 1.0).fresh_B is None


def test_an_empty_surplus_gives_nothing():
    taken = Surplus(1).take(stage().sampling)
    assert (taken.groups, taken.dropped) == ([], 0)


def test_groups_of_an_older_policy_are_not_trained_on_without_a_correction():
    with pytest.raises(ValidationError, match=r"sampling.surplus=carry trains on groups of an older policy"):
        ProRLConfig.model_validate(
            {
                "model": {"path": "x"},
                "sampling": {"surplus": "carry"},
                "recipe": {"stages": {"main": {}}},
                "data": {"sources": {"one": {"name": "jsonl", "path": "x"}}},
            }
        )
