"""Mathematics and science on answers that nobody would write: no crash, no credit out of place, no long wait."""

import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nemo_prorl.verifiers.algebra.text import clean, normal
from nemo_prorl.verifiers.math import MathVerifier
from nemo_prorl.verifiers.stem import StemVerifier

MAX_SECONDS = 1.0  # of CPU time: the machine may be busy with other things
GOLDS = [
    "42",
    r"\frac{1}{2}",
    "x^2-1",
    r"\sqrt{2}",
    "(1,2)",
    "[0,1)",
    r"\text{even}",
    "x=5",
    r"12\%",
    r"\{1,2\}",
    "x<3",
]
REFERENCES = [
    {"answer": "B", "options": ["5 N", "10 N", "mass", "energy"]},
    {"answer": "5 m/s"},
    {"answer": "6.02e23"},
    {"answer": r"\frac{mv^2}{r}"},
    {"answer": "alpha decay"},
    {"answer": "CO2"},
    {"answer": "25 °C"},
]
PIECES = [
    *(r"\frac", r"\frac{", r"\sqrt", r"\sqrt[", r"\binom{", r"\text{", r"\mathrm{", r"\overline{", r"\begin{pmatrix}"),
    *(r"\end{pmatrix}", r"\left(", r"\right)", r"\{", r"\}", r"\pi", r"\infty", r"\sin", r"\log_", r"\cup", r"\in"),
    *(r"\pm", r"\le", r"\ne", r"\circ", r"\prime", r"\choose", r"\over", r"\times", r"\%", r"\ ", r"\\", r"\forall"),
    *("{", "}", "(", ")", "[", "]", "|", "^", "_", "^{", "+", "-", "*", "/", "**", "!", "%", "=", "<", ">", ",", ";"),
    *("0", "1", "2", "9", "10", "99999", "0.5", "1e5", "1e9999", "1,000", "10^{23}", "x", "y", "n", "e", "i", "f(x)"),
    *("and", "or", "cm", "m/s", "kg", "million", "percent", "A", "(A)", "not", "Monday", "pi", "gcd(", "eval(", "__"),
    *("\x00", "\ud800", "\u202e", "\u0663", "\u00bd", "\u221a", "\u00b2", "\u212b", "\n", " ", "&", "'", ":", ".", "$"),
]
answers = st.lists(st.sampled_from(PIECES), min_size=1, max_size=60).map("".join)


@pytest.fixture(scope="module")
def verifiers():
    """Warm: the first answer that math-verify reads costs a second."""
    math, stem = MathVerifier(), StemVerifier()
    for gold in GOLDS:
        math.check({"answer": gold}, r"\boxed{\overrightarrow{x}}")
    return math, stem


def in_box(answer):
    return f"\\boxed{{{answer}{'}' * max(0, answer.count('{') - answer.count('}'))}}}"


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answers, st.sampled_from(GOLDS), st.sampled_from(REFERENCES))
def test_any_answer_gets_0_or_1_within_a_second(verifiers, answer, gold, reference):
    math, stem = verifiers
    for verifier, asked in ((math, {"answer": gold}), (stem, reference)):
        begun = time.process_time()
        verdict = verifier.check(asked, in_box(answer))
        assert verdict.reward in (0.0, 1.0)
        assert verdict.outcome in ("scored", "no_answer")
        assert time.process_time() - begun < MAX_SECONDS


@pytest.mark.parametrize(
    "answer",
    [
        "9^{9^{9^9}}",
        "9**9**9**9",
        "((9!)!)!",
        r"\binom{10^9}{10^8}",
        "1e9999",
        "(x+y+z+1)^{200}",
        r"\sum_{i=1}^{99999} i^{999}",
        r"\int_0^1 \int_0^1 x^{y} dx dy",
        "2" * 900,
        "a" * 900,
        "+".join(["x"] * 400),
        "sin " * 200 + "x",
        "{" * 400 + "}" * 400,
        "(" * 400 + "1" + ")" * 400,
        r"\frac{" * 100 + "1" + "}{2}" * 100,
        r"\sqrt" * 180 + "2",
        "x^" * 400 + "2",
        "1/" * 400 + "2",
        "!" * 900,
        "|" * 900,
        "-" * 900 + "1",
        r"\{" + ",".join(map(str, range(200))) + r"\}",
        ",".join(["x"] * 450),
        "\\" * 900,
        "7" * (1 << 20),
        r"\frac" * (1 << 17),
        r"\boxed{" * (1 << 16) + "}" * (1 << 16),
        r"\boxed{" * 100 + "}" * 100,
        "H22" * 300 + "x",
        "(OH)2" * 150 + "<",
    ],
    ids=lambda answer: repr(answer[:16]),
)
def test_towers_depths_and_megabytes_are_wrong_at_once(verifiers, answer):
    for verifier, reference in ((verifiers[0], {"answer": "x^2"}), *((verifiers[1], each) for each in REFERENCES)):
        begun = time.process_time()
        assert verifier.check(reference, in_box(answer)).reward == 0.0
        assert time.process_time() - begun < MAX_SECONDS


