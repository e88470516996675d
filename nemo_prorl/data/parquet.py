"""Parquet: rows with the columns of the JSONL files (`reference` and `metadata` as JSON text), and tables by column."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, Literal

import pyarrow
import pyarrow.parquet

from nemo_prorl.data.kept import kept_whole
from nemo_prorl.errors import DataError

# Small groups: one is what a reader has to unpack for a single row.
ROWS_PER_GROUP = 256
AS_TEXT = ("reference", "metadata")
_TEXT = pyarrow.string()
SCHEMA = pyarrow.schema(
    [
        *((name, _TEXT) for name in ("uid", "domain", "task", "source")),
        ("messages", pyarrow.list_(pyarrow.struct([("role", _TEXT), ("content", _TEXT)]))),
        *((name, _TEXT) for name in ("verifier", *AS_TEXT)),
    ]
)


def write_parquet(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Rows, as JSONL has them, as a file that appears whole or not at all. The same rows give the same bytes.

    Raises:
        OSError: the system refuses.
    """
    left = iter(rows)
    with kept_whole(path) as file, pyarrow.parquet.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        while group := [_packed(row) for row in islice(left, ROWS_PER_GROUP)]:
            writer.write_table(pyarrow.Table.from_pylist(group, SCHEMA))


Kind = Literal["text", "integer", "number", "tokens"]
KINDS = {
    "text": _TEXT,
    "integer": pyarrow.int64(),
    "number": pyarrow.float64(),
    "tokens": pyarrow.list_(pyarrow.int32()),
}


def write_table(path: Path, columns: Mapping[str, Kind], values: Mapping[str, Sequence[Any]]) -> None:
    """A table as a file that appears whole or not at all. The same values give the same bytes.

    Raises:
        OSError: the system refuses.
    """
    schema = pyarrow.schema([(name, KINDS[kind]) for name, kind in columns.items()])
    table = pyarrow.table({name: values[name] for name in columns}, schema=schema)
    with kept_whole(path) as file:
        pyarrow.parquet.write_table(table, file, compression="zstd")


def read_table(paths: Iterable[Path], columns: Mapping[str, Kind]) -> dict[str, list[Any]]:
    """Columns of tables of one kind, one after another; no other columns are read.

    Raises:
        DataError: a file is missing, no Parquet, or has not all of the columns in their kinds.
    """
    schema = pyarrow.schema([(name, KINDS[kind]) for name, kind in columns.items()])
    found: dict[str, list[Any]] = {name: [] for name in columns}
    for path in paths:
        try:
            # Through the file's own handle: read_table would take folders and their names for more columns.
            with pyarrow.parquet.ParquetFile(path) as file:
                table = file.read(columns=list(columns)).select(list(columns)).cast(schema)
        except (pyarrow.ArrowException, OSError, KeyError) as error:
            raise DataError(f"{path} can't be read as a table of {', '.join(columns)}: {error}") from error
        for name, values in found.items():
            values += table[name].to_pylist()
    return found


class ParquetRows:
    """The rows of a Parquet file by number, as JSONL would have them; a few groups of rows are in memory at a time.

    Raises:
        DataError: the file is missing, empty, or no Parquet; the message begins with `setting`.
    """

    def __init__(self, path: str, setting: str) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise DataError(f"{setting}={path!r}: there is no such file (looked from {Path.cwd()})")
        try:
            self._file = pyarrow.parquet.ParquetFile(path)
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{setting}={path!r} can't be read as Parquet: {error}") from error
        about = self._file.metadata
        self._ends = list(accumulate(about.row_group(group).num_rows for group in range(about.num_row_groups)))
        if not self._ends or not self._ends[-1]:
            raise DataError(f"{setting}={path!r} is empty; write a row a problem")
        self._group = lru_cache(maxsize=4)(self._read_group)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Every row, in order."""
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise DataError(f"{self.path} has rows 0 to {len(self) - 1}; row {index} was asked for")
        group = bisect_right(self._ends, index)
        return self._unpacked(self._group(group)[index - (self._ends[group - 1] if group else 0)], index)

    def where(self, index: int) -> str:
        """path, row of a row, for messages."""
        return f"{self.path}, row {index}"

    def _read_group(self, group: int) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._file.read_row_group(group).to_pylist()
        return rows

    def _unpacked(self, row: Mapping[str, Any], index: int) -> dict[str, Any]:
        """The row without what isn't there, and with objects for JSON texts."""
        found = {key: value for key, value in row.items() if value is not None}
        for name in AS_TEXT:
            if isinstance(text := row.get(name), str):
                try:
                    found[name] = json.loads(text)
                except ValueError as error:
                    raise DataError(f"{self.where(index)}: {name!r} must be an object as JSON text: {error}") from error
        return found


def _packed(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, **{name: json.dumps(row[name], ensure_ascii=False) for name in AS_TEXT}}
