"""The pool: a verdict always comes, in time."""

import sys
import threading
import time
from concurrent.futures import wait
from dataclasses import replace
from pathlib import Path

import pytest

from nemo_prorl.errors import VerifierError

SUM = {"dataset": "chain_sum", "entry": {"question": "1 + 2 =", "answer": "3", "metadata": {}}}


def test_the_first_two_verifiers_judge(open_pool, make_prompt):
    pool = open_pool(workers=2)
    right = pool.submit(make_prompt("math", {"answer": "1/2"}), r"\boxed{0.5}")
    wrong = pool.submit(make_prompt("logic", SUM, "logic"), "<answer>4</answer>")
    assert (right.result(30).reward, wrong.result(30).reward) == (1.0, 0.0)
    assert right.result().seconds > 0
    values = pool.drain_metrics()
    assert values["verifier/math/scored"] == 1 and values["verifier/logic/scored"] == 1


@pytest.mark.parametrize(
    "text",
    [
        "<answer>" * 16_000,
        "\\boxed{" * 16_000,
        "\\boxed{9^{9^{9^9}}}<answer>9**9**9**9</answer>",
        "\\boxed{(x+y+z+1)^{200}}<answer>1e999999999</answer>",
        "\\boxed{\\sum_{i=1}^{99999} i^{999}}<answer>(((((((</answer>",
        "a" * (4 << 20),
        "<answer>" + "3" * (1 << 20) + "</answer>\\boxed{" + "3" * (1 << 20) + "}",
        "\ud800<answer>\ud800</answer>\\boxed{\udfff}",
        "\x00<answer>\x00</answer>\\boxed{\x00}",
        "",
    ],
    ids=lambda text: repr(text[:24]),
)
def test_hostile_text_gets_a_reward_in_time(hostile_pool, make_prompt, text):
    prompts = [make_prompt("math", {"answer": "2"}), make_prompt("logic", SUM, "logic")]
    for verdict in [hostile_pool.submit(prompt, text).result(30) for prompt in prompts]:
        assert 0.0 <= verdict.reward <= 1.0
        assert verdict.outcome != "error", verdict.reason
        assert verdict.seconds < 1.5 + 1


@pytest.fixture(scope="module")
def hostile_pool():
    from nemo_prorl.verifiers.pool import VerifierPool

    with VerifierPool(workers=1, deadline_seconds=1.5, max_error_rate=0.2, min_verdicts_to_judge=50) as pool:
        yield pool


def test_a_verifier_that_hangs_is_killed_and_the_pool_goes_on(open_pool, misbehaving):
    pool = open_pool(deadline_seconds=0.4)
    begun = time.monotonic()
    verdict = pool.submit(misbehaving("Hangs"), "text").result(30)
    assert (verdict.reward, verdict.outcome) == (0.0, "timeout")
    assert "0.4 s" in verdict.reason and 0.4 <= verdict.seconds < 1.4
    assert pool.submit(misbehaving("Where"), "text").result(30).reward == 1.0
    assert time.monotonic() - begun < 20
    assert pool.drain_metrics()["verifier/math/timeout"] == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Raises", "KeyError: 'gold"),
        ("Dies", "exit code 3"),
        ("DiesOfANamelessSignal", "killed by signal 40"),
        ("Exits", "ended"),
        ("AnswersNothing", "returned NoneType"),
        ("RewardsTooMuch", "7.0"),
        ("EatsMemory", "MemoryError"),
    ],
)
def test_a_verifiers_own_failure_is_an_error_with_its_reason(open_pool, misbehaving, name, reason):
    pool = open_pool()
    verdict = pool.submit(misbehaving(name), "text").result(30)
    assert (verdict.reward, verdict.outcome) == (0.0, "error")
    assert reason in verdict.reason
    verdict.reason.encode()  # it can be written to a file
    assert pool.submit(misbehaving("Where"), "text").result(30).reward == 1.0


def test_an_error_that_quotes_megabytes_is_cut(open_pool, misbehaving):
    verdict = open_pool().submit(misbehaving("RaisesAtLength"), "a" * (4 << 20)).result(30)
    assert verdict.outcome == "error" and verdict.reason.startswith("the verifier raised ValueError: aaa")
    assert len(verdict.reason) < 5000


def test_a_reference_that_is_not_json_is_an_error_and_an_objection(open_pool, misbehaving):
    pool, prompt = open_pool(), misbehaving("Where", {"answer": {1, 2}})
    verdict = pool.submit(prompt, "text").result(30)
    assert verdict.outcome == "error" and "isn't JSON" in verdict.reason
    assert pool.objection(prompt) == verdict.reason


def test_failures_of_a_domain_are_named(open_pool, misbehaving):
    pool = open_pool(workers=1, min_verdicts_to_judge=10)
    prompt = misbehaving("RaisesOnRequest", {"answer": "seven"}, domain="stem")
    wait([pool.submit(prompt, "raise" if i % 3 == 0 else "fine") for i in range(9)], 30)
    pool.check_health()
    pool.submit(prompt, "raise").result(30)
    with pytest.raises(VerifierError, match=r"(?s)'stem' .* 4 of its last 10 .*no gold for seven"):
        pool.check_health()


