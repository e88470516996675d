"""References that can't be used are errors, and what they pack is never obeyed."""

import sys

import pytest

from nemo_prorl.errors import VerifierError
from tests.verifiers.livecodebench import packed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ({}, "has the fields"),
        ({"inputs": [], "outputs": []}, "0 inputs and 0 outputs"),
        ({"inputs": ["1"], "outputs": []}, "1 inputs and 0 outputs"),
        ({"inputs": ["1"]}, "outputs is None"),
        ({"inputs": [{"a": 1}], "outputs": ["1"]}, r"inputs\[0\] is"),
        ({"inputs": [5], "outputs": [5], "fn_name": "f"}, r"inputs\[0\] is 5"),
        ({"inputs": ["nonsense"], "outputs": ["1"], "fn_name": "f"}, r"inputs\[0\] is 'nonsense', which is no JSON"),
        ({"inputs": ["1"], "outputs": ["nonsense"], "fn_name": "f"}, r"outputs\[0\] is 'nonsense'"),
        ({"inputs": ["1"], "outputs": ["1"], "fn_name": 5}, "names the function 5"),
        ({"inputs": ["1"], "outputs": ["1"], "any_order": "rows"}, "any_order is 'rows'; expected one of lines"),
        ({"inputs": ["1"], "outputs": ["1"], "atol": -1}, "atol is -1"),
        ({"ground_truth": "{"}, "ground_truth is '{', which is no JSON"),
        ({"ground_truth": 5}, "has the fields"),
        ({"tests": [{"input": "1"}]}, r"tests\[0\] is"),
        ({"tests": []}, "0 inputs"),
        ({"test_list": ["assert (("]}, "can't be run in the sandbox"),
        ({"test_list": ["assert 1 == 1"]}, "never call the program"),
        ({"test_list": ["assert f(object()) == 1"]}, "no plain data"),
        ({"test_list": ["x = f(1)", "assert True"]}, "tests anything"),
        ({"test": "def check(candidate):\n    pass", "entry_point": "f"}, "tests anything"),
        ({"test": "def check(candidate):\n    assert candidate(1) == 1"}, "no entry_point says"),
        ({"test_list": ["assert f(1) == 2"], "code": "def f(a):\n    return 3"}, "refuse its own solution"),
        ({"public_test_cases": [{"input": "1", "output": "1", "testtype": "functional"}]}, "no func_name"),
        ({"public_test_cases": [{"input": "1", "output": "1", "testtype": "odd"}]}, "types"),
        ({"private_test_cases": "no base64!"}, "no base64"),
        ({"private_test_cases": "AAAA"}, "decompressing"),
        ({"private_test_cases": packed([], pack=lambda text: [text])}, "more than a text"),
        ({"private_test_cases": packed({})}, "no list of tests"),
        ({"entry_point": "f", "prompt": "", "canonical_solution": "", "base_input": []}, "empty"),
        ({"entry_point": "f", "prompt": "", "canonical_solution": 5, "base_input": [[1]]}, "canonical_solution"),
        (
            {
                "entry_point": "f",
                "prompt": "",
                "canonical_solution": "def f(a):\n    return 1 / a",
                "base_input": [[0]],
            },
            "canonical_solution raises ZeroDivisionError",
        ),
    ],
)
def test_a_reference_that_can_not_be_used_is_an_error_and_never_a_0(code_verifier, reference, message):
    with pytest.raises(VerifierError, match=message) as error:
        code_verifier.check(reference, "```python\ndef f(a):\n    return 1\n```")
    assert "reference" in str(error.value)


def test_a_pickle_is_read_and_never_obeyed(code_verifier, tmp_path):
    class Harmful:
        def __reduce__(self):
            return open, (str(tmp_path / "written"), "w")

    with pytest.raises(VerifierError, match="more than a text"):
        code_verifier.check({"private_test_cases": packed([], pack=lambda text: Harmful())}, "```python\n1\n```")
    assert not (tmp_path / "written").exists()


def test_a_packed_bomb_is_refused(code_verifier, monkeypatch):
    monkeypatch.setattr("nemo_prorl.verifiers.code_livecodebench.MAX_BYTES", 1000)
    with pytest.raises(VerifierError, match="larger than 1000 bytes"):
        code_verifier.check({"private_test_cases": packed("0" * 2000)}, "```python\n1\n```")
