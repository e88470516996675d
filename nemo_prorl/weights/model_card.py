"""README.md of an exported model: what it was made of and how, and no word about how good it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nemo_prorl

CARD = "README.md"
_HUB_NAME_PARTS = 2  # organisation/model


def base_model_of(folder: Path, config: Mapping[str, Any]) -> str:
    """What to call the model in `folder`: its name on the hub where its config knows it, else the folder's."""
    named = dict(config).get("_name_or_path")
    if isinstance(named, str) and len(named.split("/")) == _HUB_NAME_PARTS and not named.startswith((".", "/", "~")):
        return named
    return folder.resolve().name


def model_card(
    title: str, base_model: str, story: str, settings: Mapping[str, Any], *, method: str | None = None
) -> str:
    """The card's text. `story` tells in a paragraph what was done to `base_model`; `settings` become a table.

    `method`: the hub's tag for how it was trained, where it was.
    """
    tags = ["nemo-prorl", *([method] if method else [])]
    front = ["---", "library_name: transformers", "pipeline_tag: text-generation", f"tags: {json.dumps(tags)}"]
    if len(base_model.split("/")) == _HUB_NAME_PARTS:
        front.append(f"base_model: {base_model}")
    rows = [f"| {key} | {_cell(value)} |" for key, value in settings.items()]
    table = ["", "## Settings", "", "| setting | value |", "|---|---|", *rows] if rows else []
    return "\n".join(
        [
            *front,
            "---",
            "",
            f"# {title}",
            "",
            f"Base model: {base_model}",
            "",
            story,
            *table,
            "",
            "## What this card doesn't say",
            "",
            "It was written by a program that knows the settings and nothing else. Nobody has looked at what the model "
            "says, at its safety, or at how it compares with its base; measure it before you rely on it. The base "
            "model's license and limits hold for this one too.",
            "",
            f"Written by nemo-prorl {nemo_prorl.__version__}.",
            "",
        ]
    )


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text.replace("|", "\\|").replace("\n", " ")
