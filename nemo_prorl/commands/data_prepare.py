"""`prorl data prepare`: published sources become files that training reads."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from nemo_prorl.cli import SETTINGS
from nemo_prorl.config.load import load_config
from nemo_prorl.config.prepare import JudgeConfig, PrepareConfig, PreparedSourceConfig
from nemo_prorl.config.choice import as_knobs
from nemo_prorl.data.prepare.base import Converter, Records
from nemo_prorl.data.prepare.chat import ChatApi
from nemo_prorl.data.prepare.converters import CONVERTERS
from nemo_prorl.data.prepare.judge import Bill, LanguageModelJudge
from nemo_prorl.data.prepare.manifest import Manifest
from nemo_prorl.data.prepare.passes import Pass
from nemo_prorl.data.prepare.pipeline import Source, begun_with, prepare, work_folder
from nemo_prorl.errors import ConfigError, SettingsError
from nemo_prorl.plugins import configured
from nemo_prorl.telemetry.log import configure_logging
from nemo_prorl.verifiers.references import ReadableReference

log = logging.getLogger(__name__)

# Settings of a source that say where it is read, or how many are wanted, rather than how it is converted.
_NO_KNOBS = ("folder", "revision", "files", "problems")
# Settings of the judge that change what it says; the others change how, and for how much, it is asked.
_JUDGING = ("base_url", "model", "parameters", "malformed_attempts", "both_orders", "max_solution_chars")


@runtime_checkable
class Makes(Protocol):
    """A converter whose records are made, not fetched."""

    def records(self, work: Path, processes: int) -> Records: ...


def run(arguments: list[str], *, dry_run: bool) -> int:
    """Prepare what the settings name, or with `dry_run` say what would be; `arguments` are Hydra overrides.

    Returns the exit code.

    Raises:
        DataError: a source can't be read or written any further; the same command goes on from there.
    """
    if {"-h", "--help"} & set(arguments):
        print(f"usage: prorl data prepare [--dry-run] [KEY=VALUE ...]\n\n{SETTINGS.replace('schema.py', 'prepare.py')}")
        return 0
    if options := [argument for argument in arguments if argument.startswith("-")]:
        raise SettingsError(f"prorl data prepare has no option {options[0]!r}; settings are KEY=VALUE, see --help")
    config = load_config("prepare", arguments)
    converters = _converters(config)
    if dry_run:
        print(_plan(config, converters))
        return 0
    configure_logging(rank=0, level="INFO", file=None)
    for name, converter in converters.items():
        if converter.card.caution:
            log.warning("!!! %s: %s", name, converter.card.caution)
    manifests = [_prepare(name, converter, config) for name, converter in converters.items()]
    print(_summary(manifests, Path(config.folder)))
    return 0


def _prepare(name: str, converter: Converter, config: PrepareConfig) -> Manifest:
    source, folder = config.sources[name], Path(config.folder)
    log.info("%s: %s, licence %s", name, converter.card.title, converter.card.licence)
    needs_judge = _needs_judge(source)
    settings: dict[str, Any] = {"converter": source.name, **as_knobs(source, "name", *_NO_KNOBS)}
    if needs_judge:
        settings["judge"] = {key: value for key, value in config.judge.model_dump().items() if key in _JUDGING}
    what = Source(
        name=name,
        records=_records(name, converter, source, config),
        converter=converter,
        settings=settings,
        problems=source.problems,
        seed=config.seed,
    )
    passes: list[Pass] = [ReadableReference()]
    if needs_judge:
        passes.append(_judge(config.judge, folder))  # last: it is paid for by the row
    return prepare(what, passes, folder, form=config.format, replace=config.replace)


def _records(name: str, converter: Converter, source: PreparedSourceConfig, config: PrepareConfig) -> Records:
    from nemo_prorl.data.prepare import published  # loads `datasets`, which takes seconds

    if isinstance(converter, Makes):
        return converter.records(work_folder(Path(config.folder), name), config.processes)
    if source.folder is not None:
        return published.from_folder(converter.card, Path(source.folder), source.files)
    if converter.card.hub is None:
        raise ConfigError(f"sources.{name}: {source.name} has no place on the hub; set sources.{name}.folder=FOLDER")
    revision = source.revision or _revision_before(Path(config.folder), name)
    return published.from_hub(converter.card, revision, source.files)


def _revision_before(folder: Path, name: str) -> str | None:
    """The commit that was read the last time, so that the same command reads the same."""
    origin = begun_with(folder, name).get("origin", {})
    return str(origin["revision"]) if "revision" in origin else None


def _judge(judge: JudgeConfig, folder: Path) -> LanguageModelJudge:
    api = ChatApi(
        judge.base_url,
        judge.model,
        api_key_variable=judge.api_key_variable,
        timeout_seconds=judge.timeout_seconds,
        attempts=judge.attempts,
        first_wait_seconds=judge.first_wait_seconds,
        parameters=judge.parameters,
    )
    return LanguageModelJudge(
        api,
        folder / "judge",
        concurrency=judge.concurrency,
        malformed_attempts=judge.malformed_attempts,
        both_orders=judge.both_orders,
        max_solution_chars=judge.max_solution_chars,
        max_dollars=judge.max_dollars,
        bill=Bill(judge.dollars_per_million_input, judge.dollars_per_million_output),
    )


def _needs_judge(source: PreparedSourceConfig) -> bool:
    return as_knobs(source).get("agreement") == "judge"


def _converters(config: PrepareConfig) -> dict[str, Converter]:
    """
    Raises:
        SettingsError: a converter that is unknown, or a knob that it doesn't have.
    """
    names = config.only or list(config.sources)
    return {
        name: configured(as_knobs(config.sources[name], *_NO_KNOBS), CONVERTERS, f"sources.{name}")() for name in names
    }


def _plan(config: PrepareConfig, converters: Mapping[str, Converter]) -> str:
    rows = [("source", "domain", "problems", "the paper's", "licence", "from")]
    for name, converter in converters.items():
        source, card = config.sources[name], converter.card
        wanted = f"<= {source.problems:,}" if source.problems else "all"
        place = source.folder or (f"hub: {card.hub} ({source.revision or 'newest'})" if card.hub else "made here")
        rows.append((name, card.domain, wanted, f"{card.paper_problems:,}", card.licence, place))
    lines = [_table(rows), "", f"into {config.folder}, as {config.format}; seed {config.seed}"]
    lines += [f"{name}: {converter.card.caution}" for name, converter in converters.items() if converter.card.caution]
    for name in converters:
        if _needs_judge(config.sources[name]):
            lines.append(
                f"{name}: judged by {config.judge.model} at {config.judge.base_url}, which costs money; "
                f"sources.{name}.agreement=flags goes without"
            )
    return "\n".join(lines)


def _summary(manifests: list[Manifest], folder: Path) -> str:
    rows = [("source", "records", "kept", *("written", "licence"))]
    lines = []
    for manifest in manifests:
        rows.append((manifest.name, f"{manifest.records:,}", f"{manifest.kept:,}", f"{manifest.rows:,}", manifest.card.licence))
        for step, reasons in manifest.rejected.items():
            told = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
            lines.append(f"{manifest.name}, left out in step {step!r}: {told}")
    return "\n".join([_table(rows), "", *lines, f"written to {folder}; `prorl data inspect {folder}` shows more"])


def _table(rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
