"""A language model as a judge, behind a real server that also fails, stalls and answers nonsense."""

import json
import logging
import time

import pytest

from nemo_prorl.data.prepare.answer_cache import AnswerCache
from nemo_prorl.data.prepare.base import EVIDENCE
from nemo_prorl.data.prepare.chat import ChatApi
from nemo_prorl.data.prepare.judge import Bill, LanguageModelJudge, read_verdict
from nemo_prorl.data.prompt import Row
from nemo_prorl.errors import ConfigError, DataError
from tests.data.prepare.judge_server import Say, judge_server

SECRET = "sk-never-to-be-seen"
SAME, DIFFERENT, UNCLEAR = (f"They were compared.\nVERDICT: {word}" for word in ("SAME", "DIFFERENT", "UNCLEAR"))


def rows(*problems):
    return [
        Row(
            uid=problem,
            domain="stem",
            task="scp116k",
            source="scp116k",
            messages=({"role": "user", "content": problem},),
            verifier="stem",
            reference={"answer": "1"},
            metadata={
                EVIDENCE: {"problem": problem, "solution": f"gold of {problem}", "response": f"that of {problem}"}
            },
        )
        for problem in problems
    ]


@pytest.fixture
def judge_at(tmp_path, monkeypatch):
    """A judge that asks the server at a URL, with short waits."""
    monkeypatch.setenv("TEST_JUDGE_KEY", SECRET)

    def make(url, *, timeout=5.0, attempts=4, wait=0.01, **knobs):
        api = ChatApi(
            url,
            "some-model",
            api_key_variable="TEST_JUDGE_KEY",
            timeout_seconds=timeout,
            attempts=attempts,
            first_wait_seconds=wait,
            parameters={"temperature": 0.0},
        )
        return LanguageModelJudge(api, tmp_path / "judge", **knobs)

    return make


def judged(judge, *problems):
    """Each problem's reason of rejection, None for those that are kept."""
    judge.prepare(rows(*problems))
    return {row.uid: judge.judge(row) for row in rows(*problems)}


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("VERDICT: SAME", "SAME"),
        ("Both say 3 m/s.\n\nVERDICT: DIFFERENT \n", "DIFFERENT"),
        ("VERDICT: UNCLEAR", "UNCLEAR"),
        ("", None),
        ("SAME", None),
        ("VERDICT: same", None),
        ("VERDICT: SAME.", None),
        ("VERDICT: SAME or VERDICT: DIFFERENT", None),
        ("VERDICT: SAME\nNo, wait.", None),
        ("VERDICT: SAME\nVERDICT: DIFFERENT", None),
        ("**VERDICT: SAME**", None),
    ],
)
def test_a_verdict_is_one_exact_last_line_or_none(text, verdict):
    assert read_verdict(text) == verdict


def test_rows_are_kept_or_rejected_as_the_judge_says_and_no_answer_is_paid_for_twice(judge_at):
    says = {"a": SAME, "b": DIFFERENT, "c": UNCLEAR}
    expected = {"a": None, "b": "judged different", "c": "judged unclear"}
    with judge_server(lambda problem, asked: Say(says[problem])) as server:
        first = judge_at(server.url)
        assert judged(first, "a", "b", "c") == expected
        again = judge_at(server.url)
        assert judged(again, "c", "b", "a") == expected
    assert sorted(server.asked) == ["a", "b", "c"]
    assert (first.bill.asked, first.bill.input_tokens, first.bill.output_tokens) == (3, 3000, 300)
    assert (again.bill.asked, again.bill.from_cache, again.bill.dollars) == (0, 3, 0.0)
    assert server.keys == {f"Bearer {SECRET}"}
    shown = server.requests[0]["messages"][-1]["content"]
    assert "gold of" in shown and "that of" in shown
    assert server.requests[0]["model"] == "some-model" and server.requests[0]["temperature"] == 0.0


def test_failures_stalls_and_nonsense_are_asked_again(judge_at):
    """Each problem meets another trouble the first time, and gets its answer the second."""
    troubles = {
        "busy": Say(status=429, headers={"Retry-After": "0.4"}),
        "down": Say(status=503),
        "silent": Say(seconds=1.5),
        "dripping": Say(drip_seconds=0.2),
        "html": Say(body=b"<html>Bad gateway</html>"),
        "empty": Say(body=b'{"choices": []}'),
        "null": Say(body=b'{"choices": [{"message": {"content": null}}]}'),
        "rambling": Say("I am not sure what to say."),
    }
    with judge_server(lambda problem, asked: Say(SAME) if asked else troubles[problem]) as server:
        judge = judge_at(server.url, timeout=0.8)
        begun = time.monotonic()
        assert judged(judge, *troubles) == dict.fromkeys(troubles)
        assert time.monotonic() - begun >= 0.4, "Retry-After says when"
    assert sorted(server.asked) == sorted([*troubles, *troubles])


