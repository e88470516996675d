"""What is judged from the ranks' signs of life: pure, so that it can be tried with numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, Protocol

from nemo_prorl import errors
from nemo_prorl.errors import HungRankError, PeerLostError, ProRLError
from nemo_prorl.vigil.beat import Beat

Kind = Literal["lost", "hung", "failed"]
# How long ranks that can still act get to end by themselves, with their logs and the status written.
GRACE_SECONDS = {"lost": 5.0, "hung": 0.0, "failed": 10.0}
AGAIN = "The same command goes on from the newest checkpoint"


class Limits(Protocol):
    """How many seconds a rank may stand still in a phase, and how many it may be silent."""

    def seconds_of(self, phase: str) -> float: ...

    def silence_of(self, phase: str) -> float: ...


class Seen(NamedTuple):
    """The last sign of life of a rank, and how long ago it came."""

    beat: Beat
    silent_seconds: float
    process: str


@dataclass(frozen=True)
class Verdict:
    """Why every rank ends, on account of `ranks`. `error` names a class of `errors`, which has the exit code."""

    kind: Kind
    ranks: Sequence[int]
    text: str
    error: str

    @property
    def grace_seconds(self) -> float:
        return GRACE_SECONDS[self.kind]

    def as_error(self) -> ProRLError:
        known = getattr(errors, self.error, None)
        kind = known if isinstance(known, type) and issubclass(known, ProRLError) else PeerLostError
        return kind(self.text)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Verdict:
        return cls(said["kind"], tuple(said["ranks"]), said["text"], said["error"])


def lost(rank: int, seen: Seen | None) -> Verdict:
    """`rank` has ended without a word."""
    known = ""
    if seen is not None:
        known = f" ({seen.process}; {seen.silent_seconds:.1f} s before in {seen.beat.where}, at {seen.beat.at})"
    text = (
        f"rank {rank}{known} has ended without a word: killed, out of memory, a crash, or its host is down; see its "
        f"log. So every rank ends. {AGAIN}"
    )
    return Verdict("lost", (rank,), text, PeerLostError.__name__)


def absent(ranks: Sequence[int], minutes: float) -> Verdict:
    """`ranks` never came."""
    text = (
        f"{_named(ranks)} {'has' if len(ranks) == 1 else 'have'} not come within {minutes:g} minutes "
        "(run.watchdog.join_minutes): not started, ended at once, or on a host that can't reach the main rank's; see "
        "their own logs. So every rank ends"
    )
    return Verdict("lost", tuple(ranks), text, PeerLostError.__name__)


def failed(rank: int, beat: Beat, error: BaseException) -> Verdict:
    """`rank` ends with an error. One of ours ends the others with the same class, which decides on the exit code."""
    again = "" if isinstance(error, ProRLError) else f". {AGAIN}"
    text = f"rank {rank} failed in {beat.where}, so every rank stops. {type(error).__name__}: {error}{again}"
    known = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == errors.__name__]
    return Verdict("failed", (rank,), text, known[0] if known else PeerLostError.__name__)


def judged(ranks: Mapping[int, Seen], limits: Limits) -> Verdict | None:
    """Who hangs, or None.

    A rank that waits in a collective stands still for another's sake, and is named only if all do. One that stands
    still by itself is named together with who else does.
    """
    silent = [rank for rank, seen in ranks.items() if seen.silent_seconds > limits.silence_of(seen.beat.phase)]
    if silent:
        return _hung(silent, ranks, "no sign of life", "run.watchdog.silent_seconds")
    still = [rank for rank, seen in ranks.items() if _idle(seen) > limits.seconds_of(seen.beat.phase)]
    culprits = [rank for rank in still if not ranks[rank].beat.waits]
    if culprits:
        return _hung(culprits, ranks, "no progress", "run.watchdog.*minutes")
    if len(still) == len(ranks) > 0:
        return _hung(still, ranks, "no progress: all wait for each other", "run.watchdog.*minutes")
    return None


def survey(ranks: Mapping[int, Seen]) -> str:
    """Where every rank is; those that wait for none first, since the others may wait for them."""
    order = sorted(ranks, key=lambda rank: (ranks[rank].beat.waits, rank))
    return "; ".join(_where(rank, ranks[rank]) for rank in order[:8]) + ("; ..." if len(order) > 8 else "")


def _hung(culprits: Sequence[int], ranks: Mapping[int, Seen], what: str, setting: str) -> Verdict:
    waiting = [rank for rank in ranks if rank not in culprits and ranks[rank].beat.waits]
    waits = f" {_named(waiting)} wait{'s' if len(waiting) == 1 else ''} for it." if waiting else ""
    where = "; ".join(_where(rank, ranks[rank]) for rank in culprits[:8])
    text = (
        f"{_named(culprits)} hang{'s' if len(culprits) == 1 else ''}, {what} ({setting}): {where}.{waits} "
        f"The stacks of all threads are in the ranks' logs. So every rank ends. {AGAIN}"
    )
    return Verdict("hung", tuple(culprits), text, HungRankError.__name__)


def _idle(seen: Seen) -> float:
    return seen.beat.idle_seconds + seen.silent_seconds


def _where(rank: int, seen: Seen) -> str:
    doing = "waiting for others " if seen.beat.waits else ""
    return f"rank {rank} ({seen.process}) in {seen.beat.where} for {_idle(seen):.0f} s, {doing}at {seen.beat.at}"


def _named(ranks: Sequence[int]) -> str:
    listed = ", ".join(map(str, ranks[:8])) + (", ..." if len(ranks) > 8 else "")
    return f"rank{'' if len(ranks) == 1 else 's'} {listed}"
