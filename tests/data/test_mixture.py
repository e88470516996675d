"""The mixture: seeded, the same everywhere, exact after a resume, and never a held-out question."""

import json
from collections import Counter
from itertools import pairwise

import pytest

from nemo_prorl.data.blend import Blend
from nemo_prorl.data.mixture import Mixture, held_out, question_keys
from nemo_prorl.data.sources.base import question_key
from nemo_prorl.data.sources.reasoning_gym import ReasoningGymSource
from nemo_prorl.errors import DataError

SETTINGS = {"seed": 3, "max_prompt_tokens": 200}
SUMS = [f"{i} + {i}?" for i in range(10)]


def uids(prompts):
    return [prompt.uid for prompt in prompts]


@pytest.fixture
def two_domains(list_source, tokenizer):
    """`a` has 8 math rows and 2 of code, `b` is endless logic; weights 1 and 3."""

    def make(**settings):
        a = list_source([f"a {i}" for i in range(10)], ["math"] * 8 + ["code"] * 2)
        b = list_source([f"b {i}" for i in range(500)], "logic", endless=True)
        return Mixture({"a": (a, 1.0), "b": (b, 3.0)}, tokenizer, **SETTINGS | settings)

    return make


def test_an_epoch_holds_every_row_once_and_each_epoch_has_its_own_order(list_source, tokenizer):
    mixture = Mixture({"a": (list_source(SUMS), 1.0)}, tokenizer, **SETTINGS)
    epochs = [[mixture.draw(1)[0].uid for _ in range(10)] for _ in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == sorted(f"sums-{i}" for i in range(10))
    assert all(one != other for one, other in pairwise(epochs))
    assert mixture.metrics()["data/epochs/a/math"] == 3.0


def test_an_endless_source_is_walked_by_number(list_source, tokenizer):
    mixture = Mixture({"a": (list_source(SUMS, endless=True), 1.0)}, tokenizer, **SETTINGS)
    assert uids(mixture.draw(4) + mixture.draw(2)) == [f"sums-{i}" for i in range(6)]


def test_two_mixtures_of_a_seed_agree_and_of_two_seeds_do_not(two_domains):
    drawn = [uids(mixture.draw(30)) for mixture in (two_domains(), two_domains(), two_domains(seed=4))]
    assert drawn[0] == drawn[1] != drawn[2]


def test_the_order_of_sources_in_the_config_does_not_matter(list_source, tokenizer):
    a, b = (list_source(SUMS), 1.0), (list_source(SUMS, "logic"), 1.0)
    one, other = Mixture({"a": a, "b": b}, tokenizer, **SETTINGS), Mixture({"b": b, "a": a}, tokenizer, **SETTINGS)
    assert uids(one.draw(10)) == uids(other.draw(10))


@pytest.mark.parametrize("before", [0, 1, 7, 9, 10, 11, 29, 30, 95])
def test_a_resumed_mixture_draws_what_an_unbroken_one_draws(two_domains, before):
    """Also across epochs: 10 rows in `a`, up to 95 draws before the stop; draws of three at a time after it."""
    unbroken, stopped, resumed = two_domains(), two_domains(), two_domains()
    for mixture in (unbroken, stopped):
        for _ in range(before):
            mixture.draw(1)
    resumed.load_state_dict(json.loads(json.dumps(stopped.state_dict())))
    after = [[uids(mixture.draw(3)) for _ in range(20)] for mixture in (unbroken, resumed)]
    assert after[0] == after[1]
    assert unbroken.state_dict() == resumed.state_dict()
    assert unbroken.metrics() == resumed.metrics()


def test_weights_say_how_often_a_source_is_drawn(two_domains):
    """Weights 1 and 3, and 8 of 10 rows of `a` are math: 20 % math, 5 % code, 75 % logic, within 5 standard errors."""
    mixture = two_domains()
    domains = Counter(mixture.draw(1)[0].domain for _ in range(2000))
    for domain, share in {"math": 0.2, "code": 0.05, "logic": 0.75}.items():
        assert abs(domains[domain] / 2000 - share) < 5 * (share * (1 - share) / 2000) ** 0.5


def test_domain_weights_say_how_often_a_domain_is_drawn_and_leave_the_others_out(two_domains):
    mixture, blend = two_domains(), Blend({"math": 3, "logic": 1, "stem": 0})
    domains = Counter(mixture.draw(1, blend)[0].domain for _ in range(2000))
    assert set(domains) == {"math", "logic"}
    assert abs(domains["math"] / 2000 - 0.75) < 5 * (0.75 * 0.25 / 2000) ** 0.5


def test_a_domain_that_no_source_has_is_an_error(two_domains):
    with pytest.raises(DataError, match="'stem', but no source has such problems; the sources have code, logic, math"):
        two_domains().draw(1, Blend({"math": 1.0, "stem": 0.5}))
    with pytest.raises(DataError, match="draws from no domain"):
        two_domains().draw(1, Blend({"math": 0.0}))


def test_one_draw_has_no_uid_twice_though_it_crosses_an_epoch(list_source, tokenizer):
    mixture = Mixture({"a": (list_source(SUMS), 1.0)}, tokenizer, **SETTINGS)
    for _ in range(20):
        assert len(set(uids(mixture.draw(7)))) == 7
    assert mixture.metrics()["data/repeated_prompts"] == 0


def test_what_the_step_has_already_is_avoided(list_source, tokenizer):
    mixture = Mixture({"a": (list_source(SUMS), 1.0)}, tokenizer, **SETTINGS)
    first = uids(mixture.draw(6))
    assert not set(first) & set(uids(mixture.draw(4, avoid=first)))


def test_a_source_smaller_than_the_draw_repeats_and_says_so(list_source, tokenizer):
    mixture = Mixture({"a": (list_source(SUMS[:3]), 1.0)}, tokenizer, **SETTINGS)
    assert Counter(uids(mixture.draw(5))).total() == 5
    assert mixture.metrics()["data/repeated_prompts"] == 2


def test_a_draw_far_larger_than_its_source_looks_at_few_rows_in_vain(list_source, tokenizer):
    """10 different ones, one vain walk of at most 2 epochs, then 290 repeats without looking further."""
    mixture = Mixture({"a": (list_source(SUMS), 1.0)}, tokenizer, **SETTINGS)
    assert len(mixture.draw(300)) == 300
    assert mixture.metrics()["data/repeated_prompts"] == 290
    assert mixture.metrics()["data/epochs/a/math"] <= 35


def test_a_source_with_few_usable_rows_repeats_them_too(list_source, tokenizer):
    """One row of ten may be drawn: it is found, and repeated when 20 rows, its two epochs, were looked at in vain."""
    exclude = {question_key(question) for question in SUMS[1:]}
    mixture = Mixture({"a": (list_source(SUMS), 1.0)}, tokenizer, **SETTINGS, exclude=exclude)
    assert uids(mixture.draw(3)) == ["sums-0"] * 3
    assert mixture.metrics()["data/repeated_prompts"] == 2
    assert mixture.metrics()["data/epochs/a/math"] <= 7


def test_held_out_questions_are_never_drawn_however_they_are_spaced(list_source, tokenizer):
    asked = held_out({"v": list_source(["  1 +  1? ", "2 + 2?"])}, tokenizer, problems_per_task=5, max_prompt_tokens=99)
    mixture = Mixture({"a": (list_source(SUMS), 1.0)}, tokenizer, **SETTINGS, exclude=question_keys(asked))
    drawn = {mixture.draw(1)[0].messages[0]["content"] for _ in range(50)}
    assert drawn == set(SUMS) - {"1 + 1?", "2 + 2?"}
    assert mixture.metrics()["data/excluded_prompts"] >= 8


def test_a_single_usable_row_is_found_in_every_epoch(list_source, tokenizer):
    """In one epoch it may come first and in the next last: nearly two epochs lie between."""
    exclude = {question_key(question) for question in SUMS[1:]}
    mixture = Mixture({"a": (list_source(SUMS), 1.0)}, tokenizer, **SETTINGS, exclude=exclude)
    assert {mixture.draw(1)[0].uid for _ in range(100)} == {"sums-0"}


@pytest.mark.parametrize("endless", [False, True])
def test_nothing_left_to_draw_is_an_error_and_not_a_hang(list_source, tokenizer, endless):
    exclude = {question_key(question) for question in SUMS}
    mixture = Mixture({"a": (list_source(SUMS, endless=endless), 1.0)}, tokenizer, **SETTINGS, exclude=exclude)
    with pytest.raises(DataError, match=r"data source a/math: none of .* rows on end may be drawn"):
        mixture.draw(1)


def test_a_long_prompt_is_an_error_that_names_it(list_source, tokenizer):
    sources = {"a": (list_source(["x" * 300]), 1.0)}
    with pytest.raises(DataError, match=r"'sums-0' of source 'list' has \d+ tokens, over data.max_prompt_tokens=200"):
        Mixture(sources, tokenizer, **SETTINGS).draw(1)
    with pytest.raises(DataError, match="'sums-0'"):
        held_out({"a": sources["a"][0]}, tokenizer, problems_per_task=1, max_prompt_tokens=200)


def test_long_prompts_are_skipped_and_counted_when_asked_for(list_source, tokenizer):
    source = list_source(["x" * 300, "short"])
    mixture = Mixture({"a": (source, 1.0)}, tokenizer, **SETTINGS, long_prompts="skip")
    assert [mixture.draw(1)[0].uid for _ in range(4)] == ["sums-1"] * 4
    assert mixture.metrics()["data/too_long_prompts"] >= 3


@pytest.mark.parametrize("endless", [False, True])
def test_a_long_held_out_problem_is_skipped_for_the_tasks_next_when_asked_for(list_source, tokenizer, endless, caplog):
    source = list_source(["1?", "x" * 300, "2?", "3?"], endless=endless)
    look = {"problems_per_task": 2, "max_prompt_tokens": 200}
    assert uids(held_out({"v": source}, tokenizer, **look, long_prompts="skip")) == ["sums-0", "sums-2"]
    assert "data.held_out.v: 1 problems are too long" in caplog.text
    with pytest.raises(DataError, match="'sums-1'"):
        held_out({"v": source}, tokenizer, **look, long_prompts="error")


def test_a_held_out_source_of_long_problems_alone_is_an_error(list_source, tokenizer):
    source = list_source(["x" * 300, "y" * 300])
    with pytest.raises(DataError, match=r"data\.held_out\.v: each of its 2 problems is over"):
        held_out({"v": source}, tokenizer, problems_per_task=2, max_prompt_tokens=200, long_prompts="skip")


def test_a_mixture_without_data_is_refused(list_source, tokenizer):
    with pytest.raises(DataError, match=r"data\.sources is empty"):
        Mixture({}, tokenizer, **SETTINGS)
    with pytest.raises(DataError, match=r"data\.sources\.a has no rows"):
        Mixture({"a": (list_source([]), 1.0)}, tokenizer, **SETTINGS)


def test_a_state_of_other_data_is_refused(list_source, tokenizer, two_domains):
    state = two_domains().state_dict()
    with pytest.raises(DataError, match=r"belongs to seed 3, this run has run.seed=4"):
        two_domains(seed=4).load_state_dict(state)
    smaller = Mixture({"a": (list_source(SUMS[:4]), 1.0)}, tokenizer, **SETTINGS)
    with pytest.raises(DataError, match=r"a/math had 8 rows .* now 4"):
        smaller.load_state_dict(state)


def test_a_new_source_starts_at_its_beginning_and_says_so(list_source, tokenizer, two_domains, caplog):
    old = Mixture({"c": (list_source(SUMS), 1.0)}, tokenizer, **SETTINGS)
    mixture = two_domains()
    mixture.load_state_dict(old.state_dict())
    assert {record.message.split(" ")[2] for record in caplog.records} == {"a/code", "a/math", "b/logic", "c/math"}
    assert len(mixture.draw(3)) == 3


def test_a_prompt_is_rendered_with_the_models_turn_opened(list_source, tokenizer):
    prompt = Mixture({"a": (list_source(["1?"]), 1.0)}, tokenizer, **SETTINGS).draw(1)[0]
    text = "<|im_start|>user\n1?<|im_end|>\n<|im_start|>assistant\n<think>"
    assert tokenizer.decode(prompt.token_ids, skip_special=False) == text
    assert (prompt.uid, prompt.verifier, prompt.reference) == ("sums-0", "math", {"answer": "0"})


def test_held_out_problems_are_the_first_different_ones_of_each_task(tokenizer):
    tasks = {"lcm": {"max_value": 12}, "count_bits": {"min_n": 1, "max_n": 127}}
    source = ReasoningGymSource("v", tasks=tasks, seed=999)
    prompts = held_out({"v": source}, tokenizer, problems_per_task=24, max_prompt_tokens=200)
    assert Counter(prompt.task for prompt in prompts) == {"lcm": 24, "count_bits": 24}
    assert len({prompt.messages[0]["content"] for prompt in prompts}) == 48
    fewer = held_out({"v": source}, tokenizer, problems_per_task=5, max_prompt_tokens=200)
    assert set(uids(fewer)) <= set(uids(prompts))


def test_a_task_with_too_few_problems_is_an_error_and_not_a_hang(tokenizer):
    source = ReasoningGymSource("v", tasks={"count_bits": {"min_n": 1, "max_n": 3}}, seed=1)
    with pytest.raises(DataError, match=r"source 'v': only \{'count_bits': 3\} different ones exist, 24 a task"):
        held_out({"v": source}, tokenizer, problems_per_task=24, max_prompt_tokens=200)


def test_a_row_that_can_not_be_judged_is_left_out_and_named_once_an_epoch(list_source, tokenizer, caplog):
    asked = []

    def objection(prompt):
        asked.append(prompt.uid)
        return "no answer" if prompt.uid == "sums-3" else None

    mixture = Mixture({"a": (list_source(SUMS), 1.0)}, tokenizer, **SETTINGS, objection=objection)
    drawn = uids(prompt for _ in range(18) for prompt in mixture.draw(1))
    assert sorted(drawn) == sorted([f"sums-{i}" for i in range(10) if i != 3] * 2)
    assert sorted(asked) == sorted([f"sums-{i}" for i in range(10)] + ["sums-3"])
    assert mixture.metrics()["data/unusable_prompts"] == 2.0
    assert "prompt sums-3 of list is left out: no answer" in caplog.text


def test_an_endless_source_is_not_asked_about(list_source, tokenizer):
    source = list_source(SUMS, endless=True)
    mixture = Mixture({"a": (source, 1.0)}, tokenizer, **SETTINGS, objection=lambda prompt: "never")
    assert len(mixture.draw(5)) == 5


def test_validation_takes_the_next_problem_for_one_that_can_not_be_judged(list_source, tokenizer):
    prompts = held_out(
        {"a": list_source(SUMS)},
        tokenizer,
        problems_per_task=2,
        max_prompt_tokens=200,
        objection=lambda prompt: "no answer" if prompt.uid == "sums-0" else None,
    )
    assert uids(prompts) == ["sums-1", "sums-2"]


def test_a_prompt_knows_whether_the_template_opens_the_reasoning(list_source, tokenizer):
    (prompt,) = Mixture({"a": (list_source(SUMS), 1.0)}, tokenizer, **SETTINGS).draw(1)
    rendered = tokenizer.decode(prompt.token_ids, skip_special=False)
    assert prompt.opens_reasoning == rendered.rstrip().endswith("<think>")
    assert tokenizer.opens_reasoning(tokenizer.encode("Sure.\n<think>\n"))
    assert not tokenizer.opens_reasoning(tokenizer.encode("<think> 1 </think> 2"))
