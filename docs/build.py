"""Lays out the documentation's pages and builds the site, strictly: `python -m docs.build` (`make docs`).

Pages are written to be read where they lie, so they are copied, with links made to fit, to build/docs; the API and the
tables of settings are added there, from docstrings and from the schema, and so never lag behind. Nothing is fetched.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nemo_prorl.commands.plugin_knobs import Plugin, plugins
from nemo_prorl.commands.settings import ROOTS
from nemo_prorl.config.load import SCHEMAS
from nemo_prorl.config.reference import Setting, sections

ROOT = Path(__file__).resolve().parents[1]
# A file that isn't in docs/, and its page.
ELSEWHERE = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md"}
# A page of the API: its title and whose docstrings it shows.
API = {
    "data": ("Nouns", "data.prompt data.trajectory data.batch data.sampling data.sources.base recipe"),
    "algorithm": (
        "Mathematics",
        "algorithm.advantage algorithm.objective algorithm.ratio algorithm.kl algorithm.reduction algorithm.correction "
        "algorithm.shaping algorithm.reset algorithm.plateau algorithm.ending algorithm.alarms algorithm.diagnostics",
    ),
    "verifiers": ("Verifiers", "verifiers.base verifiers.pool verifiers.sandbox.contract verifiers.sandbox.client"),
    "rollout": ("Rollout engines", "rollout.engine rollout.collector rollout.scripted_engine"),
    "trainer": ("Actor and trainer", "actor.interface actor.phases trainer plugins"),
    "weights": ("Weights", "weights.architecture weights.mapping weights.families weights.families.decoder"),
    "errors": ("Errors", "errors"),
}
TABLES = re.compile(r"^<!-- tables of settings: (\S+) -->$", re.MULTILINE)
KNOBS = re.compile(r"^<!-- tables of plug-ins -->$", re.MULTILINE)
LINK = re.compile(r"(?<=\]\()([^)#\s]+)(?=[)#])")


def lay_out(build: Path) -> None:
    """Write every page below `build`/docs, and the configuration beside it."""
    docs = build / "docs"
    shutil.rmtree(docs, ignore_errors=True)
    docs.mkdir(parents=True)
    for source in (*(ROOT / name for name in ELSEWHERE), *sorted((ROOT / "docs").glob("*.md"))):
        text = source.read_text(encoding="utf-8")
        text = TABLES.sub(lambda found: settings_tables(found[1]), text)
        text = KNOBS.sub(lambda _: plugin_tables(), text)
        (docs / ELSEWHERE.get(source.name, source.name)).write_text(_linked(text, source, docs), encoding="utf-8")
    (docs / "api").mkdir()
    for name, (title, modules) in API.items():
        blocks = [f"# {title}", *(f"::: nemo_prorl.{module}" for module in modules.split())]
        (docs / "api" / f"{name}.md").write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    shutil.copyfile(ROOT / "mkdocs.yml", build / "mkdocs.yml")


def pages_of(nav: list[Any]) -> Iterator[str]:
    """The pages that a navigation names."""
    for entry in nav:
        (below,) = entry.values()
        yield from pages_of(below) if isinstance(below, list) else [below]


def settings_tables(command: str) -> str:
    """A table for each group of the settings of a command, as `prorl settings --of` names it."""
    parts = []
    for section in sections(SCHEMAS[ROOTS[command]]):
        heading = f"### {command}: `{section.path}`" if section.path else f"### {command}: the topmost"
        parts += [heading, section.meaning, _table(section.settings)]
    return "\n\n".join(filter(None, parts))


def plugin_tables() -> str:
    """What the settings that choose plug-ins choose from, each with its knobs."""
    parts, setting = [], ""
    for plugin in plugins():
        if plugin.setting != setting:
            setting = plugin.setting
            parts.append(f"### Plug-ins of `{setting}`")
        parts += [f"**`{plugin.name}`** {plugin.meaning}", _knobs(plugin)]
    return "\n\n".join(filter(None, parts))


def _knobs(plugin: Plugin) -> str:
    return _table(plugin.knobs) if plugin.knobs else ""


def _table(settings: tuple[Setting, ...]) -> str:
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for one in settings:
        default = "to be given" if one.default is None else f"`{one.default}`" if one.default else "empty"
        cells = [f"`{one.path.rpartition('.')[2]}`", f"{one.kind} {one.allowed}".strip(), default, one.meaning]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def _linked(text: str, source: Path, docs: Path) -> str:
    """`text` with its links to other files as the site has them; pictures that it shows are copied there."""

    def moved(found: re.Match[str]) -> str:
        target = (source.parent / found[1]).resolve()
        if "://" in found[1] or not target.is_relative_to(ROOT):
            return found[1]
        place = target.relative_to(ROOT).as_posix()
        if target.suffix != ".png":
            return ELSEWHERE.get(place, place.removeprefix("docs/"))
        picture = docs / "images" / target.name
        picture.parent.mkdir(exist_ok=True)
        if target.is_file():
            shutil.copyfile(target, picture)
        return f"images/{target.name}"

    return LINK.sub(moved, text)


def main() -> int:
    """Lay out and build; the exit code is Zensical's, which fails on a dead link or an unknown name."""
    build = ROOT / "build"
    lay_out(build)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", str(build / "mkdocs.yml")]
    return subprocess.run(command, timeout=300).returncode


if __name__ == "__main__":
    sys.exit(main())
