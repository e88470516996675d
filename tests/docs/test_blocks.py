"""Every code block of README, CONTRIBUTING and docs/ is run, or read by what reads it in earnest."""

import ast
import importlib.util
import inspect
import json
import re
import shlex
import subprocess
import tomllib

import pytest
import yaml
from markdown_it import MarkdownIt

from nemo_prorl.cli import COMMANDS
from nemo_prorl.commands.completion import parser_of
from nemo_prorl.config.load import load_config
from nemo_prorl.trainer import ProRLTrainer
from tests.docs.commands import objection, prorl_arguments, settings_objection, whole
from tests.docs.pages import PAGES, blocks, command_lines, of_language, setting_lines
from tests.house.source import ROOT

LANGUAGES = {"", "python", "yaml", "json", "jsonl", "text", "bash"}
# Programs that are run, and what they print compared, elsewhere.
RUN_ELSEWHERE = {
    "docs/evaluation.md": "tests/evaluation/test_documented.py",
    "docs/verifiers.md": "tests/verifiers/test_documented.py",
    "docs/sandbox.md": "tests/verifiers/sandbox/test_documented.py",
}
THE_STEP = "README.md"  # its block is the heart of a method, not a program
CONF_FILE = re.compile(r"# conf/(\w+)/(\w+)\.yaml")


def by_place(items):
    return pytest.mark.parametrize("item", items, ids=lambda item: item.where)


def test_every_block_is_of_a_kind_that_is_tried_here():
    """A block in another language would be tried by nobody."""
    assert not [block.where for block in blocks() if block.language not in LANGUAGES]


PROGRAMS = [block for block in of_language("python") if block.page not in {*RUN_ELSEWHERE, THE_STEP}]


@by_place(PROGRAMS)
def test_a_program_runs(item, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(item.text, item.where, "exec"), {"__name__": "a_program_of_the_documentation"})


@pytest.mark.parametrize(("page", "test"), RUN_ELSEWHERE.items())
def test_what_is_run_elsewhere_is(page, test):
    assert f'"{page.rpartition("/")[2]}"' in (ROOT / test).read_text()


def test_the_step_of_the_readme_calls_what_the_trainer_calls():
    """It leaves things out, but makes up nothing."""
    (block,) = of_language("python")[:1]
    assert block.page == THE_STEP
    source = inspect.getsource(ProRLTrainer.train_step)
    called = [node.func for node in ast.walk(ast.parse(block.text)) if isinstance(node, ast.Call)]
    names = [node.attr if isinstance(node, ast.Attribute) else node.id for node in called]
    assert len(names) > 10
    assert not [name for name in names if f"{name}(" not in source]


@by_place(of_language("yaml"))
def test_yaml_is_read_and_a_file_of_conf_composes(item, tmp_path):
    yaml.safe_load(item.text)
    if found := CONF_FILE.search(item.text):
        group, name = found.groups()
        (tmp_path / group).mkdir()
        (tmp_path / group / f"{name}.yaml").write_text(item.text)
        chosen = f"{group}=[run1,{name}]" if group == "stage" else f"{group}={name}"
        load_config("train", whole("train", [f"hydra.searchpath=[{tmp_path}]", chosen, "recipe=prorl"]))


@by_place(of_language("json", "jsonl"))
def test_json_is_json(item):
    for text in item.text.splitlines() if item.language == "jsonl" else [item.text]:
        json.loads(text)


@by_place(of_language("bash"))
def test_a_shell_can_read_a_script(item):
    assert subprocess.run(["bash", "-n"], input=item.text, text=True, timeout=60).returncode == 0


@by_place(command_lines())
def test_a_command_line_is_understood(item):
    words = item.words
    arguments = prorl_arguments(words)
    if arguments is not None:
        assert not objection(arguments), f"{item.where}: {item.text}: {objection(arguments)}"
    elif words[0] == "make":
        target = next((word for word in words[1:] if "=" not in word), "test")
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), item
    elif words[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(words[2]) is not None, item
    elif words[0] == "pip":
        extras = re.findall(r"\[(\w+)\]", item.text)
        known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert set(extras) <= set(known), item


@by_place(setting_lines())
def test_a_line_of_settings_is_valid(item):
    assert not settings_objection("train", item.words), f"{item.where}: {settings_objection('train', item.words)}"


def inline_commands():
    """The commands that stand inside sentences and tables."""
    for page in PAGES:
        for token in MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8")):
            for child in token.children or []:
                if child.type == "code_inline" and re.match(r"prorl [a-z]", child.content):
                    yield f"{page.name}: {child.content}"


@pytest.mark.parametrize("said", sorted(set(inline_commands())))
def test_a_command_in_a_sentence_is_understood(said):
    arguments = shlex.split(said.partition(": prorl ")[2])
    known = [word for word in arguments if not re.fullmatch(r"KEY=VALUE|<\w+>", word)]
    *names, last = known
    only_names = all(re.fullmatch(r"[a-z][a-z-]*", word) for word in names)
    if only_names and last.startswith("--") and last != "--help":  # `prorl analyze --corpus` names an option
        assert last in help_of(known[0]), said
        return
    if only_names and re.fullmatch(r"[a-z][a-z-]*", last):  # `prorl convert compare` names a command
        known = [*known, "--help"]
    assert not objection(known), f"{said}: {objection(known)}"


def help_of(command):
    if COMMANDS[command].settings:
        return ("--dry-run", "--world-size")
    return [name for action in options_below(parser_of(command, COMMANDS)) for name in action.option_strings]


def options_below(parser):
    for action in parser._actions:
        yield action
        for below in (action.choices or {}).values() if isinstance(action.choices, dict) else ():
            yield from options_below(below)
