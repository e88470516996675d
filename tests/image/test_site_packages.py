"""What the Dockerfile relies on: nothing of the base image is replaced, and what we add has our versions."""

from __future__ import annotations

import importlib.util
import re
import tomllib

import pytest

from tests.end_to_end.runs import ROOT

SPEC = importlib.util.spec_from_file_location("site_packages", ROOT / "docker" / "site_packages.py")
site_packages = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(site_packages)

BASE = {"torch": "2.10.0a0+nv25.12", "numpy": "1.26.4", "transformers": "4.57.3"}


def test_what_the_image_has_keeps_its_version_and_what_it_lacks_gets_ours():
    ours = site_packages.pins(["# a comment", "numpy==2.4.6", "math-verify==0.9.0", "Reasoning_Gym==0.1.25"])
    assert site_packages.frozen(BASE, ours) == [
        *("math-verify==0.9.0", "numpy==1.26.4", "reasoning-gym==0.1.25"),
        *("torch==2.10.0a0+nv25.12", "transformers==4.57.3"),
    ]


def test_only_what_is_missing_is_installed():
    assert site_packages.missing(["torch>=2.6", "transformers>=5,<6", "rensa>=0.5,<0.6"], BASE) == ["rensa>=0.5,<0.6"]


def test_what_was_replaced_or_is_gone_is_named():
    assert site_packages.replaced(BASE, BASE | {"rensa": "0.5"}) == []
    assert site_packages.replaced(BASE, {"torch": "2.10.0", "numpy": "1.26.4"}) == [
        *("torch 2.10.0a0+nv25.12 -> 2.10.0", "transformers 4.57.3 -> gone")
    ]


@pytest.mark.parametrize(
    ("required", "code"), [(["torch"], 0), (["torch", "no-such-thing"], 1), (["torch==0.0.1"], 1), (["numpy"], 0)]
)
def test_the_build_ends_where_a_version_is_not_the_one_asked_for(tmp_path, required, code):
    (tmp_path / "site.txt").write_text("\n".join(site_packages.frozen(site_packages.installed(), {})))
    assert site_packages.main(["check", "--frozen", str(tmp_path / "site.txt"), *required]) == code


def test_the_dockerfiles_versions_are_those_of_our_requirements():
    """Each ARG ..._VERSION of a package that pyproject.toml or constraints.txt names."""
    pins = site_packages.pins((ROOT / "constraints.txt").read_text().splitlines())
    arguments = dict(re.findall(r"^ARG (\w+)_VERSION=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    named = {name.lower().replace("_", "-"): version for name, version in arguments.items()}
    checked = named.keys() & pins.keys()
    assert {"torch", "megatron-core", "nemo-aligner", "math-verify", "reasoning-gym"} <= checked
    assert {name: named[name] for name in checked} == {name: pins[name] for name in checked}


def test_every_requirement_of_ours_is_pinned_for_the_image():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = site_packages.pins((ROOT / "constraints.txt").read_text().splitlines())
    assert {site_packages.name_of(line) for line in project["dependencies"]} <= pins.keys()
