"""`prorl data inspect PATH...`: what is in some problems, as a table and as a page."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from nemo_prorl.analysis.data_page import data_page
from nemo_prorl.commands.option_parser import option_parser
from nemo_prorl.data.prepare.manifest import Manifest
from nemo_prorl.data.prepare.statistics import Lengths, Statistics, prompt_chars
from nemo_prorl.data.prompt import DOMAINS, Domain, Row
from nemo_prorl.data.sources.base import Source
from nemo_prorl.data.sources.jsonl import JsonlSource
from nemo_prorl.data.sources.parquet import ParquetSource
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.errors import ConfigError, DataError
from nemo_prorl.telemetry.columns import aligned

NO_PROBLEMS = (".rejected.jsonl",)

EXAMPLES = """\
examples:
  prorl data inspect data/prorl --page data.html
  prorl data inspect problems.jsonl --domain math --tokenizer MODEL_FOLDER

Exit codes: 0; 2 when the page can't be written; 3 when a file can't be read."""


def run(arguments: list[str], *, dry_run: bool) -> int:
    """Print the table and write the page, or with `dry_run` say which files would be read. Returns the exit code."""
    options = _options(arguments)
    files = _files(options.paths)
    if dry_run:
        print("\n".join(f"would read {file}" for file in files))
        return 0
    length, unit = _length(options.tokenizer)
    rows = (row for file in files for row in _rows(file, options.domain))
    found = Statistics.of(rows, length, unit=unit, samples_per_task=options.samples)
    manifests = [manifest for path in options.paths if path.is_dir() for manifest in Manifest.read_all(path)]
    print(_table(found))
    if options.page is not None:
        _write(options.page, data_page(found, manifests, ", ".join(map(str, options.paths))))
        print(f"the page is {options.page}")
    return 0


def _files(paths: Sequence[Path]) -> list[Path]:
    """The files of problems among `paths` and in the folders among them."""
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise DataError(f"{str(path)!r}: there is no such file or folder (looked from {Path.cwd()})")
        inside = sorted([*path.glob("*.jsonl"), *path.glob("*.parquet")]) if path.is_dir() else [path]
        files += [file for file in inside if not file.name.endswith(NO_PROBLEMS)]
    if not files:
        raise DataError(f"no .jsonl or .parquet files in {', '.join(map(str, paths))}")
    return files


def _rows(file: Path, domain: Domain | None) -> Iterator[Row]:
    open_source = ParquetSource if file.suffix == ".parquet" else JsonlSource
    source: Source = open_source(file.stem, path=str(file), domain=domain)
    return (source.row(index) for index in range(source.size or 0))


def _length(folder: Path | None) -> tuple[Callable[[Row], int], str]:
    """What measures a prompt, and the unit."""
    if folder is None:
        return prompt_chars, "characters"
    tokenizer = Tokenizer.load(folder)
    return lambda row: len(tokenizer.render(row.messages)), "tokens"


def _table(found: Statistics) -> str:
    rows = [("domain", "source", "task", "problems", f"mean {found.unit}", "p50", "p95", "most")]
    for domain in sorted(found.lengths, key=DOMAINS.index):
        rows.append((domain, "", "", *_measures(found.lengths[domain])))
        keys = sorted(key for key in found.counts if key[0] == domain)
        if len(keys) > 1 or keys[0][2] != keys[0][1]:
            rows += [
                ("", source, task, *_measures(found.task_lengths[domain, source, task])) for _, source, task in keys
            ]
    rows.append(("total", "", "", f"{found.total:,}", "", "", "", ""))
    return aligned(rows, texts=3)


def _measures(lengths: Lengths) -> tuple[str, str, str, str, str]:
    """How many, and how long: mean, median, 95th percentile, largest."""
    sizes = (lengths.mean, lengths.quantile(0.5), lengths.quantile(0.95), lengths.largest)
    return f"{lengths.count:,}", *(f"{size:,.0f}" for size in sizes)  # type: ignore[return-value]


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise ConfigError(f"--page {path} can't be written: {error}") from error


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = option_parser(
        "prorl data inspect",
        "Count the problems in files by domain, source and task, and measure their prompts.",
        EXAMPLES,
    )
    made.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a prepared folder, JSONL or Parquet")
    made.add_argument("--page", type=Path, metavar="FILE", help="write an HTML page, which needs nothing but itself")
    made.add_argument("--tokenizer", type=Path, metavar="FOLDER", help="measure in this model's tokens")
    made.add_argument("--samples", type=int, default=2, metavar="N", help="shown of each task; default: 2")
    made.add_argument("--domain", choices=DOMAINS, help="of rows that don't name theirs")
    return made


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    made = parser()
    options = made.parse_args(arguments)
    if options.samples < 0:
        made.error("--samples is at least 0")
    return options
