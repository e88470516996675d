"""What is counted, and when rewards can't be trusted any more."""

import pytest

from nemo_prorl.data.trajectory import Verdict
from nemo_prorl.errors import VerifierError
from nemo_prorl.verifiers.tally import WINDOW, Tally


def tally_of(*outcomes, max_error_rate=0.2, min_verdicts_to_judge=10):
    tally = Tally(max_error_rate=max_error_rate, min_verdicts_to_judge=min_verdicts_to_judge)
    for number, outcome in enumerate(outcomes):
        tally.add("math", Verdict(0.0, f"{outcome} {number}", outcome, seconds=float(number)))
    return tally


def test_a_drain_gives_counts_fractions_and_latencies_once():
    """Four verdicts that took 0, 1, 2 and 3 s: by nearest rank p50 is the 2nd, 1 s, and p99 the 4th, 3 s."""
    tally = tally_of("scored", "scored", "timeout", "no_answer")
    tally.add("logic", Verdict(1.0, seconds=0.5))
    values = tally.drain()
    assert values["verifier/math/verdicts"] == 4
    assert values["verifier/math/scored"] == 2 and values["verifier/math/scored_fraction"] == 0.5
    assert values["verifier/math/timeout"] == 1 and values["verifier/math/timeout_fraction"] == 0.25
    assert values["verifier/math/error"] == 0 and values["verifier/math/no_answer"] == 1
    assert values["time/verifier_math_p50_seconds"] == 1.0 and values["time/verifier_math_p99_seconds"] == 3.0
    assert values["verifier/logic/scored_fraction"] == 1.0
    assert tally.drain() == {}


def test_too_many_failures_stop_the_run_with_reasons():
    tally = tally_of(*["scored"] * 7, "timeout", "error", "error")
    with pytest.raises(VerifierError) as caught:
        tally.check()
    message = str(caught.value)
    for part in ("'math'", "3 of its last 10", "30%", "20%", "timeout 7", "error 9", "verifiers.max_error_rate"):
        assert part in message


def test_a_rate_just_allowed_does_not():
    tally_of(*["scored"] * 8, "timeout", "error").check()


def test_a_few_verdicts_are_no_evidence():
    tally_of(*["error"] * 9).check()


def test_wrong_and_missing_answers_are_no_failures():
    tally_of(*["no_answer"] * 50).check()


def test_one_domain_does_not_excuse_another():
    tally = tally_of(*["scored"] * 900)
    for _ in range(10):
        tally.add("code", Verdict(0.0, "down", "error"))
    with pytest.raises(VerifierError, match="'code'"):
        tally.check()


def test_the_present_counts_and_not_the_average_of_days():
    tally = tally_of(*["scored"] * 5 * WINDOW, *["error"] * (WINDOW // 4))
    with pytest.raises(VerifierError):
        tally.check()


def test_draining_does_not_make_it_forget_failures():
    tally = tally_of(*["error"] * 10)
    tally.drain()
    with pytest.raises(VerifierError):
        tally.check()
