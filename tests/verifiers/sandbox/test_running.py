"""What comes of programs that mean well, and of those that don't work."""

import json

import pytest

from nemo_prorl.errors import VerifierError
from nemo_prorl.verifiers.sandbox import Program, Sandbox, SandboxSettings

ADD = Program("a, b = map(int, input().split())\nprint(a + b)")


def statuses(found):
    return [ran.status for ran in found]


def test_each_input_has_its_output(layered):
    sandbox, _ = layered
    found = list(sandbox.run(ADD, ["1 2", "30 12\n", "-5 5"], budget_seconds=20))
    assert [(ran.status, ran.output) for ran in found] == [("ok", b"3\n"), ("ok", b"42\n"), ("ok", b"0\n")]
    assert all(0 < ran.seconds < 20 for ran in found)


def test_a_function_gives_json_whichever_layers_hold(layered):
    sandbox, _ = layered
    program = Program("def pair(a, b):\n    print('noise')\n    return (a, [b, {'n': None}])", "pair")
    (ran,) = sandbox.run(program, ['"x"\n1.5'], budget_seconds=20)
    assert (ran.status, json.loads(ran.output)) == ("ok", ["x", [1.5, {"n": None}]])


def test_inputs_are_asked_for_one_at_a_time(sandbox):
    """The second is made of what came of the first, so it can't have been known before."""
    seen = []

    def inputs():
        yield "1 1"
        yield f"{int(seen[0].output)} 40"

    for ran in sandbox.run(ADD, inputs(), budget_seconds=20):
        seen.append(ran)
    assert seen[1].output == b"42\n"


@pytest.mark.parametrize(
    ("source", "text", "output"),
    [
        ("import sys\nprint(len(sys.stdin.buffer.read()))", "\u20ac\n", b"4\n"),
        ("print(open(0).read(), end='')", "a\nb", b"a\nb"),
        ("print(open('/dev/stdin').readline()[::-1])", "abc", b"cba\n"),
        ("open('/dev/stdout', 'w').write('x')", "", b"x"),
        ("import os\nos.write(1, b'\\xff\\x00')", "", b"\xff\x00"),
        ("print('\\u20ac')", "", b"\xe2\x82\xac\n"),
        ("import sys\nprint(sys.stdin.isatty(), sys.argv)", "", b"False ['main.py']\n"),
        ("if __name__ == '__main__':\n    print(1)", "", b"1\n"),
        ("import sys\nsys.stdout.write('no line end')\nsys.exit(0)", "", b"no line end"),
        ("import atexit\natexit.register(print, 'last')\nprint('first')", "", b"first\nlast\n"),
        ("import threading\nthreading.Thread(target=print, args=['there']).start()", "", b"there\n"),
        ("import os, tempfile\nwith tempfile.NamedTemporaryFile() as f: print(os.path.exists(f.name))", "", b"True\n"),
        ("import os\nos.makedirs('a/b')\nos.chmod('a', 0)\nprint(os.listdir('.'))", "", b"['a']\n"),
        ("from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\nprint(P(1))", "", b"P(x=1)\n"),
        ("import sys\nsys.modules['os'] = sys.modules['json'] = None\nprint(1)", "", b"1\n"),
        ("import os\nos.closerange(3, 256)\nprint(1)", "", b"1\n"),
        ("import asyncio\nasync def f(): return 7\nprint(asyncio.run(f()))", "", b"7\n"),
        ("import io, sys\nsys.stdout = io.TextIOWrapper(sys.stdout.buffer)\nprint(1)", "", b"1\n"),
        ("import sys\nsys.stdout.close()", "", b""),
        ("out = open(1, 'w')\nout.write('left open')\nprint('first')", "", b"first\nleft open"),
        ("out = open('/dev/stdout', 'wb')\nout.write(b'left open')", "", b"left open"),
        ("import os\nos.kill(os.getpid(), 0)\nprint(1)", "", b"1\n"),
        ("", "", b""),
    ],
)
def test_it_runs_as_python_would_run_it(script, source, text, output):
    ran = script(source, text)
    assert (ran.status, ran.output, ran.detail) == ("ok", output, "")


def test_deep_recursion_in_a_thread_with_a_large_stack_works(script):
    ran = script(
        "import sys, threading\nsys.setrecursionlimit(10**6)\nthreading.stack_size(2**27)\n"
        "def f(n): return n and 1 + f(n - 1)\nt = threading.Thread(target=lambda: print(f(50_000)))\nt.start()"
    )
    assert ran.output == b"50000\n"


def test_memoised_recursion_is_as_deep_as_judges_let_it_be(script):
    """It takes C's stack, of which a Python started by hand has 8 MiB."""
    source = (
        "import sys\nfrom functools import lru_cache\nsys.setrecursionlimit(10**6)\n"
        "@lru_cache(None)\ndef f(n): return n and 1 + f(n - 1)\nprint(f(60_000))"
    )
    assert script(source).output == b"60000\n"


