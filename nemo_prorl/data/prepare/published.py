"""Records of published data sets, streamed: from the Hugging Face hub at a fixed commit, or from downloaded files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import IO, Any

import datasets
from huggingface_hub import HfApi, HfFileSystem
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

from nemo_prorl.data.prepare.base import JSON, Card, Record, shown
from nemo_prorl.data.prepare.files import sha256
from nemo_prorl.data.prepare.passes import Rejection
from nemo_prorl.errors import DataError

# JSON is read as text by `datasets` and parsed here: its own reader takes the columns from a file's first lines, gives
# up at a line whose fields have other names, and puts a column of several types into quotes.
BUILDERS = {".jsonl": "lines", ".ndjson": "lines", ".json": "json", ".parquet": "parquet", ".arrow": "arrow"}
COMPRESSED = (".gz", ".zst", ".xz", ".bz2")
NO_DATA = ("state.json", "dataset_info.json", "dataset_dict.json", "dataset_infos.json", "config.json")


@dataclass(frozen=True)
class Part:
    """One file. `kind`: lines (JSON a line), array (one JSON array), parquet or arrow; `url` as `datasets` takes it."""

    name: str
    kind: str
    url: str

    def records(self, state: Any) -> Iterator[tuple[Record | Rejection, Callable[[], Any]]]:
        """From `state` on, each with what tells the state after it."""
        if self.kind == "array":
            yield from self._array(state or 0)
            return
        table = self._open()
        if state is not None:
            table.load_state_dict(state)
        for raw in table:
            if self.kind != "lines":
                yield raw, table.state_dict
            elif raw["text"].strip():
                yield parsed(raw["text"]), table.state_dict

    def _array(self, begin: int) -> Iterator[tuple[Record | Rejection, Callable[[], Any]]]:
        text = "".join(raw["text"] for raw in self._open(sample_by="document"))
        items = json.loads(text.removeprefix("\ufeff"))
        for number, item in enumerate(islice(items, begin, None), start=begin + 1):
            record = item if isinstance(item, dict) else Rejection("not a JSON object", shown(item))
            yield record, lambda number=number: number  # type: ignore[misc]

    def _open(self, **more: Any) -> Any:
        if self.kind in ("lines", "array"):
            # Bytes that aren't UTF-8 become \\xff, which is no JSON: one record is rejected, not all of them.
            more |= {"path": "text", "encoding_errors": "backslashreplace"}
        else:
            more |= {"path": self.kind}
        return datasets.load_dataset(**more, data_files=[self.url], split="train", streaming=True)


def parsed(line: str) -> Record | Rejection:
    """A line of JSONL."""
    try:
        record = json.loads(line.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        return Rejection("not JSON in UTF-8", shown(str(error)))
    return record if isinstance(record, dict) else Rejection("not a JSON object", shown(record))


class PublishedRecords:
    """Records of some files, one after the other; see `Records`. Each file may have columns of its own."""

    def __init__(self, parts: Sequence[Part], origin: JSON) -> None:
        self._parts, self.origin = parts, origin

    def start(self, position: JSON) -> Iterator[tuple[Record | Rejection, Callable[[], JSON]]]:
        datasets.disable_progress_bars()
        begun = position or {"part": 0, "state": None}
        for number in range(begun["part"], len(self._parts)):
            part, state, read = self._parts[number], begun["state"] if number == begun["part"] else None, 0
            try:
                for record, told in part.records(state):
                    read += 1
                    yield record, lambda told=told, number=number: {"part": number, "state": told()}  # type: ignore[misc]
            except Exception as error:
                raise DataError(
                    f"{part.name} can't be read after {read:,} records of this try: {type(error).__name__}: "
                    f"{shown(str(error), 300)}. Start the same command again: it goes on from what was read; or give "
                    "downloaded files by `folder`"
                ) from error

    def findings(self) -> JSON:
        return None


def from_hub(card: Card, revision: str | None, files: str | None) -> PublishedRecords:
    """The source on the hub, as of `revision`: a commit, a branch or a tag; None: its newest.

    What is read, is read at the commit that this stands for now; `origin` says which. `files`: see `chosen`.

    Raises:
        DataError: the hub can't be reached, or has no such data set, revision or files.
    """
    assert card.hub is not None
    try:
        about = HfApi().dataset_info(card.hub, revision=revision, timeout=30)
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        reason = shown(str(error), 300)
        raise DataError(f"{card.hub} at revision {revision or 'main'} isn't on the hub: {reason}") from error
    except Exception as error:
        raise _unreachable(card.hub, error) from error
    place = f"datasets/{card.hub}@{about.sha}"
    names = chosen([sibling.rfilename for sibling in about.siblings or []], card, files, f"{card.hub} on the hub")
    try:
        parts = [_part(f"{card.hub}: {name}", f"hf://{place}/{name}", _hub_file(f"{place}/{name}")) for name in names]
    except Exception as error:
        raise _unreachable(card.hub, error) from error
    return PublishedRecords(parts, {"hub": card.hub, "revision": about.sha, "files": names})


def _unreachable(hub: str, error: Exception) -> DataError:
    return DataError(
        f"the hub can't be asked for {hub}: {type(error).__name__}: {shown(str(error), 200)}. Without network, "
        "download the files elsewhere and give their folder by `folder`"
    )


def from_folder(card: Card, folder: Path, files: str | None) -> PublishedRecords:
    """The source as downloaded files: JSONL, JSON, Parquet or Arrow, compressed or not, in `folder` or below.

    `files`: see `chosen`.

    Raises:
        DataError: there is no such folder, or nothing to read in it.
    """
    if not folder.is_dir():
        raise DataError(f"folder={str(folder)!r} of {card.title} isn't there (looked from {Path.cwd()})")
    there = [str(PurePosixPath(file.relative_to(folder))) for file in sorted(folder.rglob("*")) if file.is_file()]
    names = chosen(there, card, files, f"folder={str(folder)!r} of {card.title}")
    paths = [folder / name for name in names]
    parts = [_part(str(path), str(path), _local_file(path)) for path in paths]
    about = [
        {"path": name, "bytes": path.stat().st_size, "sha256": sha256(path)}
        for name, path in zip(names, paths, strict=True)
    ]
    return PublishedRecords(parts, {"files": about})


def chosen(there: Iterable[str], card: Card, files: str | None, where: str) -> list[str]:
    """Which files are read: those that match the pattern `files`, or else the card's; or else those whose paths name
    the card's split as a word, such as data/train-00000-of-00002.parquet; or else all that can be read.

    Raises:
        DataError: none; the message begins with `where`.
    """
    readable = [name for name in sorted(there) if _kind(PurePosixPath(name))]
    if files is not None:
        found = [name for name in readable if fnmatch(name, files)]
    else:
        found = [name for name in readable if card.files and fnmatch(name, card.files)]
        found = found or [name for name in readable if card.split in _words(name)] or readable
    if not found:
        wanted = f"match {files!r} and end" if files else "end"
        raise DataError(
            f"{where} has no files that {wanted} in {', '.join(BUILDERS)}; it has {shown(sorted(there), 200)}"
        )
    return found


def _kind(path: PurePosixPath) -> str:
    """How a file is read; "" for one that isn't."""
    suffix = PurePosixPath(path.stem).suffix if path.suffix in COMPRESSED else path.suffix
    is_hidden = any(part.startswith((".", "_")) for part in path.parts)
    return BUILDERS[suffix] if suffix in BUILDERS and not is_hidden and path.name not in NO_DATA else ""


def _words(path: str) -> list[str]:
    return path.replace("/", "-").replace(".", "-").split("-")


def _part(name: str, url: str, start_of: Callable[[], IO[bytes]]) -> Part:
    path = PurePosixPath(url)
    kind = _kind(PurePosixPath(path.name))
    if kind == "json":
        kind = "lines"
        if path.suffix not in COMPRESSED:
            with start_of() as file:
                kind = "array" if file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"[" else "lines"
    return Part(name, kind, url)


def _hub_file(path: str) -> Callable[[], IO[bytes]]:
    return lambda: HfFileSystem().open(path, "rb")


def _local_file(path: Path) -> Callable[[], IO[bytes]]:
    return lambda: path.open("rb")
