"""What becomes of each source's records, the bad ones included."""

import json

import pytest

from nemo_prorl.data.prepare.base import EVIDENCE, AsksJudge, Makes
from nemo_prorl.data.prepare.converters import CONVERTERS
from nemo_prorl.data.prepare.deepscaler import DeepScaleR
from nemo_prorl.data.prepare.eurus_code import EurusCode
from nemo_prorl.data.prepare.llama_nemotron_if import LlamaNemotronIF
from nemo_prorl.data.prepare.passes import Rejection
from nemo_prorl.data.prepare.scp116k import Scp116k
from nemo_prorl.data.prompt import DOMAINS, Row
from nemo_prorl.plugins import resolve
from tests.data.prepare.conftest import FIXTURES

BOXED = "Let's think step by step and output the final answer within \\boxed{}."


def records(path):
    text = (FIXTURES / path).read_text()
    if path.endswith(".json"):
        return json.loads(text)
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]  # one is cut off


def outcomes(converter, records):
    """Each record's row, or the reason why it is none."""
    found = [converter.convert(record) for record in records]
    return [one.reason if isinstance(one, Rejection) else one for one in found]


def test_the_table_has_a_converter_for_each_domain():
    cards = [resolve(name, CONVERTERS, "").card for name in CONVERTERS]
    assert sorted(card.domain for card in cards) == sorted(DOMAINS)
    assert sum(card.paper_problems for card in cards) == 136_000
    assert [card.title for card in cards if card.caution] == ["SCP-116K"]


@pytest.mark.parametrize("name", [name for name in CONVERTERS if not isinstance(resolve(name, CONVERTERS, ""), Makes)])
@pytest.mark.parametrize(
    "record",
    [
        {},
        {"problem": 3},
        {"prompt": 1, "ability": "code"},
        {"input": [7]},
        {"args": []},
        {"problem": "?", "answer": []},
    ],
)
def test_a_record_of_any_shape_is_rejected_and_never_an_error(name, record):
    assert isinstance(resolve(name, CONVERTERS, "")().convert(record), Rejection)


def test_deepscaler():
    found = outcomes(DeepScaleR(), records("deepscaler/deepscaler.json"))
    assert found[5:7] == ["no answer", "no problem"]
    rows = [*found[:5], found[7]]
    assert [row.reference["answer"] for row in rows] == ["\\frac{5}{14}", "1", "33", "5", "1", "3\\sqrt{2}"]
    first = rows[0]
    assert (first.domain, first.verifier, first.task, first.source) == ("math", "math", "deepscaler", "deepscaler")
    (message,) = first.messages
    assert message["role"] == "user" and message["content"].endswith(f"both are blue?\n\n{BOXED}")
    assert rows[1].uid == rows[4].uid, "the same question but for case and blanks"


def test_eurus_code_without_its_system_prompt():
    found = outcomes(EurusCode(system_prompt="Be brief."), records("eurus_code/train-00000-of-00001.jsonl"))
    stdin, function, no_code, backwards, *bad = found
    assert no_code == "not code"
    assert bad == [
        "tests are no JSON",
        "inputs without outputs",
        "no tests",
        "tests are no text",
        "no expected output",
        "no problem",
    ]
    assert stdin.reference == {"inputs": ["1 2\n", "-4 9\n", "0 0\n"], "outputs": ["3\n", "5\n", "0\n"]}
    assert function.reference["fn_name"] == "largest"
    assert [row.task for row in (stdin, function, backwards)] == ["taco", "apps", "codeforces"]
    assert [message["role"] for message in stdin.messages] == ["system", "user"]
    assert stdin.messages[0]["content"] == "Be brief." and "ASSESS" not in json.dumps(stdin.messages)
    assert stdin.messages[1]["content"].endswith("Your code\n```\nat the end."), "it says how to answer already"
    assert backwards.messages[1]["content"].startswith("Print the word backwards.\n\nWrite Python code")