@pytest.mark.parametrize(
    ("source", "detail"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(3)", "exit code 1"),
        ("import sys\nsys.exit('enough')", "exit code 1"),
        ("import os\nos._exit(3)", "exit code 3"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"),
        ("import ctypes\nctypes.string_at(0)", "killed by SIGSEGV"),
        ("import atexit\natexit.register(exec, '1/0')\nprint('written')\nraise KeyError('k')", "KeyError: 'k'"),
        ("class E(Exception):\n    def __str__(self): raise self\nraise E", "exit code 1"),
        ("def f(): f()\nf()", "RecursionError: maximum recursion depth exceeded"),
    ],
)
def test_what_fails_says_how(script, source, detail):
    ran = script(source)
    assert (ran.status, ran.detail) == ("failed", detail)


def test_what_was_written_before_it_failed_is_kept(script):
    assert script("print('so far', flush=True)\n1 / 0").output == b"so far\n"


@pytest.mark.parametrize(
    "source", ["def f(:", "x = '", "\x00", "\ud800", "(" * 300, "return 1", "nonlocal x", "\t x\n y", "é\udcff = 1"]
)
def test_what_is_no_python_is_a_compile_error_for_every_input(sandbox, source):
    found = list(sandbox.run(Program(source), ["", ""], budget_seconds=20))
    assert statuses(found) == ["compile_error", "compile_error"]
    assert found[0].detail


@pytest.mark.parametrize(
    ("source", "lines", "value"),
    [
        ("def f(): return []", [], []),
        ("def f(a): return list(a.items())", ['{"1": 2, "x": null}'], [["1", 2], ["x", None]]),
        ("class Solution:\n    def f(self, a, b): return a * b", ["[1]", "2"], [1, 1]),
        ("def f(a): return a", ['"two\\nlines"'], "two\nlines"),
        ("import numpy as np\ndef f(a): return np.array(a).sum()", ["[1, 2]"], 3),
        ("import numpy as np\ndef f(a): return [np.float64(0.5), np.ones((1, 2))]", ["0"], [0.5, [[1.0, 1.0]]]),
        ("import sys\ndef f(): return sys.stdin.read()", [], ""),
        ("def f(): return __name__", [], "solution"),
        ("class Int(int):\n    def __eq__(self, other): return True\ndef f(): return Int(4)", [], 4),
    ],
)
def test_a_functions_value_comes_out_as_json(function, source, lines, value):
    ran = function(source, "f", *lines)
    assert (ran.status, json.loads(ran.output)) == ("ok", value), ran.detail


@pytest.mark.parametrize(
    ("source", "detail"),
    [
        ("def f(): return {1, 2}", "TypeError: it returned a set, which JSON can't say"),
        ("def f(): return f", "TypeError: it returned a function, which JSON can't say"),
        ("def f(): yield 1", "TypeError: it returned a generator, which JSON can't say"),
        ("def f(a): return a", "TypeError: f() missing 1 required positional argument: 'a'"),
        ("def g(): return 1", "KeyError: 'Solution'"),
        ("a = []\na.append(a)\ndef f(): return a", "ValueError: Circular reference detected"),
    ],
)
def test_a_function_without_a_value_fails(function, source, detail):
    ran = function(source, "f")
    assert (ran.status, ran.detail) == ("failed", detail)


def test_leaving_early_with_exit_code_0_is_no_value(function):
    assert function("import os\nos._exit(0)", "f").output == b""


def test_dice_and_sets_fall_the_same_in_every_sandbox(host):
    source = "import random\nprint(random.random(), {'a', 'b', 'c'}, hash('x'))"
    found = set()
    for _ in range(2):
        with Sandbox(SandboxSettings()) as sandbox:
            found |= {ran.output for ran in sandbox.run(Program(source), ["", ""], budget_seconds=20)}
    assert len(found) == 1


def test_nothing_stays_for_the_next_input_or_program(layered):
    sandbox, _ = layered
    counts = (
        "import os\nhere = os.listdir('.') + os.listdir(os.environ['TMPDIR'])\nprint(here, os.environ.get('LEFT'))\n"
        "os.environ['LEFT'] = 'x'\nos.makedirs('a/b/c')\nopen('a/b/c/d', 'w').write('x')\nopen('/dev/stdin').read()\n"
    )
    for _ in range(2):
        found = list(sandbox.run(Program(counts), ["one", "two"], budget_seconds=20))
        assert [ran.output for ran in found] == [b"[] None\n"] * 2, found


def test_a_sandbox_is_for_one_program_at_a_time(sandbox):
    first = sandbox.run(ADD, ["1 2", "3 4"], budget_seconds=20)
    next(first)
    with pytest.raises(VerifierError, match="one program at a time"):
        next(sandbox.run(ADD, ["5 6"], budget_seconds=20))
    first.close()
    assert statuses(sandbox.run(ADD, ["5 6"], budget_seconds=20)) == ["ok"]


def test_an_input_that_does_not_fit_is_the_callers_error(sandbox):
    with pytest.raises(VerifierError, match="raise tmp_bytes"):
        list(sandbox.run(ADD, ["1" * (33 << 20)], budget_seconds=20))
    (ran,) = sandbox.run(Program("print(len(input()))"), ["1" * (20 << 20)], budget_seconds=20)
    assert ran.output == b"20971520\n"


def test_after_it_is_closed_nothing_runs(host):
    sandbox = Sandbox(SandboxSettings())
    sandbox.close()
    sandbox.close()
    with pytest.raises(VerifierError, match="closed"):
        next(sandbox.run(ADD, ["1 2"], budget_seconds=20))
