"""The site has a place for every page, every link leads somewhere, and what is generated is complete."""

import importlib
import re

import pytest
import yaml

from docs.build import API, ELSEWHERE, lay_out, pages_of
from nemo_prorl.commands.plugin_knobs import plugins
from nemo_prorl.config.load import SCHEMAS
from nemo_prorl.config.reference import settings
from tests.docs.pages import PAGES
from tests.house.source import ROOT

NAV = list(pages_of(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    build = tmp_path_factory.mktemp("build")
    lay_out(build)
    return build / "docs"


def test_every_page_has_its_place_and_no_place_is_empty():
    pages = {ELSEWHERE.get(page.name, page.name) for page in PAGES} | {f"api/{name}.md" for name in API}
    assert not pages - set(NAV), f"give them a place in mkdocs.yml: {sorted(pages - set(NAV))}"
    assert not set(NAV) - pages, f"mkdocs.yml names pages that nobody has written: {sorted(set(NAV) - pages)}"
    assert len(NAV) == len(set(NAV))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_page_or_a_picture_that_is_there(page):
    """Elsewhere than on the site, too: where the file lies. Anchors are the site's builder's to check."""
    targets = {link.partition("#")[0] for link in LINK.findall(page.read_text()) if "://" not in link}
    for target in targets - {""}:
        file = (page.parent / target).resolve()
        assert file.is_file(), f"{page.name} links to {target}, which isn't there"
        assert file in PAGES or file.suffix == ".png" or file.name == "LICENSE", f"{page.name}: {target} isn't a page"


def test_the_tables_of_settings_are_complete(site):
    """Each key of each command, and each plug-in, once it is laid out."""
    text = (site / "settings.md").read_text()
    for root, schema in SCHEMAS.items():
        for setting in settings(schema):
            group, _, key = setting.path.rpartition(".")
            assert (f"`{group}`" in text or not group) and f"| `{key}` |" in text, (root, setting.path)
    assert all(f"**`{plugin.name}`**" in text for plugin in plugins())
    assert "<!--" not in text


def test_pictures_of_elsewhere_are_there(site):
    shown = {link for page in site.glob("*.md") for link in re.findall(r"\]\((images/[^)]+)\)", page.read_text())}
    assert shown and all((site / link).is_file() for link in shown)


@pytest.mark.parametrize("name", API)
def test_the_api_shows_modules_that_are_there_and_say_what_they_are(name):
    for module in API[name][1].split():
        assert importlib.import_module(f"nemo_prorl.{module}").__doc__