def test_a_megabyte_around_the_box_is_no_matter(verifiers):
    for unit in ("{", "}", "\\boxed{", "<think>x</think>", "\\", "a ", "$"):
        begun = time.process_time()
        verdict = verifiers[0].check({"answer": "42"}, unit * ((1 << 20) // len(unit)) + "</think>\\boxed{42}")
        assert verdict.reward == 1.0
        assert time.process_time() - begun < MAX_SECONDS


whole = st.integers(-9999, 9999).map(str)
positive = st.integers(2, 99)
numbers = st.one_of(
    whole,
    st.builds(r"\frac{{{}}}{{{}}}".format, st.integers(-99, 99), positive),
    st.builds("{}.{}".format, st.integers(-99, 99), st.integers(1, 999)),
    st.builds(r"{}\sqrt{{{}}}".format, positive, positive),
    st.builds(r"{}+{}\sqrt[3]{{{}}}".format, positive, positive, positive),
    st.builds(r"\frac{{{}\pi}}{{{}}}".format, positive, positive),
    st.builds(r"{}\%".format, positive),
    st.builds(r"{}^{{{}}}".format, positive, positive),
)
golds = st.one_of(
    numbers,
    st.builds("({}, {})".format, numbers, numbers),
    st.builds("[{}, {})".format, numbers, numbers),
    st.builds(r"\{{{}, {}\}}".format, numbers, numbers),
    st.builds(r"(-\infty, {}) \cup ({}, \infty)".format, numbers, numbers),
    st.builds("x^2 + {}x - {}".format, positive, positive),
    st.builds(r"\frac{{x+{}}}{{y-{}}}".format, positive, positive),
    st.builds("y = {}x + {}".format, positive, positive),
    st.builds(r"x \ge {}".format, numbers),
    st.builds(r"{} \text{{ cm}}^2".format, numbers),
    st.builds(r"\text{{{}}}".format, st.text("abcdefghij ", min_size=3).filter(lambda text: len(text.split()) == 1)),
)


@settings(deadline=None)
@given(golds)
def test_every_reference_accepts_itself_and_its_plainer_form(gold):
    verifier = MathVerifier()
    for answer in (gold, clean(gold), normal(clean(gold)), gold.replace(" ", ""), gold.replace(r"\frac", r"\dfrac")):
        assert verifier.check({"answer": gold}, f"\\boxed{{{answer}}}").reward == 1.0, answer


@settings(deadline=None)
@given(
    numbers, st.sampled_from(["{}+1", "{0}, {0}+1", "{0} or 7777777", "-{0}-1/7", "({0}, 0)", r"{} \text{{ or }} 0.1"])
)
def test_no_number_accepts_a_neighbour_or_a_second_guess(gold, wrong):
    assert MathVerifier().check({"answer": gold}, f"\\boxed{{{wrong.format(gold)}}}").reward == 0.0


@settings(deadline=None, max_examples=50)
@given(
    st.builds("{} {}".format, st.integers(2, 9999), st.sampled_from(["m/s", "kJ", "mol/L", "°C", "km", "%", "Pa·s"]))
)
def test_every_quantity_accepts_itself(gold):
    verifier = StemVerifier()
    assert verifier.check({"answer": gold}, f"\\boxed{{{gold}}}").reward == 1.0
    assert verifier.check({"answer": gold}, f"\\boxed{{-{gold}}}").reward == 0.0


def test_verdicts_are_the_same_from_any_thread(verifiers):
    """Where there is no main thread's alarm, and precisions could get mixed up."""
    cases = [
        ("1/3", "0.333333"),
        (r"\sqrt{2}", "1.414"),
        ("x^2-1", "(x-1)(x+1)"),
        ("(1,2)", "1, 2"),
        ("2^{99}", "2^{98}"),
    ]

    def verdicts():
        return [verifiers[0].check({"answer": gold}, f"\\boxed{{{answer}}}").reward for gold, answer in cases * 5]

    expected, found = verdicts(), []
    threads = [threading.Thread(target=lambda: found.append(verdicts())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4
    assert expected[:5] == [1.0, 0.0, 1.0, 1.0, 0.0]
