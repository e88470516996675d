"""Problems from a Parquet file: the fields of the JSONL ones as columns, `reference` and `metadata` as JSON text."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence

from nemo_prorl.data.parquet import ParquetRows
from nemo_prorl.data.prompt import Domain, Row
from nemo_prorl.data.sources.jsonl import RowFormat
from nemo_prorl.errors import DataError


class ParquetSource:
    """Problems from a file; every row is checked at the start. A few groups of rows are in memory at a time.

    Knobs: `path` of the file; the others as for `JsonlSource`.
    """

    def __init__(
        self,
        name: str = "parquet",
        *,
        path: str,
        domain: Domain | None = None,
        task: str | None = None,
        verifier: str | None = None,
        instruction: str | None = None,
        system_prompt: str | None = None,
    ) -> None:
        self.name = name
        self._format = RowFormat(name, domain, task, verifier, instruction, system_prompt)
        self._rows = ParquetRows(path, f"data source {name!r}, path")
        self._numbers: dict[str, array[int]] = {}
        tasks: dict[str, None] = {}
        first_with: dict[str, int] = {}
        for index, raw in enumerate(self._rows):
            tags = self._format.tags(self._rows.where(index), raw)
            if tags.uid is not None and (first := first_with.setdefault(tags.uid, index)) != index:
                where = self._rows.where
                raise DataError(f"{where(index)}: uid {tags.uid!r} was given to {where(first)}")
            self._numbers.setdefault(tags.domain, array("q")).append(index)
            tasks[tags.task] = None
        self.tasks = tuple(tasks)

    @property
    def size(self) -> int:
        return len(self._rows)

    @property
    def domains(self) -> Mapping[str, Sequence[int] | None]:
        return self._numbers

    def row(self, index: int) -> Row:
        return self._format.row(self._rows.where(index), self._rows[index])
