"""`prorl quickstart`: the whole way on one small machine, from a random model to a trained one and a report.

For each seed: make a tiny model, teach it the form of an answer (cold start), train it with ProRL, and use the export
with plain transformers. Each training is the ordinary `prorl sft` or `prorl train` in a process of its own, so what
is seen here is what every other run does. Started again, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nemo_prorl.analysis.history import Change, RunHistory
from nemo_prorl.analysis.report import spread, write_report
from nemo_prorl.commands import report
from nemo_prorl.commands.option_parser import option_parser
from nemo_prorl.errors import ConfigError
from nemo_prorl.evaluation.estimate import OVERALL

if TYPE_CHECKING:
    from nemo_prorl.quickstart.one_answer import Exchange

EXAMPLES = """\
examples:
  prorl quickstart                       3 minutes on two cores; started again, it goes on where it stopped
  prorl quickstart --fast --out runs/try every step within seconds; nothing is learned
  prorl quickstart --seeds 3             three times over, with the spread in the report
  prorl quickstart --dry-run             the commands that it would run

The report is runs/quickstart/report.md, the trained model runs/quickstart/seed_0/prorl/export.

Exit codes: 0; otherwise that of the training that has ended, see `prorl train --help`."""

TITLE = "ProRL quickstart"
INTRODUCTION = """\
A Qwen2 model of about 0.5 million parameters, made from random numbers, learns three kinds of reasoning problems on
CPU. The cold start shows it worked solutions, then spoils it with hasty ones: most of them skip the thinking and guess.
ProRL then rewards right answers alone, with a KL penalty to a reference policy that is reset at a fixed interval.

