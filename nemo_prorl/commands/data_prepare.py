"""`prorl data prepare`: published sources become files that training reads."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from nemo_prorl.cli import SETTINGS
from nemo_prorl.commands.option_parser import option_parser
from nemo_prorl.commands.prepare_passes import check_evaluation, needs_judge, passes_for
from nemo_prorl.config.choice import as_knobs
from nemo_prorl.config.load import load_config
from nemo_prorl.config.prepare import JudgeConfig, PrepareConfig
from nemo_prorl.data.prepare.base import Converter, Makes, Records
from nemo_prorl.data.prepare.converters import CONVERTERS
from nemo_prorl.data.prepare.manifest import Manifest
from nemo_prorl.data.prepare.pipeline import Source, begun_with, prepare, work_folder
from nemo_prorl.errors import ConfigError, DataError, SettingsError
from nemo_prorl.plugins import configured, knobs_of
from nemo_prorl.telemetry.columns import aligned
from nemo_prorl.telemetry.log import configure_logging

log = logging.getLogger(__name__)

EXAMPLES = """\
examples:
  prorl data prepare --dry-run                          the five sources of the paper: where from, how many, licences
  prorl data prepare only=[reasoning_gym] folder=FOLDER
  prorl data prepare sources.deepscaler.folder=DOWNLOADED sources.scp116k.agreement=flags

Exit codes: 0; 2 when a setting is wrong; 3 when a source can't be read: the same command goes on from there."""

# Settings of the judge that change what it says; the others change how, and for how much, it is asked.
_JUDGING = ("base_url", "model", "parameters", "malformed_attempts", "both_orders", "max_solution_chars")


def parser() -> argparse.ArgumentParser:
    """What the command says of itself; its arguments are settings."""
    made = option_parser(
        "prorl data prepare",
        (__doc__ or "").partition(": ")[2],
        f"{EXAMPLES}\n\n{SETTINGS.replace('prorl settings', 'prorl settings --of data-prepare')}",
    )
    made.add_argument("--dry-run", action="store_true", help="print what would be done, and do nothing")
    made.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings, see below")
    return made


def run(arguments: list[str], *, dry_run: bool) -> int:
    """Prepare what the settings name, or with `dry_run` say what would be; `arguments` are Hydra overrides.

    A source that can't be prepared doesn't keep the others from it. Returns the exit code.

    Raises:
        ConfigError: a setting can't be used, or the judge has no key.
        DataError: sources that couldn't be read or written any further; the same command goes on from there.
    """
    if {"-h", "--help"} & set(arguments):
        print(parser().format_help())
        return 0
    if options := [argument for argument in arguments if argument.startswith("-")]:
        raise SettingsError(f"prorl data prepare has no option {options[0]!r}; settings are KEY=VALUE, see --help")
    config = load_config("prepare", arguments)
    makers = _makers(config)
    converters = {name: maker() for name, maker in makers.items()}
    missing = _missing_key(converters, config.judge)
    if dry_run:
        print("\n".join([_plan(config, converters), *([f"before it can begin: {missing}"] if missing else [])]))
        return 0
    if missing:
        raise ConfigError(missing)  # better known before hours of other work
    configure_logging(rank=0, level="INFO", file=None)
    _warn(converters)
    check_evaluation(config.quality)
    manifests, problems = [], []
    for name, converter in converters.items():
        try:
            manifests.append(_prepare(name, converter, _settings(makers[name]), config))
        except DataError as error:
            log.error("%s: %s", name, error)
            problems.append(f"{name}: {error}")
    print(_summary(manifests, Path(config.folder)))
    if problems:
        raise DataError("\n".join(problems))
    return 0


def _prepare(name: str, converter: Converter, settings: Mapping[str, Any], config: PrepareConfig) -> Manifest:
    choice, folder = config.sources[name], Path(config.folder)
    log.info("%s: %s, licence %s", name, converter.card.title, converter.card.licence)
    settings = {**settings, "quality": config.quality.model_dump()}
    if needs_judge(converter):
        judging = {key: value for key, value in config.judge.model_dump().items() if key in _JUDGING}
        settings = {**settings, "judge": judging}
    source = Source(
        name=name,
        records=_records(name, converter, config),
        converter=converter,
        settings={"converter": choice.name, **settings},
        problems=choice.problems,
        seed=config.seed,
    )
    with passes_for(converter, config) as passes:
        return prepare(source, passes, folder, form=config.format, replace=config.replace)


