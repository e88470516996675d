"""What is kept away from algebra systems and from eval."""

import pytest

from nemo_prorl.verifiers.screen import MAX_EXPRESSION_CHARS, is_literal, is_plain_algebra, too_costly


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


@pytest.mark.parametrize("text", ["3*(4 + 5)/2", "x**2/2 + C", "sin(x)*exp(-x)", "asinh(x)", "2.5*y", "alpha + 1"])
def test_plain_algebra_passes(text):
    assert is_plain_algebra(text, variables={"alpha"})


@pytest.mark.parametrize(
    "text",
    [
        "eval(x)",
        "open(f)",
        "x.diff",
        "x . diff",
        "1 .real",
        "a['b']",
        '"a"',
        "lambda: 1",
        "exec(C)",
        "beta",
        "a=b",
        "½",
    ],
)
def test_programs_are_not_plain_algebra(text):
    assert not is_plain_algebra(text, variables={"alpha"})


def test_only_literals_compute_nothing():
    assert is_literal("[[0, 1], [1, 0]]") and is_literal("-3") and is_literal("'ab'")
    assert not any(map(is_literal, ["9**9", "open('f')", "1 2", "", "[" * 5000, "-" * 9000 + "1", "\x00", "\ud800"]))
