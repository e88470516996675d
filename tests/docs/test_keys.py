"""Keys that pages name are there: those of the tables for people who come from elsewhere, and all others."""

import re

import pytest
from markdown_it import MarkdownIt

from nemo_prorl.commands.plugin_knobs import plugins
from nemo_prorl.config.load import SCHEMAS
from nemo_prorl.config.reference import settings
from tests.docs.pages import PAGES
from tests.house.source import ROOT

STAGE = "recipe.stages.<stage>."
# What is no key but stands where keys do.
OTHERWISE = {"verifier", "task", "prorl train", "prorl train model.path=..."}


def known_keys():
    """Every key and every group of keys, with a plug-in's knobs; <names> that a user gives are `*`."""
    paths = {setting.path for schema in SCHEMAS.values() for setting in settings(schema)}
    paths |= {knob.path for plugin in plugins() for knob in plugin.knobs}
    paths |= {f"{plugin.setting}.name" for plugin in plugins()}
    paths |= {f"{STAGE}shaping.<label>"}
    paths |= {"recipe.common"} | {path.replace("stages.<stage>", "common") for path in paths}
    whole = {".".join(path.split(".")[:end]) for path in paths for end in range(1, len(path.split(".")) + 1)}
    return {re.sub(r"<\w+>", "*", path) for path in whole}


KNOWN = known_keys()
ROOTS = {path for path in KNOWN if "." not in path}


def is_known(key):
    """Names in a page's key are of its own making: they match `*`."""
    parts = key.split(".")
    return any(
        len(parts) == len(path) and all(p in ("*", part) or "<" in part for p, part in zip(path, parts, strict=True))
        for path in (path.split(".") for path in KNOWN)
    )


def mapped():
    """What the tables of docs/coming_from.md have in their second column."""
    for line in (ROOT / "docs" / "coming_from.md").read_text().splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 3 and cells[1] not in ("here", "---"):
            yield from re.findall(r"`([^`]+)`", cells[1])


@pytest.mark.parametrize("key", sorted(set(mapped()) - OTHERWISE))
def test_a_key_that_others_are_mapped_to_is_there(key):
    metrics = (ROOT / "docs" / "metrics.md").read_text()
    assert is_known(key) or is_known(STAGE.replace("<stage>", "any") + key) or f"`{key}`" in metrics


def named():
    """Dotted keys in the sentences and tables of every page, by the page."""
    for page in PAGES:
        for token in MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8")):
            for child in token.children or []:
                if child.type == "code_inline" and (found := re.match(r"[+~]*([a-z_]+(?:\.[\w<>*]+)+)", child.content)):
                    yield page.name, found[1]


def test_every_key_that_a_page_names_is_there():
    foreign = {"coming_from.md"}  # half of whose keys are other people's
    gone = sorted(
        f"{page}: {key}"
        for page, key in set(named())
        if page not in foreign and key.split(".")[0] in ROOTS and not is_known(key)
    )
    assert not gone, f"no such settings: {gone}"