def _records(name: str, converter: Converter, config: PrepareConfig) -> Records:
    choice, folder = config.sources[name], Path(config.folder)
    if isinstance(converter, Makes):
        return converter.records(work_folder(folder, name), config.processes)
    from nemo_prorl.data.prepare import published  # loads `datasets`, which takes seconds

    if choice.folder is not None:
        return published.from_folder(converter.card, Path(choice.folder), choice.files)
    if converter.card.hub is None:
        raise ConfigError(f"sources.{name}: {choice.name} has no place on the hub; set sources.{name}.folder=FOLDER")
    # Without a revision the same command reads what it read before, not whatever is the newest now.
    origin = {} if config.replace else begun_with(folder, name).get("origin", {})
    return published.from_hub(converter.card, choice.revision or origin.get("revision"), choice.files)


def _missing_key(converters: Mapping[str, Converter], judge: JudgeConfig) -> str | None:
    """That a source needs the judge and there is no key for it, and what to do; None: there is, or none is needed."""
    asking = [name for name, converter in converters.items() if needs_judge(converter)]
    has_default = judge.base_url == JudgeConfig().base_url
    if not asking or not has_default or os.environ.get(judge.api_key_variable):
        return None
    return (
        f"sources.{asking[0]} is judged by {judge.model} at {judge.base_url}, but the environment variable "
        f"{judge.api_key_variable} has no key. Set it, or judge.base_url of a server of yours, or go without "
        f"a judge by sources.{asking[0]}.agreement=flags, or without that source by only=[...]"
    )


def _makers(config: PrepareConfig) -> dict[str, partial[Converter]]:
    """What makes each source's converter.

    Raises:
        SettingsError: a converter that is unknown, or a knob that it doesn't have.
    """
    names = config.only or list(config.sources)
    made: Any = {name: configured(as_knobs(config.sources[name]), CONVERTERS, f"sources.{name}") for name in names}
    return dict(made)


def _settings(maker: partial[Converter]) -> dict[str, Any]:
    """Every knob of a converter with its value, given or not."""
    return {knob.name: maker.keywords.get(knob.name, knob.default) for knob in knobs_of(maker.func)}


def _warn(converters: Mapping[str, Converter]) -> None:
    for name, converter in converters.items():
        if converter.card.caution:
            log.warning("!!! %s: %s", name, converter.card.caution)


def _plan(config: PrepareConfig, converters: Mapping[str, Converter]) -> str:
    rows = [("source", "domain", "problems", "the paper's", "licence", "from")]
    for name, converter in converters.items():
        source, card = config.sources[name], converter.card
        wanted = f"<= {source.problems:,}" if source.problems else "all"
        place = source.folder or (f"hub: {card.hub} ({source.revision or 'newest'})" if card.hub else "made here")
        rows.append((name, card.domain, wanted, f"{card.paper_problems:,}", card.licence, place))
    lines = [aligned(rows, texts=len(rows[0])), "", f"into {config.folder}, as {config.format}; seed {config.seed}"]
    lines += [f"{name}: {converter.card.caution}" for name, converter in converters.items() if converter.card.caution]
    for name, converter in converters.items():
        if needs_judge(converter):
            lines.append(
                f"{name}: judged by {config.judge.model} at {config.judge.base_url}, which may cost money; "
                f"sources.{name}.agreement=flags goes without"
            )
    return "\n".join(lines)


def _summary(manifests: Sequence[Manifest], folder: Path) -> str:
    rows = [("source", "records", "kept", "written", "licence")]
    lines = []
    for one in manifests:
        rows.append((one.name, f"{one.records:,}", f"{one.kept:,}", f"{one.rows:,}", one.card.licence))
        for step, reasons in one.rejected.items():
            told = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
            lines.append(f"{one.name}, left out in step {step!r}: {told}")
    return "\n".join(
        [aligned(rows, texts=len(rows[0])), "", *lines, f"{folder}: `prorl data inspect {folder}` shows what is in it"]
    )
