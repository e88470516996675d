"""A run's folder, open: the attempt that this start is, its logs, its status, and the signals that it gets.

<run.dir>/
    status.json        how the run stands now; see `status`
    attempts/0001/     one folder a start; see `attempts`
    checkpoints/ metrics.jsonl samples.jsonl config.yaml export/ ...
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from nemo_prorl.config.evaluate import EvaluateConfig
from nemo_prorl.config.schema import ProRLConfig, SFTConfig
from nemo_prorl.control import RunControl, StopRequests, StopSignals, time_limit
from nemo_prorl.errors import FINAL_CODES, INTERRUPTED, ProRLError, RunInUseError, Stopped
from nemo_prorl.pulse import PULSE
from nemo_prorl.telemetry.attempts import HEARTBEAT_SECONDS, Attempt
from nemo_prorl.telemetry.environment import environment_of_attempt
from nemo_prorl.telemetry.log import configure_logging, hold_records
from nemo_prorl.telemetry.process_identity import ProcessIdentity
from nemo_prorl.telemetry.run_folder import opened
from nemo_prorl.telemetry.status import STATUS_FILE, Heartbeat, RunStatus
from nemo_prorl.world import World, gather_or_raise, rank_from_environment, world_size_from_environment

log = logging.getLogger(__name__)


class Place(NamedTuple):
    """What a rank does. `progress` is another number whenever it gets on: by a completion, a microbatch, a phase."""

    phase: str
    step: int | None
    progress: int


class Run:
    """What a rank has of the run's folder. Made by `open_run`.

    The main rank has claimed the folder before anything is loaded; the others learn its attempt in `join`.
    """

    def __init__(
        self, run_dir: Path, level: str, asked: StopRequests, attempt: Attempt | None, refusal: RunInUseError | None
    ) -> None:
        self.run_dir, self._level, self._asked = run_dir, level, asked
        self._attempt, self._refusal = attempt, refusal
        self.log_file = None if attempt is None else _log_of(attempt.folder, 0)
        self._has_ended = False
        status_file = run_dir / STATUS_FILE if attempt is not None else None
        self.status = RunStatus(status_file, attempt=0 if attempt is None else attempt.number)

    @property
    def place(self) -> Place:
        """What this rank does at this moment."""
        return Place(*self.status.present, self.status.changes + PULSE.beats)

    def join(self, world: World) -> RunControl:
        """Collective, once the ranks have met: all log to files of this attempt from now on.

        Raises:
            RunInUseError: another process has the folder; on every rank.
            ConfigError: this rank can't write to it.
        """
        gather_or_raise(world, None, self._refusal, f"claiming run.dir={self.run_dir}")
        folder = world.broadcast(self._attempt.folder if self._attempt is not None else None)
        assert folder is not None
        processes = world.gather(ProcessIdentity.own())
        with opened(self.run_dir):
            if self._attempt is not None:
                self._attempt.add({"ranks": [str(process) for process in processes]})
            else:
                self.log_file = _log_of(folder, world.rank)
                configure_logging(world.rank, self._level, self.log_file)
        return RunControl(self.run_dir, world, self._asked)

    def end(self, error: BaseException | None) -> None:
        """Note how it ended; the first time counts."""
        if self._attempt is None or self._has_ended:
            return
        self._has_ended = True
        state, reason, exit_code = _ending(error)
        known = {"state": state, "reason": reason, "exit_code": exit_code}
        self.status.update(
            **known, restart=state != "finished" and exit_code not in FINAL_CODES, phase=None, eta_unix_seconds=None
        )
        said = self.status.heartbeat
        try:
            self._attempt.add({**known, "ended_unix_seconds": said})
        except OSError as problem:  # a full disk, which must not hide why the run ends
            log.warning("%s can't be told how it ended: %s", self._attempt.folder, problem)


@contextmanager
def open_run(config: ProRLConfig | SFTConfig | EvaluateConfig, signals: StopSignals) -> Iterator[Run]:
    """Claim the run's folder, log to it, and note in it how the run ends. Cheap: nothing large is loaded for it.

    Raises:
        RunInUseError: another process has the folder, in a run of one rank; several find out when they `join`.
        ConfigError: it can't be used.
    """
    run_dir, level = Path(config.run.dir), config.telemetry.log_level
    rank, attempt, refusal = rank_from_environment(), None, None
    asked = StopRequests(run_dir, signals, time_limit(config.run.max_hours, config.run.stop_margin_minutes))
    hold_records(rank, level)
    with opened(run_dir):
        if rank == 0:
            try:
                attempt = _claimed(run_dir, config.model_dump(mode="json"))
                configure_logging(rank, level, _log_of(attempt.folder, rank))
            except RunInUseError as error:
                if world_size_from_environment() == 1:
                    raise
                refusal = error
        run = Run(run_dir, level, asked, attempt, refusal)
    with Heartbeat(_beat(run, attempt), HEARTBEAT_SECONDS) if attempt is not None else nullcontext():
        try:
            yield run
        except BaseException as error:
            run.end(error)
            raise
        run.end(None)


def _claimed(run_dir: Path, resolved: Mapping[str, Any]) -> Attempt:
    attempt = Attempt.claim(run_dir)
    text = yaml.safe_dump(dict(resolved), sort_keys=False, allow_unicode=True)
    (attempt.folder / "config.yaml").write_text(text, encoding="utf-8")
    attempt.add({"state": "running", **environment_of_attempt()})
    return attempt


def _beat(run: Run, attempt: Attempt) -> Callable[[], None]:
    def beat() -> None:
        attempt.touch()
        run.status.update()

    return beat


def _ending(error: BaseException | None) -> tuple[str, str, int]:
    """State, reason and exit code."""
    if error is None:
        return "finished", "all steps are done", 0
    if isinstance(error, Stopped):
        return "stopped", str(error), error.exit_code
    if isinstance(error, ProRLError):
        return "failed", f"{type(error).__name__}: {error}", error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "failed", "interrupted", INTERRUPTED
    return "failed", f"{type(error).__name__}: {error}", 1


def _log_of(attempt: Path, rank: int) -> Path:
    return attempt / "logs" / f"rank_{rank:05d}.log"
