"""Counting verdicts: metrics of a step, and whether a domain's verifier can still be trusted."""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from dataclasses import dataclass, field

from nemo_prorl.data.trajectory import OUTCOMES, Verdict
from nemo_prorl.errors import VerifierError

WINDOW = 1000  # verdicts of a domain that its error rate is taken over: the present, not the average of days
REASONS = 3


@dataclass
class _Domain:
    window: int
    outcomes: Counter[str] = field(default_factory=Counter)  # since the last drain, like `seconds`
    seconds: list[float] = field(default_factory=list)
    reasons: deque[str] = field(default_factory=lambda: deque(maxlen=REASONS))
    recent: deque[bool] = field(init=False)  # True: the verifier's own failure

    def __post_init__(self) -> None:
        self.recent = deque(maxlen=self.window)

    def add(self, verdict: Verdict) -> None:
        failed = verdict.outcome in ("timeout", "error")
        self.outcomes[verdict.outcome] += 1
        self.seconds.append(verdict.seconds)
        self.recent.append(failed)
        if failed and verdict.reason not in self.reasons:
            self.reasons.append(verdict.reason)

    def drain(self, name: str) -> dict[str, float]:
        total, ordered = sum(self.outcomes.values()), sorted(self.seconds)
        values = {f"verifier/{name}/verdicts": float(total)}
        for outcome in OUTCOMES:
            values[f"verifier/{name}/{outcome}"] = float(self.outcomes[outcome])
            values[f"verifier/{name}/{outcome}_fraction"] = self.outcomes[outcome] / total
        for percent in (50, 99):
            values[f"time/verifier_{name}_p{percent}_seconds"] = ordered[math.ceil(percent / 100 * total) - 1]
        self.outcomes.clear()
        self.seconds.clear()
        return values


class Tally:
    """Verdicts by domain. `add` and the others may be called from any thread."""

    def __init__(self, *, max_error_rate: float, min_verdicts_to_judge: int) -> None:
        self._max_error_rate = max_error_rate
        self._min_verdicts = min_verdicts_to_judge
        self._domains: dict[str, _Domain] = {}
        self._lock = threading.Lock()

    def add(self, domain: str, verdict: Verdict) -> None:
        with self._lock:
            if domain not in self._domains:
                self._domains[domain] = _Domain(max(WINDOW, self._min_verdicts))
            self._domains[domain].add(verdict)

    def drain(self) -> dict[str, float]:
        """Metrics since the last drain, of the domains that were judged since then."""
        with self._lock:
            judged = {name: domain for name, domain in sorted(self._domains.items()) if domain.seconds}
            return {key: value for name, domain in judged.items() for key, value in domain.drain(name).items()}

    def check(self) -> None:
        """Raises:
        VerifierError: of a domain's last verdicts, too many were errors or time-outs.
        """
        with self._lock:
            for name, domain in sorted(self._domains.items()):
                judged, failed = len(domain.recent), sum(domain.recent)
                if judged >= self._min_verdicts and failed > self._max_error_rate * judged:
                    reasons = "".join(f"\n  - {reason}" for reason in domain.reasons)
                    raise VerifierError(
                        f"rewards of domain {name!r} can't be trusted: {failed} of its last {judged} verdicts "
                        f"({failed / judged:.0%}) are errors or time-outs; verifiers.max_error_rate allows "
                        f"{self._max_error_rate:.0%}. Latest reasons:{reasons}\n"
                        f"Repair the verifier or the data that these name; for time-outs on a busy machine raise "
                        f"verifiers.deadline_seconds or lower verifiers.workers; if this is to be expected, raise "
                        f"verifiers.max_error_rate."
                    )