def test_tests_that_are_too_large_are_left_out_by_name():
    truth = json.dumps({"inputs": ["1" * 100], "outputs": ["2"]})
    record = {"ability": "code", "prompt": [{"role": "user", "content": "?"}], "reward_model": {"ground_truth": truth}}
    assert EurusCode(max_test_bytes=100).convert(record).reason == "tests too large"


def test_tests_are_measured_in_bytes():
    truth = '{"inputs": ["' + 40 * "ä" + '"], "outputs": ["2"]}'  # 74 characters
    record = {"ability": "code", "prompt": [{"role": "user", "content": "?"}], "reward_model": {"ground_truth": truth}}
    assert EurusCode(max_test_bytes=113).convert(record).detail == "114 bytes"
    assert EurusCode(max_test_bytes=114).convert(record).reference["inputs"] == [40 * "ä"]
    assert isinstance(EurusCode().convert(record), Row)


def test_scp116k_by_its_own_flags():
    """A model's box is taken only where its flag says that it agrees: QwQ's 2.0 for the pH, not o1's 2."""
    found = outcomes(Scp116k(), records("scp116k/flags/train.jsonl"))
    rows = [*found[:3], found[7]]
    assert [row.reference["answer"] for row in rows] == ["19.6 \\text{ m}", "2.0", "B", "12"]
    assert found[3:7] == ["no model agrees", "no short answer", "answer too long", "no solution"]
    assert rows[0].metadata == {"subject": "Physics"}
    assert rows[0].messages[0]["content"].endswith(BOXED)


def test_scp116k_for_a_judge_carries_both_solutions_without_the_thoughts():
    converter = Scp116k(agreement="judge")
    assert isinstance(converter, AsksJudge) and converter.needs_judge
    found = outcomes(converter, records("scp116k/judge/train.jsonl"))
    assert found[6] == "no solution"
    assert [row.reference["answer"] for row in found[1:4]] == ["2", "0.2 \\text{ s}", "23"]
    assert found[1].metadata[EVIDENCE] == {
        "problem": "How many moles are in 36 g of water?",
        "solution": "36/18 = 2 mol",
        "response": "\\boxed{2}",
    }


def test_records_without_flags_say_that_a_judge_is_needed():
    found = Scp116k().convert(records("scp116k/judge/train.jsonl")[0])
    assert found == Rejection("no flags", "these records don't say what agrees; use agreement=judge")


def test_llama_nemotron_keeps_what_the_prompt_says_and_drops_nulls():
    found = outcomes(LlamaNemotronIF(), records("llama_nemotron_if/instruction_following.jsonl"))
    assert found[6:] == ["arguments don't match instructions", "no instructions"]
    essay, no_comma, _, joke, *_ = found
    assert essay.reference["instruction_id_list"] == ["length_constraints:number_paragraphs"]
    assert essay.reference["kwargs"] == [{"num_paragraphs": 3}]
    assert no_comma.reference["kwargs"] == [None]
    assert joke.reference["kwargs"] == [{"end_phrase": "That is all."}]
    assert joke.messages == ({"role": "user", "content": joke.reference["prompt"]},)


def test_llama_nemotron_in_its_other_dresses():
    """The prompt as a text; arguments as JSON text; ids and kwargs beside the prompt, as in IFEval."""
    ids, kwargs = ["startend:quotation"], [{}]
    as_text = LlamaNemotronIF(system_prompt="Hi.").convert(
        {"input": "Quote.", "args": json.dumps({"instruction_id_list": ids})}
    )
    assert [message["content"] for message in as_text.messages] == ["Hi.", "Quote."]
    assert as_text.reference == {"instruction_id_list": ids, "kwargs": [None], "prompt": "Quote."}
    beside = LlamaNemotronIF().convert({"prompt": "Quote.", "instruction_id_list": ids, "kwargs": kwargs})
    assert beside.reference == as_text.reference
