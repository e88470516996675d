"""Records of published data sets, streamed: from the Hugging Face hub at a fixed revision, or from downloaded files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

from nemo_prorl.data.prepare.base import JSON, Card, Record, shown
from nemo_prorl.data.prepare.files import sha256
from nemo_prorl.data.prepare.passes import Rejection
from nemo_prorl.errors import DataError

# How `datasets` reads a file. JSONL is read as text and parsed here: it takes a table's columns from a file's first
# lines, and gives up at a line whose arguments have other names or types.
BUILDERS = {".jsonl": "text", ".ndjson": "text", ".json": "json", ".parquet": "parquet", ".arrow": "arrow"}
COMPRESSED = (".gz", ".zst", ".xz", ".bz2")


@dataclass(frozen=True)
class Part:
    """What `datasets.load_dataset` is given; `name` is for messages."""

    name: str
    builder: str
    arguments: Mapping[str, Any]

    @property
    def is_lines(self) -> bool:
        return self.builder == "text"

    def open(self) -> Any:
        # Bytes that aren't UTF-8 become \xff, which is no JSON: one record is rejected, not all of them.
        more = {"encoding_errors": "backslashreplace"} if self.is_lines else {}
        return datasets.load_dataset(self.builder, **self.arguments, **more, streaming=True)


class PublishedRecords:
    """Records of some parts, one after the other; see `Records`. Each part may have columns of its own."""

    total = None

    def __init__(self, parts: Sequence[Part], origin: JSON) -> None:
        self._parts, self.origin = parts, origin

    def start(self, position: JSON) -> Iterator[tuple[Record | Rejection, JSON]]:
        datasets.disable_progress_bars()
        begun = position or {"part": 0, "state": None}
        for number in range(begun["part"], len(self._parts)):
            part, state = self._parts[number], begun["state"] if number == begun["part"] else None
            read = 0
            try:
                table = part.open()
                if state is not None:
                    table.load_state_dict(state)
                for raw in table:
                    read += 1
                    if part.is_lines and not raw["text"].strip():
                        continue
                    yield _record(raw, part), _Position(number, table)
            except Exception as error:
                raise DataError(
                    f"{part.name} can't be read after {read:,} records of this try: {type(error).__name__}: "
                    f"{shown(str(error), 300)}. Start the same command again: it goes on from what was read; or give "
                    "downloaded files by `folder`"
                ) from error

    def findings(self) -> JSON:
        return None


class _Position(Mapping[str, Any]):
    """Where one is; asked for seldom, since telling it costs more than reading a record."""

    def __init__(self, part: int, table: Any) -> None:
        self._part, self._table = part, table

    def _told(self) -> dict[str, Any]:
        return {"part": self._part, "state": self._table.state_dict()}

    def __getitem__(self, key: str) -> Any:
        return self._told()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._told())

    def __len__(self) -> int:
        return 2


def _record(raw: Mapping[str, Any], part: Part) -> Record | Rejection:
    if not part.is_lines:
        return raw
    try:
        text = raw["text"]
        text.encode()
        record = json.loads(text)
    except (ValueError, RecursionError) as error:  # bad UTF-8 and bad JSON alike
        return Rejection("not JSON in UTF-8", shown(str(error)))
    return record if isinstance(record, dict) else Rejection("not a JSON object", shown(record))


def from_hub(card: Card, revision: str | None) -> PublishedRecords:
    """The source on the hub, as of `revision`: a commit, a branch or a tag; None: its newest.

    What is read, is read at the commit that this stands for now; `origin` says which.

    Raises:
        DataError: the hub can't be reached, or has no such data set or revision.
    """
    assert card.hub is not None
    try:
        commit = HfApi().dataset_info(card.hub, revision=revision, timeout=30).sha
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise DataError(f"{card.hub} at revision {revision or 'main'} isn't on the hub: {shown(str(error), 300)}") from error
    except Exception as error:
        raise DataError(
            f"the hub can't be asked for {card.hub}: {type(error).__name__}: {shown(str(error), 200)}. Without network: "
            "download the files elsewhere and give their folder by `folder`"
        ) from error
    common = {"split": card.split, "revision": commit}
    if card.lines:
        files = f"hf://datasets/{card.hub}@{commit}/{card.lines}"
        part = Part(f"{card.hub} ({card.lines})", "text", {"data_files": files, "split": "train"})
    else:
        part = Part(card.hub, card.hub, {"name": card.config, **common})
    return PublishedRecords([part], {"hub": card.hub, "config": card.config, "split": card.split, "revision": commit})


def from_folder(card: Card, folder: Path) -> PublishedRecords:
    """The source as downloaded files: JSONL, JSON, Parquet or Arrow, compressed or not, in `folder` or below.

    Where some paths name the split as a word (train-00000.parquet), those are taken and no others.

    Raises:
        DataError: there is no such folder, or nothing to read in it.
    """
    if not folder.is_dir():
        raise DataError(f"folder={str(folder)!r} of {card.title} isn't there (looked from {Path.cwd()})")
    files = sorted(file for file in folder.rglob("*") if _builder(file) and not _is_hidden(file, folder))
    files = [file for file in files if _names(card.split, file.relative_to(folder))] or files
    if not files:
        raise DataError(f"folder={str(folder)!r} of {card.title} has no files that end in {', '.join(BUILDERS)}")
    parts = [Part(str(file), _builder(file), {"data_files": [str(file)], "split": "train"}) for file in files]
    about = [{"path": str(file.relative_to(folder)), "bytes": file.stat().st_size, "sha256": sha256(file)} for file in files]
    return PublishedRecords(parts, {"files": about})


def _builder(file: Path) -> str:
    """What reads a file, "" for one that nothing does."""
    if not file.is_file() or file.name in ("state.json", "dataset_info.json", "dataset_dict.json"):
        return ""
    suffix = Path(file.stem).suffix if file.suffix in COMPRESSED else file.suffix
    if suffix == ".json" and file.suffix not in COMPRESSED:
        with file.open("rb") as opened:
            return "json" if opened.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"[" else "text"
    return BUILDERS[suffix] if suffix in BUILDERS else ""


def _is_hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith((".", "_")) for part in file.relative_to(folder).parts)


def _names(split: str, path: Path) -> bool:
    """Whether a path names the split as a word of its own: train-00000-of-00002.parquet, data/train/0.parquet."""
    words = [word for part in path.parts for word in part.replace(".", "-").split("-")]
    return split in words


