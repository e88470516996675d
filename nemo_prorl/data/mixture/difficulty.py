"""How hard each problem has proved, and which ones are better left alone for a while."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nemo_prorl.errors import CheckpointError

Reason = Literal["solved", "hopeless", "outside_band"]

_MOST_RECENT = 65_536  # entries in a dictionary; merged into arrays they take a sixth of the memory


@dataclass(frozen=True)
class Observed:
    """What is known of a problem: so many samples, of which the older ones may count less, and their mean reward.

    Where rewards are 0 or 1 the mean is the pass rate; a reward in parts counts in part.
    """

    samples: float
    pass_rate: float


@dataclass(frozen=True)
class Avoidance:
    """Which problems are passed over when their turn comes.

    A problem with at least `min_samples` samples is left alone if its pass rate so far is `solved_at` or above, or
    `hopeless_at` or below (None: never for that reason). It isn't lost: at each turn it is drawn all the same with
    `revisit_probability`, above 0, and what is seen then counts more than what was seen before, by `memory`: each new
    group makes the weight of all older samples that much smaller.
    """

    solved_at: float | None = None
    hopeless_at: float | None = None
    min_samples: int = 32
    revisit_probability: float = 0.05
    memory: float = 0.5

    def reason(self, observed: Observed | None, band: tuple[float, float] | None = None) -> Reason | None:
        """Why a problem should be passed over, or None. A stage's `band` of pass rates stands before the two limits."""
        if observed is None or observed.samples < self.min_samples:
            return None
        if band is not None:
            return None if band[0] <= observed.pass_rate <= band[1] else "outside_band"
        if self.solved_at is not None and observed.pass_rate >= self.solved_at:
            return "solved"
        if self.hopeless_at is not None and observed.pass_rate <= self.hopeless_at:
            return "hopeless"
        return None


class PassRates:
    """Samples and rewards so far by problem, known by 64 bits of its uid: 16 bytes each, for millions of them.

    The same observations in the same order give the same state on every rank, to the last bit.
    """

    def __init__(self) -> None:
        self._uids: NDArray[np.uint64] = np.empty(0, "<u8")  # ascending
        self._sums: NDArray[np.float32] = np.empty((0, 2), "<f4")  # samples, rewards
        self._recent: dict[int, tuple[float, float]] = {}  # what the arrays don't know yet

    def __len__(self) -> int:
        self._merge()
        return len(self._uids)

    def of(self, uid: int) -> Observed | None:
        """What is known of the problem whose uid has this digest."""
        samples, rewards = self._sums_of(uid)
        return Observed(samples, rewards / samples) if samples else None

    def add(self, uid: int, rewards: Sequence[float], memory: float) -> None:
        """A group of a problem; what was known before keeps `memory` of its weight."""
        samples, total = self._sums_of(uid)
        # Rounded as they will be stored, so that it makes no difference when they are.
        new = np.array([samples * memory + len(rewards), total * memory + sum(rewards)], np.float32).tolist()
        self._recent[uid] = (new[0], new[1])
        if len(self._recent) > _MOST_RECENT:
            self._merge()

    def metrics(self) -> dict[str, float]:
        """How many problems are known, their mean pass rate, and what part of them is at either end."""
        if not len(self):
            return {"data/known_problems": 0.0}
        rates = self._sums[:, 1] / self._sums[:, 0]
        return {
            "data/known_problems": float(len(rates)),
            "data/known_pass_rate_mean": float(rates.mean(dtype=np.float64)),
            "data/known_solved_fraction": float((rates >= 1).mean()),
            "data/known_hopeless_fraction": float((rates <= 0).mean()),
        }

    def state_dict(self) -> dict[str, Any]:
        """The table as text; JSON types only."""
        self._merge()
        packed = zlib.compress(self._uids.tobytes() + self._sums.tobytes(), level=1)
        return {"problems": len(self._uids), "table": base64.b64encode(packed).decode()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises:
        CheckpointError: the table isn't whole.
        """
        count = state["problems"]
        try:
            data = zlib.decompress(base64.b64decode(state["table"], validate=True))
            self._uids = np.frombuffer(data, "<u8", count)
            self._sums = np.frombuffer(data, "<f4", 2 * count, offset=8 * count).reshape(count, 2)
        except (ValueError, zlib.error) as error:
            raise CheckpointError(
                f"the pass rates of {count} problems in the checkpoint can't be read: {error}; resume from another one"
            ) from error
        self._recent = {}

    def _sums_of(self, uid: int) -> tuple[float, float]:
        if (recent := self._recent.get(uid)) is not None:
            return recent
        place = int(np.searchsorted(self._uids, np.uint64(uid)))
        if place == len(self._uids) or int(self._uids[place]) != uid:
            return 0.0, 0.0
        return float(self._sums[place, 0]), float(self._sums[place, 1])

    def _merge(self) -> None:
        """Take what is recent into the arrays."""
        if not self._recent:
            return
        new = np.fromiter(self._recent, "<u8", len(self._recent))
        kept = ~np.isin(self._uids, new)
        uids = np.concatenate([self._uids[kept], new])
        sums = np.concatenate([self._sums[kept], np.array(list(self._recent.values()), "<f4")])
        order = np.argsort(uids, kind="stable")
        self._uids, self._sums, self._recent = uids[order], sums[order], {}
