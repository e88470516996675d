"""What expressions are worth: exactly where only fractions occur, else as numbers of as many digits as it takes.

Sizes are bounded before anything is computed: 9^{9^{9^9}} raises at its exponent.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import reduce
from typing import Any

import mpmath

from nemo_prorl.verifiers.algebra.tree import Apply, Node, Number, Symbol

MAX_DIGITS = 30_000  # of any number on the way
MAX_FACTORIAL = 10_000
_MAX_BITS = int(MAX_DIGITS * math.log2(10))
_CONSTANTS = frozenset({r"\pi", "e", "i"})
_Value = Any  # mpmath's numbers; it has no types


class NoValueError(Exception):
    """It has none here: a division by zero, a matrix."""


class TooLargeError(NoValueError):
    """It has one, but not one that we write down."""


class NotExactError(Exception):
    """Not a fraction, though it may have a value."""


def exact(node: Node) -> Fraction:
    """The value of an expression in which only fractions occur.

    Raises:
        NotExactError: other things occur.
        NoValueError: division by zero, a number too long, or too few or too many arguments.
    """
    if isinstance(node, Number):
        return node.value
    if not isinstance(node, Apply):
        raise NotExactError
    operation = _EXACT.get(node.operation)
    if operation is None:
        raise NotExactError
    try:
        result = operation(*map(exact, node.arguments))
    except TypeError as error:  # binom(5)
        raise NoValueError(str(error)) from error
    if result.numerator.bit_length() + result.denominator.bit_length() > _MAX_BITS:
        raise TooLargeError("too long")
    return result


def symbols(node: Node) -> frozenset[str]:
    """The names of what may vary in an expression."""
    if isinstance(node, Symbol):
        return frozenset() if node.name in _CONSTANTS else frozenset({node.name})
    if isinstance(node, Apply):
        return frozenset[str]().union(*map(symbols, node.arguments))
    return frozenset()


class Evaluation:
    """Values at one point, with `digits` digits.

    `range_digits` grows to how far apart the largest and the smallest number met were, in decimal digits: with that
    many more digits a unit beside the largest of them isn't lost.
    """

    def __init__(self, point: Mapping[str, Fraction], digits: int) -> None:
        self._context = _context()
        self._context.dps = digits
        self._point = {name: self._fraction(value) for name, value in point.items()}
        self._bits = 0

    @property
    def range_digits(self) -> int:
        return math.ceil(self._bits / math.log2(10))

    def value(self, node: Node) -> _Value:
        """Raises:
        NoValueError: it has none here.
        """
        try:
            result = self._value(node)
        except (ZeroDivisionError, ValueError, OverflowError, TypeError, AttributeError) as error:
            raise NoValueError(str(error)) from error
        if not self._context.isfinite(result):
            raise NoValueError("infinite")
        return result

    def _value(self, node: Node) -> _Value:
        if isinstance(node, Number):
            result = self._fraction(node.value)
        elif isinstance(node, Symbol):
            result = self._symbol(node.name)
        elif isinstance(node, Apply):
            result = self._apply(node)
        else:
            raise NoValueError(type(node).__name__)
        if result:
            bits = abs(self._context.mag(result))
            if not bits <= _MAX_BITS:
                raise TooLargeError("too long")
            self._bits = max(self._bits, int(bits))
        return result

    def _fraction(self, value: Fraction) -> _Value:
        return self._context.mpf(value.numerator) / value.denominator

    def _symbol(self, name: str) -> _Value:
        if name in self._point:
            return self._point[name]
        if name == r"\pi":
            return +self._context.pi
        if name == "e":
            return +self._context.e
        if name == "i":
            return self._context.mpc(0, 1)
        raise NoValueError(name)

    def _apply(self, node: Apply) -> _Value:
        operation = node.operation
        values = [self._value(argument) for argument in node.arguments]
        if operation in _TRIGONOMETRIC:
            values = [self._angle(values[0], node.arguments[0])]
        if operation in _SIMPLE:
            return _SIMPLE[operation](self._context, *values)
        if operation.endswith("()"):  # a function we don't know: any, but always the same
            return self._context.cos(values[0] * (1 + sum(map(ord, operation)))) + ord(operation[0])
        raise NoValueError(operation)

    def _angle(self, value: _Value, argument: Node) -> _Value:
        if value and self._context.mag(value) > 200:
            raise TooLargeError("too large an angle")
        return value * self._context.pi / 180 if _in_degrees(argument) else value


def _in_degrees(node: Node) -> bool:
    return isinstance(node, Apply) and (node.operation == "degrees" or any(map(_in_degrees, node.arguments)))


_LOCAL = threading.local()


def _context() -> Any:
    """mpmath with a precision of our own: its global one belongs to everybody in the process."""
    if not hasattr(_LOCAL, "context"):
        _LOCAL.context = mpmath.MPContext()
    return _LOCAL.context


def _power(context: Any, base: _Value, exponent: _Value) -> _Value:
    if not base:
        return context.mpf(0) if context.re(exponent) > 0 else base**exponent
    if context.mag(exponent) > 60:
        raise TooLargeError("too large an exponent")
    size = abs(float(abs(context.log(abs(base))) if abs(base) != 1 else 0)) * float(abs(exponent)) / math.log(2)
    if size > _MAX_BITS:
        raise TooLargeError("too large a power")
    return context.power(base, exponent)


def _exponential(context: Any, exponent: _Value) -> _Value:
    return _power(context, +context.e, exponent)


def _root(context: Any, radicand: _Value, degree: _Value) -> _Value:
    if not context.isint(degree) or not 2 <= degree <= 1000:
        return _power(context, radicand, 1 / degree)
    if degree % 2 and not context.im(radicand) and context.re(radicand) < 0:
        return -context.root(-radicand, int(degree))  # the real one, as schools mean it
    return context.root(radicand, int(degree))


def _factorial(context: Any, value: _Value) -> _Value:
    if abs(value) > MAX_FACTORIAL:
        raise TooLargeError("too large a factorial")
    return context.factorial(value)


def _double_factorial(context: Any, value: _Value) -> _Value:
    if abs(value) > MAX_FACTORIAL:
        raise TooLargeError("too large a factorial")
    return context.fac2(value)


def _binomial(context: Any, n: _Value, k: _Value) -> _Value:
    if abs(n) > MAX_FACTORIAL or abs(k) > MAX_FACTORIAL:
        raise TooLargeError("too large a binomial")
    return context.binomial(n, k)


def _whole(value: _Value, context: Any) -> int:
    if not context.isint(value):
        raise NoValueError("not whole")
    return int(value.real)


def _logarithm(context: Any, value: _Value, base: _Value = None) -> _Value:
    return context.log(value) if base is None else context.log(value) / context.log(base)


_TRIGONOMETRIC = frozenset({"sin", "cos", "tan", "cot", "sec", "csc"})
_DIRECT = {
    **{name: name for name in (*_TRIGONOMETRIC, "sinh", "cosh", "tanh", "coth", "sqrt", "cbrt", "floor", "ceil")},
    **{f"arc{name}": f"a{name}" for name in (*_TRIGONOMETRIC, "sinh", "cosh", "tanh")},
    "ln": "log",
    "lg": "log10",
}
_SIMPLE: dict[str, Callable[..., _Value]] = {
    "+": lambda context, *terms: reduce(lambda a, b: a + b, terms),
    "*": lambda context, *factors: reduce(lambda a, b: a * b, factors),
    "/": lambda context, a, b: a / b,
    "neg": lambda context, a: -a,
    "%": lambda context, a: a / 100,
    "degrees": lambda context, a: a,
    "abs": lambda context, a: abs(a),
    "^": _power,
    "exp": _exponential,
    "root": _root,
    "!": _factorial,
    "!!": _double_factorial,
    "binom": _binomial,
    "log": _logarithm,
    "max": lambda context, *values: max(values),
    "min": lambda context, *values: min(values),
    "gcd": lambda context, *values: context.mpf(math.gcd(*(_whole(value, context) for value in values))),
    "lcm": lambda context, *values: context.mpf(math.lcm(*(_whole(value, context) for value in values))),
    **{
        ours: (lambda context, value, theirs=theirs: getattr(context, theirs)(value))
        for ours, theirs in _DIRECT.items()
    },
}


def _exact_power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        raise NotExactError
    bits = max(base.numerator.bit_length(), base.denominator.bit_length()) - 1
    if bits * abs(exponent.numerator) > _MAX_BITS or abs(exponent.numerator) > 10 * _MAX_BITS:
        raise TooLargeError("too large a power")
    if not base and exponent < 0:
        raise NoValueError("division by zero")
    return base**exponent.numerator


def _exact_product(*factors: Fraction) -> Fraction:
    result = Fraction(1)
    for factor in factors:
        result *= factor
        if result.numerator.bit_length() + result.denominator.bit_length() > _MAX_BITS:
            raise TooLargeError("too long")
    return result


def _exact_quotient(numerator: Fraction, denominator: Fraction) -> Fraction:
    if not denominator:
        raise NoValueError("division by zero")
    return numerator / denominator


def _exact_factorial(value: Fraction) -> Fraction:
    if value.denominator != 1 or value < 0:
        raise NotExactError
    if value > MAX_FACTORIAL:
        raise TooLargeError("too large a factorial")
    return Fraction(math.factorial(value.numerator))


def _exact_binomial(n: Fraction, k: Fraction) -> Fraction:
    if n.denominator != 1 or k.denominator != 1 or not 0 <= k <= n:
        raise NotExactError
    if n > MAX_FACTORIAL:
        raise TooLargeError("too large a binomial")
    return Fraction(math.comb(n.numerator, k.numerator))


_EXACT: dict[str, Callable[..., Fraction]] = {
    "+": lambda *terms: sum(terms, Fraction(0)),
    "*": _exact_product,
    "/": _exact_quotient,
    "neg": lambda a: -a,
    "%": lambda a: a / 100,
    "degrees": lambda a: a,
    "abs": abs,
    "^": _exact_power,
    "!": _exact_factorial,
    "binom": _exact_binomial,
}
