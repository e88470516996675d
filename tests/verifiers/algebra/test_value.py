"""What expressions are worth, within bounds."""

import threading
from fractions import Fraction

import pytest

from nemo_prorl.verifiers.algebra.reading import readings
from nemo_prorl.verifiers.algebra.text import clean
from nemo_prorl.verifiers.algebra.value import Evaluation, NotExactError, NoValueError, exact, symbols


def read(text):
    return readings(clean(text))[0].node


def value(text, **point):
    return Evaluation({name: Fraction(number) for name, number in point.items()}, 30).value(read(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\sqrt{16}", 4),
        (r"\sqrt[3]{-8}", -2),
        (r"\log_2 8", 3),
        (r"\ln e^2", 2),
        (r"\sin 30^\circ", 0.5),
        (r"\cos \pi", -1),
        ("e^{i \\pi}", -1),
        (r"\lfloor 3.7 \rfloor", 3),
        ("max(2, 7, 3)", 7),
        ("gcd(12, 18)", 6),
        ("8^{1/3}", 2),
        ("5!!", 15),
    ],
)
def test_functions_have_their_values(text, expected):
    assert abs(value(text) - expected) < 1e-25


def test_symbols_are_what_may_vary():
    assert symbols(read(r"2\pi x + e^{iy} - x_1")) == {"x", "y", "x_1"}
    assert value("x^2 + y", x=3, y=Fraction(1, 2)) == 9.5


@pytest.mark.parametrize(
    "text",
    [
        *("9^{9^{9^9}}", "10^{10^8}", "100000!", "((9!)!)!", "1/0", r"\binom{10^9}{5}"),
        *("binom(5)", "binom(5, 2, 1)", "abs_2(5)", "1 + binom(5)"),
    ],
)
def test_what_is_too_large_or_undefined_has_no_exact_value(text):
    with pytest.raises(NoValueError):
        exact(read(text))


@pytest.mark.parametrize(
    "text", [r"\sqrt{9^{9^{9^9}}}", "e^{e^{e^{e^9}}}", r"\sin(10^{10^5})", r"\pi^{9999999}", r"\ln 0", r"\tan \infty"]
)
def test_what_is_too_large_or_undefined_has_no_value(text):
    with pytest.raises(NoValueError):
        value(text)


def test_only_fractions_are_exact():
    with pytest.raises(NotExactError):
        exact(read(r"\sqrt{4}"))


def test_the_range_of_numbers_on_the_way_is_known():
    """2^2005 has 604 digits: with so many more than wanted, the 1 beside it isn't lost."""
    evaluation = Evaluation({}, 30)
    evaluation.value(read("2^{2005} - 1 + \\pi"))
    assert 603 <= evaluation.range_digits <= 606


def test_threads_have_precisions_of_their_own():
    digits = [15, 50, 200, 1000]
    found = {}

    def work(places):
        for _ in range(20):
            found[places] = str(Evaluation({}, places).value(read(r"\sqrt{2}")))

    threads = [threading.Thread(target=work, args=[places]) for places in digits]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {places: len(found[places]) - 1 for places in digits} == pytest.approx(
        {15: 15, 50: 50, 200: 200, 1000: 1000}, abs=1
    )
