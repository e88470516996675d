"""Verdicts about rows that nobody has tokenized, for those who look at data."""

from __future__ import annotations

from nemo_prorl.data.prompt import Prompt, Row
from nemo_prorl.data.trajectory import Verdict
from nemo_prorl.verifiers.pool import VerifierPool


class RowJudge:
    """Asks a pool about rows; from any thread."""

    def __init__(self, pool: VerifierPool) -> None:
        self._pool = pool

    def __call__(self, row: Row, response: str) -> Verdict:
        """The verdict on a whole response."""
        return self._pool.submit(_prompt(row), response).result()

    def objection(self, row: Row) -> str | None:
        """Why no response to the row can be judged; None: one can."""
        return self._pool.objection(_prompt(row))


def _prompt(row: Row) -> Prompt:
    return Prompt.to_judge(row.domain, row.reference, verifier=row.verifier, uid=row.uid)
