"""`prorl data validate FILE`: every line that training would refuse, and why."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from nemo_prorl.commands.option_parser import option_parser
from nemo_prorl.data.parquet import ParquetRows
from nemo_prorl.data.prompt import DOMAINS
from nemo_prorl.data.sources.jsonl import RowFormat
from nemo_prorl.data.sources.lines import parsed
from nemo_prorl.errors import DataError
from nemo_prorl.verifiers.references import objection_to

EXAMPLES = """\
A line of FILE is a JSON object; the shortest that is enough:

  {"problem": "1+1?", "answer": "2", "domain": "math"}

examples:
  prorl data validate problems.jsonl
  prorl data validate problems.jsonl --domain math --limit 200

docs/data.md has all fields, docs/verifiers.md what each domain's `reference` needs. Also checked: that no uid is given
twice, and that the references of our own verifiers can be read.

Exit codes: 0; 3 when a line can't be used."""


@dataclass
class Findings:
    """What was found in a file: good rows by domain, and what is wrong with the others."""

    domains: Counter[str] = field(default_factory=Counter)
    problems: int = 0
    shown: list[str] = field(default_factory=list)


def run(arguments: list[str], *, dry_run: bool) -> int:
    """Check the file, or with `dry_run` say what would be checked. Returns the exit code."""
    options = parser().parse_args(arguments)
    if not options.file.is_file():
        raise DataError(f"{str(options.file)!r}: there is no such file (looked from {Path.cwd()})")
    if dry_run:
        print(f"would check every row of {options.file}")
        return 0
    row_format = RowFormat(options.file.stem, options.domain, options.task, options.verifier)
    found = validate(options.file, row_format, limit=options.limit)
    for line in found.shown:
        print(line)
    if found.problems > len(found.shown):
        print(f"... and {found.problems - len(found.shown):,} more; --limit shows more of them")
    told = ", ".join(f"{count:,} {domain}" for domain, count in sorted(found.domains.items())) or "none"
    print(f"{options.file}: {found.domains.total():,} rows can be used ({told}), {found.problems:,} can't")
    return DataError.exit_code if found.problems or not found.domains else 0


def validate(file: Path, row_format: RowFormat, *, limit: int) -> Findings:
    """Check every row of a file; of what is wrong the first `limit` are kept in words."""
    found, uids = Findings(), dict[str, str]()
    for where, read in _rows(file):
        try:
            raw = read()
            row = row_format.row(where, raw)
            if "uid" in raw and (first := uids.setdefault(row.uid, where)) != where:
                raise DataError(f"{where}: uid {row.uid!r} was given to {first}")
            if reason := objection_to(row):
                raise DataError(f"{where}: {reason}")
        except DataError as error:
            found.problems += 1
            if len(found.shown) < limit:
                found.shown.append(str(error))
        else:
            found.domains[row.domain] += 1
    return found


def _rows(file: Path) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Where each row stands, and what reads it."""
    if file.suffix == ".parquet":
        table = ParquetRows(str(file), "FILE")
        yield from ((table.where(index), partial(table.__getitem__, index)) for index in range(len(table)))
        return
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                where = f"{file}:{number}"
                yield where, partial(parsed, line, where)


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = option_parser(
        "prorl data validate",
        "Check a file of problems as training would, and name everything that is wrong.",
        EXAMPLES,
    )
    made.add_argument("file", type=Path, metavar="FILE", help="JSONL, or Parquet by its name")
    made.add_argument("--domain", choices=DOMAINS, help="of rows that don't name theirs, as data.sources.NAME.domain")
    made.add_argument("--task", metavar="NAME", help="of rows that don't name theirs")
    made.add_argument("--verifier", metavar="NAME", help="of rows that don't name theirs; default: the domain's")
    made.add_argument("--limit", type=int, default=50, metavar="N", help="problems shown; default: 50")
    return made
