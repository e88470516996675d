"""Programs, judged by the tests that they pass in a sandbox."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

from nemo_prorl.data.trajectory import Verdict
from nemo_prorl.verifiers.answer import after_reasoning, last_program
from nemo_prorl.verifiers.code_reference import read_tests
from nemo_prorl.verifiers.code_runs import Runs, WorthNothingError
from nemo_prorl.verifiers.sandbox import Sandbox, SandboxSettings

BUDGET_SECONDS = 5.0  # the paper's, for all tests of a submission together


class CodeVerifier:
    """The fraction of all tests that the program passes. None is left out after a wrong answer.

    The program is the text's last fenced block of Python after </think>. It has 5 s for all tests together; one that
    doesn't compile, or isn't done by then, gets 0. The imports that data sets of contests take for granted are there.

    The reference holds the tests, as objects or as JSON text, in one of these layouts, which may also stand in a field
    `ground_truth`, `input_output`, `answer` or `tests` (Eurus-2-RL, APPS, TACO):

        {"inputs": ["1 2\\n"], "outputs": ["3\\n"]}                        stdin and stdout; also as lists of lines
        {"inputs": ["1\\n2"], "outputs": ["3"], "fn_name": "add"}         a function; arguments in JSON, one a line
        {"inputs": [[1, 2]], "outputs": [3], "fn_name": "add"}           the same as values; outputs also as [3]
        {"tests": [{"input": "1 2\\n", "output": "3\\n"}]}                 the same by test, also with fn_name
        {"public_test_cases": ..., "private_test_cases": ..., "metadata": ...}              LiveCodeBench, as published
        {"prompt", "entry_point", "canonical_solution", "base_input", "plus_input", "atol"} EvalPlus, as published
        {"test": "def check(candidate): ...", "entry_point": "add", "prompt": ...}          HumanEval and HumanEval+
        {"test_list": ["assert add(1, 2) == 3"], "test_setup_code": ..., "code": ...}       MBPP; also as `tests`

    A function may be a method of a class Solution. Outputs are compared by their words, numbers that aren't integers
    with a tolerance of 1e-6 (`atol` sets another); `any_order`: "lines", "words" or "elements" (of a returned list)
    says that their order doesn't matter. See code_compare. `"thinking": true` says that the prompt ends with <think>:
    then a response without </think> holds no program, whatever is fenced in it.

    Raises:
        VerifierError: no sandbox holds on this host, and `sandbox` doesn't say that it may go without.
    """

    confined = False  # it starts the sandbox itself; what it reads of programs it takes for text

    def __init__(self, *, budget_seconds: float = BUDGET_SECONDS, sandbox: SandboxSettings | None = None) -> None:
        self.budget_seconds = budget_seconds
        self.sandbox = Sandbox(sandbox or SandboxSettings())
        self._memory: dict[bytes, Any] = {}
        self.close = weakref.finalize(self, self.sandbox.close)  # at the latest when Python ends

    def check(self, reference: Mapping[str, Any], text: str) -> Verdict:
        tests = read_tests(reference)
        answer = after_reasoning(text, begun=bool(reference.get("thinking")))
        if answer is None:
            return Verdict(0.0, "the reasoning never ends", "no_answer")
        program = last_program(answer)
        if program is None:
            return Verdict(0.0, "no fenced block of Python", "no_answer")
        try:
            score = tests.judge(program, Runs(self.sandbox, self.budget_seconds, self._memory))
        except WorthNothingError as error:
            return Verdict(0.0, str(error))
        return Verdict(score.passed / score.total, str(score))
