"""Habits that a linter doesn't know."""

import ast
import re
import sys
import tomllib

import pytest

from nemo_prorl.cli import COMMANDS
from tests.house.source import PACKAGE, ROOT, imports, place, python_files, tree

MAX_LINES = 300
# Files that may be longer, each with the reason; the number is the most they may have.
LONGER: dict[str, tuple[int, str]] = {}

MAX_FUNCTION_LINES = 40
LONGER_FUNCTIONS: dict[str, str] = {
    "nemo_prorl/build/__init__.py:training": "wires every part of a run, one after another, without a branch",
}

CONFIG_NAME = re.compile(r"(^|_)(config|cfg|conf)$")
MAY_PRINT = ("nemo_prorl/cli.py", "nemo_prorl/commands/")
# Modules whose distribution has another name.
DISTRIBUTIONS = {
    "hydra": "hydra-core",
    "megatron": "megatron-core",
    "nemo": "nemo-toolkit",
    "pydantic_core": "pydantic",
    "yaml": "pyyaml",
}


def names(node: ast.expr) -> str:
    """The last name of a dotted expression: `self.config` -> config."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def calls(file):
    return (node for node in ast.walk(tree(file)) if isinstance(node, ast.Call))


def test_a_config_is_read_by_attribute_never_by_get():
    """`.get` hides a misspelled key behind a default. Mappings that aren't ours (config.json) have other names."""
    gets = [
        f"{place(file)}:{call.lineno}"
        for file in python_files(PACKAGE, "converters")
        for call in calls(file)
        if isinstance(call.func, ast.Attribute)
        and call.func.attr == "get"
        and CONFIG_NAME.search(names(call.func.value).lower())
    ]
    assert not gets, f"`.get` on a config: {gets}"


def test_only_commands_print():
    prints = [
        f"{place(file)}:{call.lineno}"
        for file in python_files(PACKAGE)
        if not place(file).startswith(MAY_PRINT)
        for call in calls(file)
        if isinstance(call.func, ast.Name) and call.func.id == "print"
    ]
    assert not prints, f"use logging, or return the text to the command: {prints}"


def test_files_stay_small():
    long = []
    for file in python_files(PACKAGE, "converters", "tests", "benchmarks"):
        most, _ = LONGER.get(place(file), (MAX_LINES, ""))
        lines = len(file.read_text(encoding="utf-8").splitlines())
        if lines > most:
            long.append(f"{place(file)} has {lines} lines, at most {most}")
    assert not long, "\n".join(["split them, or list them in LONGER with a reason:", *long])


def test_functions_stay_small():
    long = []
    for file in python_files(PACKAGE, "converters"):
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.FunctionDef) and f"{place(file)}:{node.name}" not in LONGER_FUNCTIONS:
                documented = ast.get_docstring(node, clean=False)
                lines = node.end_lineno - node.lineno + 1 - (documented.count("\n") + 1 if documented else 0)
                if lines > MAX_FUNCTION_LINES:
                    long.append(f"{place(file)}:{node.lineno} {node.name} has {lines} lines")
    assert not long, "\n".join(["split them, or list them in LONGER_FUNCTIONS with a reason:", *long])


def test_no_exception_to_the_sizes_outlives_its_file():
    assert all((ROOT / path).is_file() for path in LONGER)
    for entry in LONGER_FUNCTIONS:
        path, name = entry.split(":")
        assert any(isinstance(node, ast.FunctionDef) and node.name == name for node in ast.walk(tree(ROOT / path)))


def test_no_file_is_a_drawer_for_everything():
    drawers = {"utils.py", "util.py", "common.py", "helpers.py", "misc.py"}
    assert not [place(file) for file in python_files(PACKAGE, "converters") if file.name in drawers]


def requirement_name(line: str) -> str:
    return re.split(r"[\s<>=!~;\[@]", line.strip(), maxsplit=1)[0].lower().replace("_", "-")


def requirements() -> dict[str, list[str]]:
    """Every place that says what is to be installed, with the names it gives."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = pyproject["project"]
    found = {"pyproject.toml": [*project["dependencies"], *pyproject["build-system"]["requires"]]}
    for extra, lines in project["optional-dependencies"].items():
        found[f"pyproject.toml [{extra}]"] = lines
    for file in sorted([*ROOT.glob("*requirements*.txt"), *ROOT.glob("*constraints*.txt")]):
        found[file.name] = [line for line in file.read_text().splitlines() if line.strip() and line[0] not in "#-"]
    return {where: [requirement_name(line) for line in lines] for where, lines in found.items()}


def test_apex_is_never_a_requirement():
    """The `apex` of the package index has nothing to do with NVIDIA's, which comes with images or from source."""
    assert not [where for where, listed in requirements().items() if "apex" in listed]
    installs = re.compile(r"(pip|uv)[\w\s-]*install[^\n]*\bapex\b(?!/)")
    scripts = [file for name in ("Makefile", "Dockerfile*", "*.sh", "*.sbatch") for file in ROOT.rglob(name)]
    scripts += [file for file in (ROOT / ".ci").iterdir() if file.is_file()]
    own = [file for file in scripts if not {".venv", ".git"} & set(file.relative_to(ROOT).parts)]
    assert own
    assert not [place(file) for file in own if installs.search(file.read_text(encoding="utf-8"))]


def test_constraints_hold_anywhere():
    """No paths, no URLs, and no local versions such as +cpu, which only one index has."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if re.fullmatch(r"[\w.-]+==[\w.]+", line)] == lines


def test_constraints_pin_every_direct_requirement():
    listed = requirements()
    pinned = set(listed["constraints.txt"])
    direct = {*listed["pyproject.toml"], *listed["pyproject.toml [dev]"]} - {"hatchling"}
    assert direct <= pinned, f"constraints.txt doesn't pin {sorted(direct - pinned)}"


def test_what_is_imported_is_required():
    """A package that comes along with another one today may not tomorrow."""
    listed = requirements()
    required = {name for where in listed if where.startswith("pyproject") for name in listed[where]}
    standard = sys.stdlib_module_names | {PACKAGE, "tests", "benchmarks", "__future__"}
    optional = {"transformer_engine", "tensorrt_llm"}  # taken where they are, with CUDA; never installed by us
    missing = {}
    for file in python_files(PACKAGE, "converters"):
        for module, line in imports(file):
            top = module.split(".")[0]
            name = DISTRIBUTIONS.get(top, top).replace("_", "-")
            if top not in standard | optional and name not in required:
                missing[top] = f"{place(file)}:{line}"
    assert not missing, f"imported, but not required in pyproject.toml: {missing}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_cli_is_there(name):
    file = ROOT / (COMMANDS[name].module.replace(".", "/") + ".py")
    functions = {node.name: node for node in tree(file).body if isinstance(node, ast.FunctionDef)}
    assert [argument.arg for argument in functions["run"].args.kwonlyargs] == ["dry_run"]


def test_reading_the_cli_loads_no_heavy_library(run_python):
    heavy = ("torch", "transformers", "megatron", "hydra", "matplotlib", "pydantic")
    loaded = run_python(f"import sys, nemo_prorl.cli; print([name for name in {heavy!r} if name in sys.modules])")
    assert loaded == "[]"
