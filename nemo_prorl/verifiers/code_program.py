"""What the sandbox is given to run: a model's program with the imports that its graders have always given it."""

from __future__ import annotations

import builtins
import inspect
import re
from collections.abc import Collection, Iterable
from functools import cache
from importlib import import_module
from textwrap import indent
from typing import Any

from nemo_prorl.verifiers import code_values
from nemo_prorl.verifiers.sandbox import Program

# The graders of APPS, TACO, PRIME and LiveCodeBench import all of these before every program, and programs rely on it:
# one that writes List[int] or gcd(a, b) without an import is right there. What a later one imports hides the earlier.
_STARS = (
    *("string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics"),
    *("itertools", "functools", "operator", "io", "sys", "json", "typing"),
)
_MODULES = (
    *("string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics"),
    *("itertools", "functools", "operator", "io", "sys", "json", "os", "time"),
)
_LIMITS = "import sys; sys.setrecursionlimit(50_000); sys.set_int_max_str_digits(50_000)"  # LiveCodeBench's

_NAME = re.compile(r"[^\W\d]\w*")
_FUTURE = re.compile(r"^from __future__ import +(?:\([^)]*\)|(?:\\\n|[^\n])*)[^\n]*", re.MULTILINE)
_ANSWER = "_prorl_answer"
# The functions of code_values run under globals of their own: the program may have its own idea of what `list` is.
_ANSWER_SOURCE = f"""

def _prorl_values():
{indent(inspect.getsource(code_values), "    ")}
    return answer


def {_ANSWER}(calls):
    function = (lambda: 0).__class__(_prorl_values.__code__, {{"__builtins__": __import__("builtins")}})
    return function()(calls, (lambda: 0).__globals__)
"""


def as_script(source: str) -> Program:
    """The program reads stdin and writes stdout."""
    return Program(_with_prelude(source))


def as_functions(source: str, calls: Iterable[Any], before: str = "") -> Program:
    """Functions of the program are called: an input is the JSON text of calls, the output is that of their outcomes.

    Both are as `code_values.answer` says. `before` is Python that stands before the program. The functions that
    `calls` need are unknown to both: the program itself must define `add`, it isn't operator's or a prompt's.
    """
    own = set().union(*map(code_values.called, calls))
    forget = f"[globals().pop(name, 0) for name in {sorted(own)}]" if before else ""
    return Program(_with_prelude(before, forget, source, without=own) + _ANSWER_SOURCE, function=_ANSWER)


def _with_prelude(*parts: str, without: Collection[str] = ()) -> str:
    """The program with what it takes for granted, on one line; imports from __future__ must stay first."""
    source = "\n".join(part for part in parts if part)
    wanted: dict[str, list[str]] = {}
    for name in sorted(set(_NAME.findall(source)) - set(without)):
        if name in _offered():
            wanted.setdefault(_offered()[name], []).append(name)
    imports = [
        f"from {module} import {', '.join(names)}" if module else f"import {', '.join(names)}"
        for module, names in wanted.items()
    ]
    return "\n".join([*_FUTURE.findall(source), "; ".join([_LIMITS, *imports]), _FUTURE.sub("", source)])


@cache
def _offered() -> dict[str, str]:
    """The module of each name that a program may use without an import; a module itself has none.

    All of them, imported for each test, would cost more than most tests.
    """
    offered: dict[str, str] = {}
    for module in _STARS:
        content = vars(import_module(module))
        names = content.get("__all__", [name for name in content if not name.startswith("_")])
        offered |= dict.fromkeys(names, module)
    for name in dir(builtins):
        offered.pop(name, None)  # pow and open are Python's again
    return offered | dict.fromkeys(_MODULES, "")
