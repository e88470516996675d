"""What a prepared file says of itself: where it is from, under which licence, what was left out and why."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nemo_prorl import __version__
from nemo_prorl.data.prepare.base import JSON, Card, shown
from nemo_prorl.data.prepare.files import write_json
from nemo_prorl.errors import DataError

MANIFEST = "{}.manifest.json"
FORMAT = 1


@dataclass(frozen=True)
class Manifest:
    """<source>.manifest.json, beside the prepared files.

    `identity` is what the preparation was asked for, origin and revision included: the same identity gives the same
    bytes. `records` is how many were read; `rejected` counts by step and reason; `files` has rows, bytes and sha256 by
    name; `findings` is what else the records' reader had to tell.
    """

    name: str
    card: Card
    identity: Mapping[str, Any]
    records: int
    rejected: Mapping[str, Mapping[str, int]]
    kept: int
    files: Mapping[str, Mapping[str, Any]]
    findings: JSON = None
    nemo_prorl: str = __version__
    format: int = FORMAT

    @property
    def rows(self) -> int:
        """Of all files together."""
        return sum(file["rows"] for file in self.files.values())

    def write(self, path: Path) -> None:
        write_json(path, asdict(self))

    @classmethod
    def read_all(cls, folder: Path) -> list[Manifest]:
        """Those of a folder, by name."""
        return [manifest for path in sorted(folder.glob(MANIFEST.format("*"))) if (manifest := cls.read(path))]

    @classmethod
    def read(cls, path: Path) -> Manifest | None:
        """The manifest in a file; None if it isn't there.

        Raises:
            DataError: it is no manifest of ours.
        """
        if not path.exists():
            return None
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{**fields, "card": Card(**fields["card"])})
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{path} isn't a manifest of `prorl data prepare` ({error}); move it away, or choose another folder"
            ) from error


def changes(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """What is different, by dotted path.

    >>> changes({"seed": 0, "settings": {"a": 1}}, {"seed": 1, "settings": {"a": 1}})
    'seed was 0, is now 1'
    """
    return "; ".join(f"{path} was {shown(old)}, is now {shown(new)}" for path, old, new in _changes(found, wanted))


def _changes(found: Any, wanted: Any, before: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        for key in {**found, **wanted}:
            old, new = (side.get(key, "missing") for side in (found, wanted))
            yield from _changes(old, new, f"{before}.{key}" if before else str(key))
    elif found != wanted:
        yield before, found, wanted