Read the gain for what it is. The starting point was spoiled on purpose, and the gain is measured from there; the
strength of the spoiling was chosen so that a gain can be seen. RL recovers care that the model had been taught before.
Whether it goes beyond that is told by the column "careful cold start": the same model before it was spoiled."""

# Problems are drawn by seed: by --seed (0 to MAX_SEED), and the hasty half of the cold start by HASTY_SEEDS + --seed.
# Held-out problems have a seed that neither reaches: see conf/data/quickstart.yaml.
MAX_SEED, HASTY_SEEDS = 900, 1000

# --fast tries every step in seconds; nothing is learned, so groups that don't teach are trained on as well.
FAST_SIZES: dict[str, int] = {"hidden_size": 32, "layers": 2, "heads": 2, "kv_heads": 1, "ffn_size": 64}
FAST_SFT = ("sft.steps=2", "sft.sequences_per_step=4", "optimizer.warmup_steps=1")
FAST_TRAIN = (
    "recipe.stages.quickstart.steps=3",
    "recipe.stages.quickstart.prompts_per_step=2",
    "recipe.stages.quickstart.prompts_per_update=1",
    "recipe.stages.quickstart.samples_per_prompt=2",
    "recipe.stages.quickstart.max_response_tokens=8",
    "recipe.stages.quickstart.reset.every_steps=2",
    "sampling.drop_equal_groups=false",
    "validation.problems_per_task=2",
    "validation.samples_per_prompt=2",
    "optimizer.warmup_steps=1",
)


@dataclass(frozen=True)
class Job:
    """One `prorl` command in a process of its own. Its last deed is the folder `export`, whole or not at all."""

    title: str
    command: str
    export: Path
    overrides: tuple[str, ...]

    @property
    def arguments(self) -> list[str]:
        return [sys.executable, "-m", "nemo_prorl", self.command, *self.overrides]


def run(arguments: list[str], *, dry_run: bool = False) -> int:
    """Do everything, or with `dry_run` print the commands; returns the exit code of the first that fails, or 0."""
    options = _options(arguments)
    seeds = range(options.seed, options.seed + options.seeds)
    if dry_run:
        for seed in seeds:
            for job in jobs(options.out / f"seed_{seed}", seed, fast=options.fast):
                print(" ".join(job.arguments[1:]))
        return 0
    _claim(options.out, {"seed": options.seed, "seeds": options.seeds, "fast": options.fast})
    start = time.monotonic()
    planned = [job for seed in seeds for job in jobs(options.out / f"seed_{seed}", seed, fast=options.fast)]
    done_before = sum(job.export.is_dir() for job in planned)
    for seed in seeds:
        folder = options.out / f"seed_{seed}"
        if not (folder / "careful").exists():
            make_model(folder / "model", seed, fast=options.fast)
        for job in jobs(folder, seed, fast=options.fast):
            if exit_code := _do(job):
                return exit_code
    seconds = time.monotonic() - start
    cost = f"Trainings in this call: {seconds:.0f} seconds; {done_before} of {len(planned)} had been done before."
    _report(options.out, seeds, cost, fast=options.fast)
    return 0


def jobs(folder: Path, seed: int, *, fast: bool) -> list[Job]:
    """The trainings of one seed, in order; each starts from the folder that the one before has exported."""
    sft, train = (FAST_SFT, FAST_TRAIN) if fast else ((), ())

    def job(title: str, command: str, name: str, model: Path, *overrides: str) -> Job:
        common = (f"run.dir={_quoted(folder / name)}", f"run.seed={seed}", f"model.path={_quoted(model)}")
        return Job(title, command, folder / name / "export", (*overrides[:1], *common, *overrides[1:]))

    hasty_seed = f"sft.source.seed={HASTY_SEEDS + seed}"
    careful = job("cold start, careful", "sft", "careful", folder / "model", "sft=quickstart_careful", *sft)
    hasty = job("cold start, hasty", "sft", "hasty", careful.export, "sft=quickstart_hasty", hasty_seed, *sft)
    return [careful, hasty, job("ProRL", "train", "prorl", hasty.export, "recipe=quickstart", *train)]


def _quoted(path: Path) -> str:
    """A path as a value of a Hydra override, whatever characters it has."""
    escaped = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = option_parser("prorl quickstart", __doc__.partition(": ")[2].partition("\n")[0], EXAMPLES)
    made.add_argument("--out", type=Path, default=Path("runs/quickstart"), metavar="DIR", help="where everything goes")
    made.add_argument("--seed", type=int, default=0, help="of the model, its training and its problems")
    made.add_argument("--seeds", type=int, default=1, metavar="N", help="do it for N seeds in turn, from --seed on")
    made.add_argument("--fast", action="store_true", help="try every step within seconds; nothing is learned")
    return made


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    options = parser().parse_args(arguments)
    if options.seeds < 1 or options.seed < 0 or options.seed + options.seeds - 1 > MAX_SEED:
        raise ConfigError(
            f"--seed {options.seed} --seeds {options.seeds}: there must be at least one seed, and all in 0..{MAX_SEED}"
        )
    return options


def _claim(out: Path, settings: dict[str, int | bool]) -> None:
    """Note the settings in the folder, or refuse a folder that was made with others.

    Raises:
        ConfigError: says which settings the folder was made with; or it can't be written.
    """
    note = out / "quickstart.json"
    if note.exists() and (former := json.loads(note.read_text())) != settings:
        raise ConfigError(
            f"--out {out} was made with {former}, this is {settings}. Choose another --out, or delete that folder"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(settings) + "\n")
    except OSError as error:
        raise ConfigError(f"--out {out} can't be written: {error}. Choose another --out") from error


def make_model(folder: Path, seed: int, *, fast: bool) -> None:
    from transformers.utils.logging import disable_progress_bar

    from nemo_prorl.quickstart.tiny_model import make_tiny_model

    disable_progress_bar()  # type: ignore[no-untyped-call]  # bars for files of a megabyte
    _say(f"making a tiny Qwen2 model with its tokenizer in {folder}")
    make_tiny_model(folder, seed=seed, **(FAST_SIZES if fast else {}))  # type: ignore[arg-type]


def _do(job: Job) -> int:
    if job.export.is_dir():
        _say(f"{job.title}: done before, see {job.export.parent}")
        return 0
    start = time.monotonic()
    _say(f"{job.title}: prorl {' '.join([job.command, *job.overrides])}")
    exit_code = exit_code_of(job.arguments)
    seconds = f"{time.monotonic() - start:.0f} s"
    if exit_code:
        told = f"quickstart: {job.title} ended with exit code {exit_code} after {seconds}; see above"
        print(f"{told}. Started again, it goes on from there", file=sys.stderr)
    else:
        _say(f"{job.title}: done in {seconds}")
    return exit_code


def exit_code_of(arguments: Sequence[str]) -> int:
    """What a command ends with, as a shell says it: 128 and the number of the signal that killed it, if one did.

    Ctrl-C asks the command to stop, and it is waited for, since a training saves first.
    """
    with subprocess.Popen(arguments) as process:
        while True:
            try:
                code = process.wait()
            except KeyboardInterrupt:
                process.terminate()  # a terminal has told it, too; to a training that is the same request
            else:
                return code if code >= 0 else 128 - code


def _report(out: Path, seeds: Sequence[int], cost: str, *, fast: bool) -> None:
    from transformers.utils.logging import disable_progress_bar

    from nemo_prorl.quickstart.one_answer import ask_with_transformers

    disable_progress_bar()  # type: ignore[no-untyped-call]
    export = out / f"seed_{seeds[0]}" / "prorl" / "export"
    _say(f"asking {export} one question with plain transformers")
    exchange = ask_with_transformers(export)
    levels = [_careful_level(out / f"seed_{seed}", seed, fast=fast) for seed in seeds]
    runs = {f"seed {seed}": out / f"seed_{seed}" / "prorl" for seed in seeds}
    path = write_report(
        out,
        runs,
        title=TITLE,
        introduction=INTRODUCTION,
        sections=[
            ("Beside the careful cold start", _comparison(levels, runs)),
            ("One held-out question, asked with plain transformers", _as_markdown(exchange, export)),
            ("Cost", cost),
        ],
    )
    _say(f"the report is {path}")
    page = ["--out", str(out / "report.html"), "--title", TITLE]
    report.run([str(out / f"seed_{seeds[0]}" / "prorl"), *page])


def _careful_level(folder: Path, seed: int, *, fast: bool) -> dict[str, float]:
    """pass@1 by task of the cold start before it was spoiled, on ProRL's own held-out problems."""
    from nemo_prorl.commands.quickstart_score import score
    from nemo_prorl.config.load import load_config

    careful, _, prorl = jobs(folder, seed, fast=fast)
    _say(f"scoring {careful.export} on the held-out problems")
    overrides = [override for override in prorl.overrides if not override.startswith("model.path=")]
    result = score(load_config("train", [*overrides, f"model.path={_quoted(careful.export)}"]))
    return {name: task.pass_at_k[1] for name, task in {**result.tasks, OVERALL: result.overall}.items()}


