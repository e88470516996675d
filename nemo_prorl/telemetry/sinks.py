"""Where metrics go besides metrics.jsonl."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from nemo_prorl.config.kept import TelemetryConfig
from nemo_prorl.errors import ConfigError
from nemo_prorl.patience import ended_within

log = logging.getLogger(__name__)

SECONDS_TO_UPLOAD = 120.0


class Sink(Protocol):
    place: Path  # where it writes

    def write(self, step: int, values: Mapping[str, float]) -> None: ...

    def go_back(self, first_step: int) -> None:
        """The run goes on with this step: what was written from it on is overlaid."""
        ...

    def close(self) -> None: ...


def check_installed(config: TelemetryConfig) -> None:
    """Refuse a sink whose package is missing, on every rank and before any training.

    Raises:
        ConfigError: names the setting, the package, and how to do without.
    """
    if config.tensorboard and find_spec("tensorboard") is None:
        raise ConfigError(
            "telemetry.tensorboard=true, but the package tensorboard is not installed. "
            "Run 'pip install tensorboard', or set telemetry.tensorboard=false"
        )
    if config.wandb_project is not None and find_spec("wandb") is None:
        raise ConfigError(
            f"telemetry.wandb_project={config.wandb_project!r}, but the package wandb is not installed. "
            "Run 'pip install wandb', or set telemetry.wandb_project=null"
        )


def open_sinks(
    run_dir: Path, config: TelemetryConfig, resolved: Mapping[str, Any], *, first_step: int
) -> tuple[Sink, ...]:
    """The sinks that `config` asks for. What an earlier life of the run logged from `first_step` on is overlaid."""
    sinks: list[Sink] = []
    if config.tensorboard:
        sinks.append(TensorBoardSink(run_dir / "tensorboard", first_step=first_step))
    if config.wandb_project is not None:
        sinks.append(WandbSink(config.wandb_project, run_dir, resolved))
    return tuple(sinks)


class TensorBoardSink:
    """Scalars in an event file; `purge_step` makes TensorBoard hide the steps that a killed run did in vain."""

    def __init__(self, folder: Path, *, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.place, self._open = folder, partial(SummaryWriter, str(folder))
        self._writer = self._open(purge_step=first_step)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def go_back(self, first_step: int) -> None:
        self._writer.close()
        self._writer = self._open(purge_step=first_step)

    def close(self) -> None:
        self._writer.close()


class WandbSink:
    """One W&B run for each run folder, however often it is resumed: its id is kept in wandb_id.txt.

    W&B is a service on another host behind a process of its own. When either fails the log warns and the run goes on:
    metrics.jsonl has everything.

    Raises:
        ConfigError: it can't be begun.
    """

    def __init__(self, project: str, run_dir: Path, resolved: Mapping[str, Any]) -> None:
        import wandb

        self._library = wandb
        self.place = run_dir / "wandb"
        kept = run_dir / "wandb_id.txt"
        if not kept.exists():
            kept.write_text(uuid.uuid4().hex[:12] + "\n", encoding="utf-8")
        self._has_warned = False
        settings = {"project": project, "name": run_dir.name, "id": kept.read_text(encoding="utf-8").strip()}
        try:
            self._run = wandb.init(**settings, dir=str(run_dir), config=dict(resolved), resume="allow")
        except Exception as error:  # of its own kinds: no key, no network, no such project
            raise ConfigError(
                f"telemetry.wandb_project={project!r}: Weights & Biases can't begin: {type(error).__name__}: {error}. "
                "Give it a key ('wandb login'), set WANDB_MODE=offline, or set telemetry.wandb_project=null"
            ) from error
        # W&B's own step only grows; a resumed run goes back, so the trainer's step is the axis.
        self._run.define_metric("*", step_metric="step")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        try:
            self._run.log({"step": step, **values})
        except Exception as error:
            if not self._has_warned:
                log.warning(
                    "Weights & Biases takes no metrics since step %d: %s: %s", step, type(error).__name__, error
                )
            self._has_warned = True

    def go_back(self, first_step: int) -> None:
        """Nothing has to be done: the trainer's step is the axis."""

    def close(self) -> None:
        """Upload what is left. W&B waits for ever for a network that is gone; a run doesn't."""
        if ended_within(SECONDS_TO_UPLOAD, self._run.finish):
            return
        log.warning(
            "Weights & Biases has not taken the last metrics within %.0f s and is left behind; 'wandb sync' sends what "
            "lies in %s",
            *(SECONDS_TO_UPLOAD, self.place),
        )
        ended_within(1.0, self._library.teardown)  # or it would wait once more, and for ever, when the process ends
