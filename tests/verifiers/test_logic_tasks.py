"""All tasks of reasoning-gym, judged where they are judged in training: in processes of the pool."""

import io
import json
from contextlib import redirect_stdout

import pytest
import reasoning_gym
from reasoning_gym.factory import DATASETS
from sympy import expand, factor, simplify, sympify

from nemo_prorl.verifiers.pool import VerifierPool

TASKS = sorted(set(DATASETS) - {"composite"})
ITEMS = 2
WITHOUT_GOLD = {"boxnet", "propositional_logic", "rubiks_cube", "rush_hour"}  # and graph_color
EVALUATING = [
    ("n_queens", "open({file!r}, 'w')"),
    ("spiral_matrix", "[open({file!r}, 'w')]"),
    ("binary_matrix", "__import__('pathlib').Path({file!r}).touch()"),
    ("string_insertion", "[str(open({file!r}, 'w'))]"),
    ("countdown", "open({file!r}, 'w')"),
    ("puzzle24", "open({file!r}, 'w').fileno()"),
    ("simple_integration", "open({file!r}, 'w')"),
    ("intermediate_integration", 'exec(\'open("{file}", "w")\')'),
    ("polynomial_multiplication", "open({file!r}, 'w')"),
]


@pytest.fixture(scope="module")
def pool():
    with VerifierPool(workers=2, deadline_seconds=30, max_error_rate=0.2, min_verdicts_to_judge=50) as pool:
        yield pool


@pytest.fixture
def reward(pool, make_prompt):
    def of(reference, answer):
        verdict = pool.submit(make_prompt("logic", reference, "logic"), f"<answer>{answer}</answer>").result(60)
        assert verdict.outcome == "scored", verdict.reason
        return verdict.reward

    return of


def references(task, size=ITEMS, seed=5_000_000, **config):
    """Entries as prompts carry them: through JSON, so without tuples."""
    with redirect_stdout(io.StringIO()):
        entries = list(reasoning_gym.create_dataset(task, seed=seed, size=size, **config))
    return [json.loads(json.dumps({"dataset": task, "entry": e, "config": config}, default=str)) for e in entries]


def gold(reference):
    entry = reference["entry"]
    return (
        json.dumps(entry["metadata"]["possible_answer"]) if reference["dataset"] == "graph_color" else entry["answer"]
    )


def test_every_task_pays_1_for_its_own_solution(pool, make_prompt):
    asked = [(task, reference) for task in sorted(set(TASKS) - WITHOUT_GOLD) for reference in references(task)]
    verdicts = [
        pool.submit(make_prompt("logic", reference, "logic"), f"Well. <answer>{gold(reference)}</answer>")
        for _, reference in asked
    ]
    short = {task: v.result(60) for (task, _), v in zip(asked, verdicts, strict=True) if v.result(60).reward != 1.0}
    assert not short
    assert len({task for task, _ in asked}) == 101


@pytest.mark.parametrize("task", sorted(WITHOUT_GOLD))
def test_tasks_without_a_solution_of_their_own_take_nonsense_for_what_it_is(reward, task):
    """propositional_logic pays 0.25 for a single variable where the premises contradict each other."""
    assert all(reward(reference, "?") <= 0.25 for reference in references(task))


@pytest.mark.parametrize(("task", "program"), EVALUATING)
def test_an_answer_is_never_executed(reward, task, program, tmp_path):
    file = tmp_path / "written"
    assert reward(references(task, size=1)[0], program.format(file=str(file))) <= 0.05
    assert not file.exists()


