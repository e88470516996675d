"""`prorl verify`: rewards for responses that are in a file, without a model or a trainer."""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from statistics import fmean
from typing import Any, TextIO

from nemo_prorl.commands.option_parser import option_parser
from nemo_prorl.config.verifiers import VerifierPoolConfig
from nemo_prorl.data.prompt import DOMAINS, Prompt
from nemo_prorl.data.sources.jsonl import read_judging, refuse_typos
from nemo_prorl.data.sources.lines import parsed
from nemo_prorl.data.trajectory import OUTCOMES, Verdict
from nemo_prorl.errors import UNREAD, ConfigError, DataError
from nemo_prorl.telemetry.columns import aligned
from nemo_prorl.verifiers.pool import VerifierPool
from nemo_prorl.verifiers.sandbox import SandboxSettings

PROGRESS_SECONDS = 5.0
WAITING_PER_WORKER = 64  # responses read ahead: enough to keep workers busy, little enough for any memory
MAX_BAD_ROWS_SHOWN = 20

EXAMPLES = """\
A line of FILE is a JSON object: the fields of a problem as `data=...` sources read them, and `response`, or a list of
`responses`. Only these fields are looked at; docs/verifiers.md tells each domain's `reference`:

  {"uid": "a", "domain": "math", "answer": "2", "response": "1 + 1 is \\\\boxed{2}"}
  {"domain": "code", "reference": {"inputs": ["3\\n"], "outputs": ["9\\n"]}, "responses": ["```python\\n...```", "..."]}

For each response, in the same order, a line comes out:

  {"uid": "a", "sample": 0, "domain": "math", "verifier": "math", "reward": 1.0, "outcome": "scored", "reason": ...,
   "seconds": ...}

examples:
  prorl verify responses.jsonl --output rewards.jsonl --workers 8
  zcat responses.jsonl.gz | prorl verify - --domain math | jq .reward

Exit codes: 0; 3 when rows were left out since they can't be read (each is named); 7 when verifiers or references are at
fault so often that the rewards can't be trusted."""


@dataclass(frozen=True)
class Job:
    """A row and its verdicts to be."""

    prompt: Prompt
    verdicts: tuple[Future[Verdict], ...]


def run(arguments: list[str], *, dry_run: bool) -> int:
    """Score the file, or with `dry_run` read it only. Returns the exit code.

    Raises:
        ConfigError: --output can't be written, or would replace the responses.
        DataError: there is no such file, or rows that can't be read; the others were scored.
        VerifierError: a domain's verifier fails more often than is allowed; everything was written.
    """
    options = _options(arguments)
    rows = Rows(options)
    if options.output is not None and options.output.exists() and rows.are_in(options.output):
        raise ConfigError(f"--output {options.output} is the file of responses itself; write the rewards elsewhere")
    if dry_run:
        _print_plan(rows)
        return 0
    pool = VerifierPool(
        workers=options.workers,
        deadline_seconds=options.deadline_seconds,
        max_error_rate=options.max_error_rate,
        min_verdicts_to_judge=1,
        sandbox=SandboxSettings(allow_unconfined=options.allow_unconfined),
    )
    with pool, _output(options.output) as output:
        try:
            rewards = _score(rows, pool, output, capacity=options.workers * WAITING_PER_WORKER)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `... | head` has read enough
            return UNREAD
        print(_table(rewards, pool.drain_metrics()), file=sys.stderr if options.output is None else sys.stdout)
        pool.check_health()
        rows.check()
    return 0