def _comparison(levels: Sequence[Mapping[str, float]], run_folders: Mapping[str, Path]) -> str:
    """pass@1 of the careful cold start, of the spoiled one, and after ProRL, as a Markdown table."""
    runs = [RunHistory.read(folder, name) for name, folder in run_folders.items()]
    rows = ["| pass@1 | careful cold start | spoiled: before ProRL | after ProRL |", "| --- | ---: | ---: | ---: |"]
    beyond = []
    for task in levels[0]:
        change, careful = Change.of(runs, task, 1), [level[task] for level in levels]
        name = "**mean over tasks**" if task == OVERALL else task
        rows.append(f"| {name} | {spread(careful)} | {spread(change.before)} | {spread(change.after)} |")
        beyond = [after - level for after, level in zip(change.after, careful, strict=True)]
    told = f"From the careful cold start to after ProRL, the mean over tasks changes by {spread(beyond, signed=True)}."
    return "\n".join([*rows, "", told])


def _as_markdown(exchange: Exchange, export: Path) -> str:
    return (
        f"From `{export}`, greedily:\n\n```text\n{exchange.question}\n\n<think>{exchange.answer}\n```\n\n"
        f"The right answer is {exchange.right_answer}."
    )


def _say(text: str) -> None:
    print(f"[quickstart] {text}", flush=True)
