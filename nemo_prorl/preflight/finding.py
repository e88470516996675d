"""What one check found on one rank."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from nemo_prorl.errors import DataError

Outcome = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class Finding:
    """`found` in a few words, and `advice` on what to do about it unless all is well."""

    check: str
    outcome: Outcome
    found: str
    advice: str = ""

    def __post_init__(self) -> None:
        if self.outcome != "ok" and not self.advice:
            raise DataError(f"the finding {self.check!r} is a {self.outcome} without a word on what to do about it")


@dataclass(frozen=True)
class RankReport:
    """What a rank has found so far. `done`: nothing more will come."""

    rank: int
    host: str
    findings: tuple[Finding, ...]
    done: bool

    @property
    def failed(self) -> bool:
        return any(finding.outcome == "failed" for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> RankReport:
        return cls(said["rank"], said["host"], tuple(Finding(**one) for one in said["findings"]), said["done"])
