"""Problems from a Parquet file: the fields of the JSONL ones as columns, `reference` and `metadata` as JSON text."""

from __future__ import annotations

from array import array

from nemo_prorl.data.parquet import ParquetRows
from nemo_prorl.data.sources.jsonl import CheckedRows, JsonlSource
from nemo_prorl.data.sources.lines import Check
from nemo_prorl.errors import DataError


class ParquetSource(JsonlSource):
    """Problems from a file; every row is checked at the start. A few groups of rows are in memory at a time.

    Knobs: those of `JsonlSource`.
    """

    reads_ahead = False  # rows are unpacked by the group, and kept: several readers would unpack each again

    def _open(self, path: str, setting: str) -> CheckedRows:
        return _CheckedTable(path, setting, self._format.tags)


class _CheckedTable(ParquetRows):
    """
    Raises:
        DataError: what the check does, or a uid that was given twice.
    """

    def __init__(self, path: str, setting: str, check: Check) -> None:
        super().__init__(path, setting)
        self.numbers_of_domains: dict[str, array[int]] = {}
        tasks: dict[str, None] = {}
        first_with: dict[str, int] = {}
        for index, raw in enumerate(self):
            tags = check(self.where(index), raw)
            if tags.uid is not None and (first := first_with.setdefault(tags.uid, index)) != index:
                raise DataError(f"{self.where(index)}: uid {tags.uid!r} was given to {self.where(first)}")
            self.numbers_of_domains.setdefault(tags.domain, array("q")).append(index)
            tasks[tags.task] = None
        self.tasks = tuple(tasks)