class Rows:
    """The rows of a file, or of stdin. Bad ones are named on stderr and left out."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._is_stdin = options.file == "-"
        self._name = "stdin" if self._is_stdin else options.file
        self._domain, self._verifier = options.domain, options.verifier
        self.bad = 0
        if not self._is_stdin and not Path(self._name).is_file():
            raise DataError(f"{self._name!r}: there is no such file (looked from {Path.cwd()}); '-' is stdin")

    def __iter__(self) -> Iterator[tuple[Prompt, tuple[str, ...]]]:
        with nullcontext(sys.stdin.buffer) if self._is_stdin else open(self._name, "rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    yield self._row(line, number)
                except DataError as error:
                    self.bad += 1
                    if self.bad <= MAX_BAD_ROWS_SHOWN:
                        print(f"prorl: {error}", file=sys.stderr)

    def are_in(self, file: Path) -> bool:
        """Whether that is where they are read from."""
        return not self._is_stdin and file.samefile(self._name)

    def check(self) -> None:
        """
        Raises:
            DataError: there were bad rows.
        """
        if self.bad:
            shown = f"; the first {MAX_BAD_ROWS_SHOWN} are named above" if self.bad > MAX_BAD_ROWS_SHOWN else ""
            raise DataError(f"{self._name}: {self.bad} rows can't be read and were left out{shown}")

    def _row(self, line: bytes, number: int) -> tuple[Prompt, tuple[str, ...]]:
        where = f"{self._name}:{number}"
        raw = parsed(line, where)
        refuse_typos(raw, where)
        judged = read_judging(raw, where, domain=self._domain, verifier=self._verifier)
        uid = raw.get("uid", f"line-{number}")
        if not isinstance(uid, str):
            raise DataError(f"{where}: 'uid' must be a text; found {uid!r}")
        prompt = Prompt.to_judge(judged.domain, judged.reference, verifier=judged.verifier, uid=uid)
        return prompt, _responses(raw, where)


def _responses(raw: Mapping[str, Any], where: str) -> tuple[str, ...]:
    if ("response" in raw) == ("responses" in raw):
        raise DataError(f"{where}: a row needs either 'response', a text, or 'responses', a list of texts")
    responses = raw["responses"] if "responses" in raw else [raw["response"]]
    if not isinstance(responses, list) or not all(isinstance(response, str) for response in responses):
        raise DataError(f"{where}: responses must be texts; found {str(responses)[:80]!r}")
    return tuple(responses)


def _score(rows: Rows, pool: VerifierPool, output: TextIO, capacity: int) -> dict[str, list[float]]:
    """Write a line for each response, in order, as soon as it is judged; gives rewards by domain."""
    waiting: Queue[Job | BaseException | None] = Queue(maxsize=capacity)
    # Reading is left to a thread, so that verdicts are written while a slow stdin keeps its next line to itself.
    threading.Thread(target=_read, args=(rows, pool, waiting), daemon=True).start()
    rewards: dict[str, list[float]] = {}
    progress = _Progress()
    while (job := waiting.get()) is not None:
        if isinstance(job, BaseException):
            raise job
        for sample, future in enumerate(job.verdicts):
            verdict = future.result()
            rewards.setdefault(job.prompt.domain, []).append(verdict.reward)
            output.write(json.dumps(_line(job.prompt, sample, verdict)) + "\n")
            progress.add()
        if waiting.empty():
            output.flush()
    output.flush()
    return rewards


def _read(rows: Rows, pool: VerifierPool, waiting: Queue[Job | BaseException | None]) -> None:
    try:
        for prompt, responses in rows:
            waiting.put(Job(prompt, tuple(pool.submit(prompt, response) for response in responses)))
        waiting.put(None)
    except BaseException as error:  # for the thread that waits
        waiting.put(error)


def _line(prompt: Prompt, sample: int, verdict: Verdict) -> dict[str, Any]:
    return {
        "uid": prompt.uid,
        "sample": sample,
        "domain": prompt.domain,
        "verifier": prompt.verifier,
        "reward": verdict.reward,
        "outcome": verdict.outcome,
        "reason": verdict.reason,
        "seconds": round(verdict.seconds, 6),
    }


def _table(rewards: Mapping[str, Sequence[float]], metrics: Mapping[str, float]) -> str:
    """A line for each domain: how many, mean reward, outcomes, and latencies in seconds."""
    rows = [["domain", "responses", "mean reward", *OUTCOMES, "p50 s", "p99 s"]]
    for domain, values in sorted(rewards.items()):
        outcomes = [f"{metrics[f'verifier/{domain}/{outcome}']:.0f}" for outcome in OUTCOMES]
        seconds = [f"{metrics[f'time/verifier_{domain}_p{percent}_seconds']:.3f}" for percent in (50, 99)]
        rows.append([domain, str(len(values)), f"{fmean(values):.4f}", *outcomes, *seconds])
    return aligned(rows)


def _print_plan(rows: Rows) -> None:
    counts: dict[tuple[str, str], int] = {}
    for prompt, responses in rows:
        key = prompt.domain, prompt.verifier
        counts[key] = counts.get(key, 0) + len(responses)
    for (domain, verifier), count in sorted(counts.items()):
        print(f"{domain}: {count} responses for the verifier {verifier!r}")
    rows.check()


class _Progress:
    def __init__(self) -> None:
        self._begun = self._last = time.monotonic()
        self._done = 0

    def add(self) -> None:
        self._done += 1
        now = time.monotonic()
        if now - self._last > PROGRESS_SECONDS:
            self._last = now
            rate = self._done / (now - self._begun)
            print(f"{self._done} responses judged, {rate:.1f} a second", file=sys.stderr, flush=True)


def _output(path: Path | None) -> AbstractContextManager[TextIO]:
    if path is None:
        return nullcontext(sys.stdout)
    try:
        return path.open("w", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--output {path} can't be written: {error}") from error


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    defaults = VerifierPoolConfig()
    made = option_parser("prorl verify", "Judge responses that are in a JSONL file.", EXAMPLES)
    made.add_argument("file", metavar="FILE", help="JSONL; - for stdin")
    made.add_argument("--output", type=Path, metavar="FILE", help="JSONL; default: stdout")
    made.add_argument("--domain", choices=DOMAINS, help="of rows that don't name theirs")
    made.add_argument("--verifier", metavar="NAME", help="of rows that don't name theirs; default: the domain's")
    made.add_argument("--workers", type=int, default=defaults.workers, metavar="N", help="processes")
    made.add_argument(
        "--deadline-seconds", type=float, default=defaults.deadline_seconds, metavar="S", help="for one verdict"
    )
    made.add_argument(
        "--max-error-rate",
        type=float,
        default=defaults.max_error_rate,
        metavar="X",
        help="of a domain; with more it ends with 7",
    )
    made.add_argument(
        "--allow-unconfined",
        action="store_true",
        help="where there is no sandbox (see `prorl doctor sandbox`): let programs of a model do what you may do",
    )
    return made


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    made = parser()
    options = made.parse_args(arguments)
    if options.workers < 1 or options.deadline_seconds <= 0 or not 0 < options.max_error_rate <= 1:
        made.error("--workers is at least 1, --deadline-seconds above 0, --max-error-rate above 0 and at most 1")
    return options
