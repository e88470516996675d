"""What is compared: each study is a question and some arms, each arm a way of training and its settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

STAGE = "recipe.stages.quickstart"

# Of every arm. Twice the quickstart's steps at twice its learning rate: long enough for what KL and resets are to
# prevent. Validation is coarser and more frequent than there, since a rule has to steer by it.
BASE = (
    "recipe=quickstart",
    f"{STAGE}.steps=90",
    "optimizer.lr=3e-4",
    "validation.every_steps=10",
    "validation.problems_per_task=16",
    "checkpoint.every_steps=30",
    "export.at_end=false",
    "telemetry.tensorboard=false",
)
KL = f"{STAGE}.kl_weight=0.05"
NEVER = f"{STAGE}.reset.every_steps=null"


@dataclass(frozen=True)
class Arm:
    """A way of training: the folder of its runs, its name in plots, and its settings besides `BASE`."""

    folder: str
    name: str
    overrides: tuple[str, ...]


NO_KL = Arm("no_kl", "no KL", (f"{STAGE}.kl_weight=0", NEVER))
KL_ALONE = Arm("kl", "KL, no reset", (KL, NEVER))
INTERVAL = Arm("interval", "KL, reset every 15 steps", (KL, f"{STAGE}.reset.every_steps=15"))
PLATEAU = Arm("plateau", "KL, reset on a plateau", (KL, NEVER, f"+{STAGE}.reset.plateau={{patience: 2}}"))
NARROW = Arm("narrow", "clip 0.2 / 0.2", (*INTERVAL.overrides, "loss.objective.clip_high=0.2"))
WIDE = replace(INTERVAL, name="clip 0.2 / 0.4")  # the same runs


@dataclass(frozen=True)
class Study:
    """A question, and the arms that differ in what it asks about."""

    question: str
    arms: Sequence[Arm]


STUDIES = {
    "kl": Study("Does a KL penalty keep the policy alive?", (NO_KL, KL_ALONE)),
    "resets": Study("Do resets of the reference and the optimizer help?", (KL_ALONE, INTERVAL)),
    "rules": Study("A fixed interval, or when validation stalls?", (INTERVAL, PLATEAU)),
    "clip": Study("Does the higher upper clip keep entropy up?", (NARROW, WIDE)),
}
