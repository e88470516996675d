"""What an image's Python has already, which stays, and what we add to it. By the standard library alone.

site_packages.py freeze --ours constraints.txt > constraint.txt    what is there, and our pins of what isn't
site_packages.py missing pyproject.toml                            our requirements that aren't there
site_packages.py check --frozen site.txt torch apex                nothing was replaced, and these are there
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from importlib.metadata import distributions
from pathlib import Path


def name_of(requirement: str) -> str:
    """
    >>> name_of("Nemo_Aligner==0.7.0 # as the interface is")
    'nemo-aligner'
    """
    return re.sub(r"[-_.]+", "-", re.split(r"[\s<>=!~;\[@]", requirement.strip(), maxsplit=1)[0]).lower()


def installed() -> dict[str, str]:
    """Version by name of every distribution that Python finds."""
    return {name_of(one.metadata["Name"]): one.version for one in distributions() if one.metadata["Name"]}


def pins(lines: Iterable[str]) -> dict[str, str]:
    """Version by name of lines such as `numpy==2.0`."""
    return {name_of(line): line.partition("==")[2].strip() for line in lines if "==" in line and line[0] != "#"}


def frozen(site: Mapping[str, str], ours: Mapping[str, str]) -> list[str]:
    """Constraints under which pip adds to `site` and replaces nothing: its own versions, and ours of what it lacks."""
    return [f"{name}=={version}" for name, version in sorted({**ours, **site}.items())]


def missing(requirements: Iterable[str], site: Mapping[str, str]) -> list[str]:
    return [requirement for requirement in requirements if name_of(requirement) not in site]


def replaced(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What is no longer what it was."""
    return [
        f"{name} {version} -> {now.get(name, 'gone')}" for name, version in before.items() if now.get(name) != version
    ]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    freeze = verbs.add_parser("freeze")
    freeze.add_argument("--ours", type=Path)
    verbs.add_parser("missing").add_argument("pyproject", type=Path)
    check = verbs.add_parser("check")
    check.add_argument("--frozen", type=Path, required=True)
    check.add_argument("required", nargs="*")
    options = parser.parse_args(arguments)
    site = installed()
    if options.verb == "freeze":
        ours = pins(options.ours.read_text().splitlines()) if options.ours else {}
        print("\n".join(frozen(site, ours)))
    elif options.verb == "missing":
        project = tomllib.loads(options.pyproject.read_text())["project"]
        print("\n".join(missing(project["dependencies"], site)))
    else:
        wrong = replaced(pins(options.frozen.read_text().splitlines()), site)
        wrong += [f"{name} isn't in this image" for name in options.required if name_of(name) not in site]
        wanted = pins(options.required)
        wrong += [
            f"{name} is {site[name]}, not {want}" for name, want in wanted.items() if site.get(name, want) != want
        ]
        print("\n".join(wrong) or "nothing was replaced, and all is there", file=sys.stderr)
        return 1 if wrong else 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
