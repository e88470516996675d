"""Where the YAML files lie: in a checkout, under an editable install, inside a wheel, and in folders of your own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import nemo_prorl
from nemo_prorl.errors import ConfigError

Options = Mapping[str, Sequence[str]]
"""Group -> the names of its YAML files: {"recipe": ["prorl", "tiny"], ...}."""


def conf_folder() -> Path:
    """The `conf` folder of this installation.

    Raises:
        ConfigError: there is none.
    """
    package = Path(nemo_prorl.__file__).resolve().parent
    checkout, wheel = package.parent / "conf", package / "conf"
    # A checkout (and so an editable install) has it beside the package, a wheel inside.
    for folder in (wheel, checkout):
        if (folder / "train.yaml").is_file():
            return folder
    raise ConfigError(f"the YAML files are neither in {wheel} nor in {checkout}; install nemo_prorl anew")


def options_in(folders: Sequence[Path]) -> dict[str, list[str]]:
    """The choices that the YAML files in `folders` offer."""
    options: dict[str, set[str]] = {}
    for folder in folders:
        for file in folder.glob("*/**/*.yaml"):
            relative = file.relative_to(folder)
            options.setdefault(relative.parent.as_posix(), set()).add(relative.stem)
    return {group: sorted(names) for group, names in sorted(options.items())}
