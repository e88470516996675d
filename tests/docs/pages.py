"""The pages of the documentation as their tests read them: code blocks by kind, and the commands in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

from tests.house.source import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = ("prorl", "torchrun", "make", "python", "pip", "hf", "srun", "sbatch", "zcat")
SETTING = re.compile(r"[+~]{0,2}[a-z_]+(\.[a-z_A-Z0-9<>]+)*=(?!\$)")


class Block(NamedTuple):
    """A code block. `language` is "" for one that is only indented; `where` as messages name it."""

    page: str
    line: int
    language: str
    text: str

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"


class Line(NamedTuple):
    """A command line of a shell block, without the remark that may stand beside it."""

    where: str
    text: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text, comments=True)


@cache
def blocks() -> tuple[Block, ...]:
    """Every code block of every page."""
    return tuple(block for page in PAGES for block in blocks_of(page))


def blocks_of(page: Path) -> Iterator[Block]:
    """The code blocks of one page, in order."""
    name = page.relative_to(ROOT).as_posix()
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type in ("fence", "code_block"):
            yield Block(name, (token.map or [0])[0] + 1, token.info.strip(), token.content)


def of_language(*languages: str) -> list[Block]:
    return [block for block in blocks() if block.language in languages]


def command_lines() -> list[Line]:
    """Every line of an indented or a shell block that calls a program; those that go on in the next are one."""
    return [line for block in of_language("", "bash") for line in _lines(block) if line.text.split(" ")[0] in PROGRAMS]


def setting_lines() -> list[Line]:
    """Every line of an indented block that begins with a setting, KEY=VALUE, and calls no program."""
    return [line for block in of_language("") for line in _lines(block) if SETTING.match(line.text)]


def _lines(block: Block) -> Iterator[Line]:
    joined = re.sub(r"\s*\\\n\s*", " ", block.text)
    for number, raw in enumerate(joined.splitlines()):
        # What stands two blanks or more to the right is a remark, unless it shows options: [--option N].
        text, *rest = re.split(r"\s{2,}", raw.strip(), maxsplit=1)
        options = rest[0].translate({ord("["): "", ord("]"): ""}) if rest and rest[0].startswith("[--") else ""
        yield Line(f"{block.page}:{block.line + number}", f"{text} {options}".strip())
