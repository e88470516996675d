"""Tests that are Python, judged without the program: run in a sandbox of their own, where they see its values only.

This file is run inside the sandbox, from its text, and imports nothing of ours. What tests call of the program is a
stand-in here. One that doesn't know its value asks for it; then the program answers, in another process, and the tests
run again. So the program is never where it is judged, and can't tell a verdict, only a value.
"""

import ast
import builtins
import json
import random
from collections.abc import Callable, Mapping
from typing import Any

_TESTS, _STAND_IN, _LATER = "_prorl_tests", "_prorl_stand_in", "_prorl_later"


def judge(request: Mapping[str, Any], encode: Callable, decode: Callable, later: Callable) -> dict[str, Any]:
    """One run of the tests; `encode`, `decode` and `later` are those of code_values.

    `request` has `tests` and the `setup` before them, Python both; `function`, the program's, which check(candidate) is
    given; and `known`, the outcomes by call, or None to find out what there is to ask.
    """
    random.seed(0)  # the same questions every time
    namespace: dict[str, Any] = {"__name__": "tests"}
    exec(request["setup"], namespace)
    tree = ast.parse(request["tests"])
    checks = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "check"]
    stands_for = {name: name for name in _free_names(tree, namespace)}
    if request["function"]:
        stands_for[request["function"]] = request["function"]
        stands_for |= {argument.arg: request["function"] for check in checks for argument in check.args.args[:1]}
    tests = Tests(request["known"], encode, decode)
    namespace |= {name: tests.stand_in(real) for name, real in stands_for.items()}
    namespace |= {_TESTS: tests.step, _STAND_IN: tests.stand_in}
    namespace[_LATER] = lambda name, *given, **named: later(tests.call(stands_for[name], given, named))
    rewritten = _Rewrite(stands_for, {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)})
    for place in checks or [tree]:
        place.body = rewritten.statements(place.body)
    if not rewritten.counted:
        tests.broken = "no statement of theirs tests anything"
    if checks and not request["function"]:
        tests.broken = "they have a check(candidate), and no entry_point says which function that is"
    program = compile(ast.fix_missing_locations(tree), "tests", "exec")
    try:
        exec(program, namespace)
        if checks:
            namespace["check"](tests.stand_in(request["function"]))
    except Exception as error:
        if tests.explores and not isinstance(error, NotKnownYet):
            raise
        tests.aborted, tests.failure = True, tests.failure or f"{type(error).__name__} {error}"[:200]
    return {name: getattr(tests, name) for name in ("asked", "passed", "total", "aborted", "broken", "failure")}


class NotKnownYet(Exception):
    """Something hangs on a value that is still to be asked for."""


class Pending:
    """Stands for a value that was asked for: what is made of it is pending too, and nothing can be decided by it."""

    def _undecided(self, *_: Any) -> Any:
        raise NotKnownYet

    def __getattr__(self, name: str) -> "Pending":
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def _pending(self, *_: Any, **__: Any) -> "Pending":
        return self

    __hash__ = None  # type: ignore[assignment]
    __bool__ = __iter__ = __len__ = __contains__ = __index__ = __int__ = __float__ = _undecided
    __call__ = __getitem__ = __abs__ = __neg__ = _pending
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _pending  # type: ignore[assignment]
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __mod__ = _pending


class Tests:
    """What comes of one run. `asked`: calls whose outcomes aren't known; `total`: statements that test, `passed` those
    that did, `failure` why the first other one didn't.

    `aborted`: something failed between the tests; `broken`: why they are of no use.
    """

    def __init__(self, known: Mapping[str, Any] | None, encode: Callable, decode: Callable) -> None:
        self.explores = known is None
        self._known, self._encode, self._decode = known or {}, encode, decode
        self.asked: dict[str, Any] = {}
        self.passed = self.total = 0
        self.aborted, self.broken, self.failure = False, "", ""

    def call(self, name: str, given: Any, named: Mapping[str, Any]) -> list[Any]:
        """A call as JSON types."""
        if any(isinstance(value, Pending) for value in [*given, *named.values()]):
            raise NotKnownYet
        try:
            return [name, [self._encode(value) for value in given], {k: self._encode(v) for k, v in named.items()}]
        except TypeError as error:
            self.broken = f"{name} is called with what is no plain data: {error}"
            raise

    def stand_in(self, name: str) -> Callable[..., Any]:
        """For the program's function of that name."""

        def function(*given: Any, **named: Any) -> Any:
            call = self.call(name, given, named)
            key = json.dumps(call, sort_keys=True)
            if key not in self._known:
                self.asked[key] = call
                return Pending()
            outcome = self._known[key]
            if "raised" in outcome:
                raise _exception(*outcome["raised"])
            return self._decode(outcome["value"])

        return function

    def step(self, tests: bool) -> "Step":
        return Step(self, tests)


