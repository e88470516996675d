"""What is kept away from algebra systems."""

import time

import pytest

from nemo_prorl.verifiers.screen import MAX_EXPRESSION_CHARS, too_costly


@pytest.mark.parametrize(
    "expression",
    [
        "9^{9^{9^9}}",
        "9**9**9**9",
        "9^{9^{9}}",
        "3^{3^{3^3}}",
        "10^{10^7}",
        "x^{9^{9^9}}",
        "2^{9999999}",
        "2^{3\\cdot 99999}",
        "2^{10!}",
        "10^8!",
        "100000000!",
        "((9!)!)!",
        "(9^9)!",
        "15!!",
        "1e999999999",
        "().__class__",
        "x^" * 30 + "2",
        "(" * 20 + "1" + ")" * 20,
        "7" * (MAX_EXPRESSION_CHARS + 1),
    ],
)
def test_towers_and_bombs_are_too_costly(expression):
    assert too_costly(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "42",
        "-\\frac{2}{3}",
        "2^{2005}-1",
        "\\frac{2^{2005}+1}{3\\cdot 2^{2006}}",
        "\\frac{1}{2004!}",
        "2^{2^{10}}",
        "x^{2^n}",
        "\\frac{(2n)!}{(n!)^2}",
        "(n+1)!",
        "5\\!\\cdot\\!3",
        "10^{23}",
        "x != 3",
        "e^{-x^2/2}",
        "3.5e-7",
        "\\left(\\frac{1+\\sqrt{5}}{2}\\right)^{100}",
        "",
        "^",
        "2^{",
    ],
)
def test_what_people_write_is_not(expression):
    assert too_costly(expression) is None


def test_a_longer_one_may_be_let_through_but_not_with_a_tower_in_it():
    long = " + ".join(["3*x**2"] * 500)
    assert too_costly(long) and too_costly(long, max_chars=10_000) is None
    assert too_costly(f"{long} + 9**9**9", max_chars=10_000) == "an exponent above 100000"


@pytest.mark.parametrize(
    "expression",
    ["1" * 8000 + "x!" * 4000, "1!" * 8000, "x^2+" * 4000, "((x)!+1)*" * 1800, "x^(y)" * 3200, "1^1 " * 4000],
)
def test_the_screen_itself_takes_no_time(expression):
    begun = time.process_time()
    too_costly(expression, max_chars=16_384)
    assert time.process_time() - begun < 2