def test_a_verifier_that_cannot_be_made_fails_its_futures(open_pool, misbehaving, make_prompt):
    pool = open_pool()
    with pytest.raises(VerifierError, match="a_package_that_nobody_has"):
        pool.submit(misbehaving("NeedsWhatIsMissing"), "text").result(30)
    with pytest.raises(VerifierError, match=r"'mth' is unknown. Did you mean 'math'"):
        pool.submit(make_prompt("mth"), "text").result(30)
    assert pool.submit(misbehaving("Where"), "text").result(30).reward == 1.0


def test_a_pool_that_cannot_start_says_why(open_pool, monkeypatch):
    monkeypatch.setattr(sys, "path", [path for path in sys.path if not (Path(path) / "nemo_prorl").is_dir()])
    monkeypatch.setattr(sys, "executable", "/usr/bin/false")
    with pytest.raises(VerifierError, match=r"a verifier process can't start.*exit code 1"):
        open_pool()
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(VerifierError, match=r"a verifier process can't start.*/no/such/python"):
        open_pool(workers=3)


def test_printing_does_not_disturb(open_pool, misbehaving):
    pool = open_pool()
    assert [pool.submit(misbehaving("Prints"), "text").result(30).reward for _ in range(3)] == [1.0] * 3


def test_any_thread_may_submit(open_pool, make_prompt):
    """math-verify's own alarms work in a main thread only; elsewhere they turned rewards into zeros."""
    pool, rewards = open_pool(workers=2), []

    def ask(answer):
        rewards.append(pool.submit(make_prompt("math", {"answer": "12"}), f"\\boxed{{{answer}}}").result(30).reward)

    threads = [threading.Thread(target=ask, args=[answer]) for answer in (11, 12, 13, "3 \\cdot 4")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(rewards) == [0.0, 0.0, 1.0, 1.0]


def test_a_verdict_depends_on_neither_worker_nor_order(open_pool, make_prompt):
    golds = ["\\sin^2 x + \\cos^2 x", "\\{1,2,3\\}", "x=3", "1/3"]
    asked = [(gold, answer) for gold in golds for answer in ("1", "\\{3,2,1\\}", "3", "\\frac{2}{6}")]
    seen = {}
    for workers, order in ((1, asked), (2, asked[::-1])):
        pool = open_pool(workers=workers)
        futures = [
            (case, pool.submit(make_prompt("math", {"answer": case[0]}), f"\\boxed{{{case[1]}}}")) for case in order
        ]
        seen[workers] = {case: (f.result(30).reward, f.result().reason, f.result().outcome) for case, f in futures}
    assert seen[1] == seen[2]
    assert sum(reward for reward, _, _ in seen[1].values()) == 4  # 1, the set, x=3 by "3", and 1/3


def test_closing_ends_what_runs_and_fails_what_waits(open_pool, misbehaving):
    pool = open_pool(deadline_seconds=60)
    futures = [pool.submit(misbehaving("Hangs"), "text") for _ in range(3)]
    time.sleep(0.2)
    begun = time.monotonic()
    pool.close()
    pool.close()
    assert time.monotonic() - begun < 5
    for future in futures:
        with pytest.raises(VerifierError, match="closed"):
            future.result(1)
    with pytest.raises(VerifierError, match="closed"):
        pool.submit(misbehaving("Where"), "text")


def test_a_cancelled_future_is_skipped(open_pool, misbehaving):
    pool = open_pool(deadline_seconds=0.5)
    running = pool.submit(misbehaving("Hangs"), "text")
    cancelled, last = (pool.submit(misbehaving("Where"), "text") for _ in range(2))
    assert cancelled.cancel()
    assert running.result(30).outcome == "timeout" and last.result(30).reward == 1.0


@pytest.mark.parametrize(
    ("domain", "reference", "answer"),
    [
        ("math", {"answer": "3"}, r"\boxed{3}"),
        ("logic", SUM, "<answer>3</answer>"),
        ("stem", {"answer": "3"}, r"\boxed{3}"),
    ],
)
def test_reasoning_that_the_template_opened_must_end(open_pool, make_prompt, domain, reference, answer):
    prompt = replace(make_prompt(domain, reference, domain), opens_reasoning=True)
    pool = open_pool()
    cut, ended = (pool.submit(prompt, text).result(60) for text in (f"so {answer}, but", f"so</think> {answer}"))
    assert (cut.reward, cut.outcome, ended.reward) == (0.0, "no_answer", 1.0)


def test_a_reference_that_can_not_be_read_is_an_objection_and_not_a_verdict(open_pool, make_prompt):
    pool = open_pool()
    assert "answer" in pool.objection(make_prompt("math", {"gold": "2"}))
    assert pool.objection(make_prompt("math", {"answer": "2"})) is None
    assert pool.drain_metrics() == {}