class Step:
    """Around a statement. One that tests passes if it raises nothing; what it raises keeps no other from its turn."""

    def __init__(self, tests: Tests, counts: bool) -> None:
        self._tests, self._counts = tests, counts

    def __enter__(self) -> None:
        self._tests.total += self._counts

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> bool:
        self._tests.passed += self._counts and kind is None
        if kind is not None and not self._tests.failure:
            self._tests.failure = f"line {trace.tb_lineno} of the tests: {kind.__name__} {error}"[:200]
        return self._counts or self._tests.explores


class _Rewrite(ast.NodeTransformer):
    """Statements under `with Step`, and calls of the program whose function or arguments are calls of it."""

    def __init__(self, stands_for: Mapping[str, str], own_functions: set[str]) -> None:
        self._program, self._own = set(stands_for), own_functions
        self._inside_call = False
        self.counted = 0

    def statements(self, body: list[ast.stmt]) -> list[ast.stmt]:
        return [self._statement(statement) for statement in body]

    def _statement(self, statement: ast.stmt) -> ast.stmt:
        if isinstance(statement, (ast.For, ast.While, ast.If)):
            statement.body, statement.orelse = self.statements(statement.body), self.statements(statement.orelse)
            return statement
        counts = self._counts(statement)
        self.counted += counts
        if not counts and not isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Expr)):
            return statement
        step = ast.Call(ast.Name(_TESTS, ast.Load()), [ast.Constant(counts)], [])
        return ast.With([ast.withitem(step)], [self.visit(statement)])

    def _counts(self, statement: ast.stmt) -> bool:
        if isinstance(statement, ast.Assert):
            return not isinstance(statement.test, ast.Constant)
        if isinstance(statement, (ast.Try, ast.With)) or (
            isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
        ):
            names = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
            return bool(names & (self._program | self._own))
        return False

    def visit_Call(self, node: ast.Call) -> ast.expr:
        if isinstance(node.func, ast.Attribute) and self._makes(node.func.value):  # Solution().solve(...)
            name = ast.Constant(ast.unparse(node.func))
            node.func = ast.Call(ast.Name(_STAND_IN, ast.Load()), [name], [])
        elif not (isinstance(node.func, ast.Name) and node.func.id in self._program):
            self.generic_visit(node)
            return node
        outer, self._inside_call = self._inside_call, True
        self.generic_visit(node)
        self._inside_call = outer
        if outer and isinstance(node.func, ast.Name):
            name = ast.Constant(node.func.id)
            return ast.Call(ast.Name(_LATER, ast.Load()), [name, *node.args], node.keywords)
        return node

    def _makes(self, node: ast.expr) -> bool:
        """Whether it is a call of the program that needs nothing of the tests': Solution()."""
        return (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in self._program
            and all(isinstance(part, ast.Constant) for part in [*node.args, *(k.value for k in node.keywords)])
        )


def _free_names(tree: ast.Module, namespace: Mapping[str, Any]) -> set[str]:
    """Names that neither the tests nor what stands before them define: the program's."""
    loaded: set[str] = set()
    bound = set(namespace) | set(dir(builtins))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (loaded if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
    return loaded - bound


def _exception(name: Any, message: Any) -> Exception:
    """The exception that the program raised, as far as it is one of Python's own."""
    kind = getattr(builtins, str(name), Exception)
    try:
        return kind(message) if issubclass(kind, Exception) else Exception(message)
    except TypeError:  # no class, or one that wants more
        return Exception(message)