def ways_to_write(reference):
    """The solution, and others, as people may write them."""
    answer, dataset = reference["entry"]["answer"], reference["dataset"]
    if dataset in ("countdown", "puzzle24"):
        return [answer, f" ( {answer} ) ", f"{answer} + 0", answer.replace("*", " * "), f"{answer} = 24", "1 + 1", "4!"]
    if dataset in ("simple_integration", "intermediate_integration"):
        if "Integral" in answer:  # upstream takes every way to hand back the question; that is the next test
            return [answer]
        bare = answer.replace(" + C", "")
        forms = [bare, f"{bare} + C1", f"C + {bare}", f"{bare} + const", f"2*({bare})", f"{bare} + K_0 + 7"]
        forms += [str(form(sympify(bare))) for form in (expand, factor, simplify)]
        forms.append(f"{bare} + {reference['entry']['metadata']['variable']}")
        return [answer, *forms, answer.replace("**", "^"), f"$ {answer} $"]
    if dataset == "polynomial_multiplication":
        return [answer, str(factor(sympify(answer))), answer.replace("**", " ** "), f"({answer})", f"{answer} + 1"]
    as_words = answer.split()
    return [answer, str(as_words), str([row.split() for row in answer.splitlines()]), str(list(answer)), answer[:-1]]


@pytest.mark.parametrize("task", [task for task, _ in EVALUATING])
def test_the_screen_takes_nothing_away_from_honest_answers(reward, task):
    """Whatever upstream's own scorer gives to ways to write a solution, they get."""
    upstream = reasoning_gym.create_dataset(task, seed=0, size=1)
    for reference in references(task, size=3):
        for answer in ways_to_write(reference):
            assert reward(reference, answer) == upstream.score_answer(answer.strip(), reference["entry"]), answer


def test_a_tower_is_not_computed_however_much_stands_beside_it(reward):
    """Neither does it hold up its process until the deadline, which would count against the verifier."""
    (reference,) = references("polynomial_multiplication", size=1)
    assert reward(reference, "9**9**9**9" + " + 0" * 500) == reward(reference, "?")


def test_an_integral_that_sympy_leaves_alone_has_two_right_answers(reward):
    """The task's own, which upstream's sympy gave up on, and the true one; but not the question handed back."""
    metadata = {"integrand": "x*exp(x)", "variable": "x"}
    reference = {
        "dataset": "intermediate_integration",
        "entry": {"question": "", "answer": "Integral(x*exp(x), x) + C", "metadata": metadata},
    }
    assert reward(reference, "Integral(x*exp(x), x) + C") == 1.0
    assert reward(reference, "(x - 1)*exp(x) + C") == 1.0
    assert reward(reference, "Integral(x*exp(x), x)") == 0.0
    assert reward(reference, "integrate(x*exp(x), x)") == 0.0


def test_24_is_made_of_the_puzzles_own_numbers(reward):
    """Upstream takes any four numbers."""
    entry = {"question": "", "answer": "8 + 8 + 4 + 4", "metadata": {"numbers": [8, 8, 4, 4]}}
    reference = {"dataset": "puzzle24", "entry": entry}
    assert reward(reference, "4 + 4 + 8 + 8") == 1.0
    assert reward(reference, "6 * 4 * 1 * 1") == 0.01
    assert reward(reference | {"scorer": "upstream"}, "6 * 4 * 1 * 1") == 1.0


def test_a_scorer_may_look_at_the_settings_an_entry_was_made_with(pool, reward, make_prompt):
    """puzzle24 refuses numbers outside of min_value to max_value, 1 to 10 by default."""
    entry = {"question": "", "answer": "8 + 8 + 4 + 4", "metadata": {}}
    reference = {"dataset": "puzzle24", "entry": entry}
    assert reward(reference, "4 + 4 + 8 + 8") == 1.0
    wrong = make_prompt("logic", reference | {"config": {"max_value": 6}}, "logic")
    verdict = pool.submit(wrong, "<answer>4 + 4 + 8 + 8</answer>").result(60)
    assert verdict.outcome == "error" and "settings that reference.config doesn't tell" in verdict.reason


def test_graphs_of_any_size_are_coloured(reward):
    for vertices in (10, 25):
        settings = {"min_num_vertices": vertices, "max_num_vertices": vertices}
        for reference in references("graph_color", **settings):
            assert len(reference["entry"]["metadata"]["puzzle"]["vertices"]) == vertices
            assert reward(reference, gold(reference)) == 1.0
            assert reward(reference, json.dumps(dict.fromkeys(map(str, range(vertices)), 1))) == 0.01