def test_a_verdict_that_stays_malformed_rejects_the_row_and_is_not_paid_for_again(judge_at):
    with judge_server(lambda problem, asked: Say("Who knows?")) as server:
        reason = judged(judge_at(server.url, malformed_attempts=3), "a")["a"]
        assert reason == "malformed verdict: Who knows?"
        assert judged(judge_at(server.url), "a")["a"] == reason
    assert len(server.asked) == 3


def test_an_answer_with_half_a_character_and_a_bill_that_is_none_is_taken(judge_at):
    """What JSON may hold and UTF-8 may not: the cache keeps the answer with a question mark in its place."""
    message = r'{"content": "Both \ud83d say 3.\nVERDICT: SAME"}'
    body = f'{{"choices": [{{"message": {message}}}], "usage": ["none"]}}'
    with judge_server(lambda problem, asked: Say(body=body.encode())) as server:
        judge = judge_at(server.url)
        assert judged(judge, "a") == {"a": None}
        assert judged(judge_at(server.url), "a") == {"a": None}
    assert server.asked == ["a"]
    assert (judge.bill.asked, judge.bill.input_tokens) == (1, 0)


def test_a_question_that_the_server_refuses_rejects_its_row_alone(judge_at):
    def script(problem, asked):
        return Say(status=400, body=b'{"error": "content filter"}') if problem == "bad" else Say(SAME)

    with judge_server(script) as server:
        reasons = judged(judge_at(server.url), "bad", "good")
    assert reasons["good"] is None
    assert reasons["bad"].startswith("refused by the judge: status 400")
    assert len(server.asked) == 2


def test_a_judge_that_is_down_ends_it_and_the_next_try_goes_on_from_the_cache(judge_at):
    is_up = {"a", "b", "c"}
    with judge_server(lambda problem, asked: Say(SAME) if problem in is_up else Say(status=500)) as server:
        problems = "abcdefghijkl"
        with pytest.raises(DataError, match=r"doesn't answer: status 500 \(2 attempts.*start the same command again"):
            judged(judge_at(server.url, attempts=2, concurrency=1), *problems)
        is_up.update(problems)
        assert judged(judge_at(server.url), *problems) == dict.fromkeys(problems)
    assert [problem for problem in server.asked if problem in "abc"] == ["a", "b", "c"]


def test_a_wrong_key_is_told_at_once_and_stands_in_no_message(judge_at, caplog):
    caplog.set_level(logging.DEBUG)
    with (
        judge_server(lambda problem, asked: Say(status=401, body=b"no such key")) as server,
        pytest.raises(ConfigError, match=r"answers 401 .*TEST_JUDGE_KEY") as error,
    ):
        judged(judge_at(server.url, concurrency=1), "a", "b")
    assert len(server.asked) == 1
    assert SECRET not in str(error.value) + caplog.text


def test_so_many_questions_and_no_more_are_asked_at_a_time(judge_at, caplog):
    with judge_server(lambda problem, asked: Say(SAME, seconds=0.05)) as server:
        judged(judge_at(server.url, concurrency=3), *"abcdefghijkl")
    assert server.most_at_a_time == 3


def test_both_orders_keep_a_row_only_if_they_agree(judge_at):
    def first_shown(request):
        return request["messages"][-1]["content"].split("<solution_a>\n")[1].split(" ")[0]

    with judge_server() as server:
        server.script = lambda problem, asked: Say(DIFFERENT if problem == "biased" and asked else SAME)
        reasons = judged(judge_at(server.url, both_orders=True, concurrency=1), "fair", "biased")
    assert reasons == {"fair": None, "biased": "judged different"}
    assert [first_shown(request) for request in server.requests] == ["gold", "that"] * 2


def test_a_budget_ends_it_before_it_is_overrun_by_more_than_what_is_on_its_way(judge_at):
    """1000 tokens at 2.5 and 100 at 10 dollars a million are 0.0035 dollars a question: the fourth is over 0.01."""
    with judge_server() as server:
        judge = judge_at(server.url, concurrency=1, max_dollars=0.01, bill=Bill(2.5, 10.0))
        with pytest.raises(DataError, match=r"has cost 0\.01 dollars, and judge\.max_dollars=0\.01"):
            judged(judge, *"abcdefgh")
    assert len(server.asked) == 3
    assert judge.bill.dollars == pytest.approx(0.0105)


def test_an_answer_that_a_killed_process_left_half_is_dropped(tmp_path):
    path = tmp_path / "answers.jsonl"
    with AnswerCache(path) as cache:
        cache.put("a", {"verdict": "SAME"})
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"key": "b", "verd')
    with AnswerCache(path) as cache:
        assert (len(cache), cache.get("b")) == (1, None)
        cache.put("c", {"verdict": "DIFFERENT"})
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["a", "c"]
