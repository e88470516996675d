"""What every verifier does, and the table of verifiers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from nemo_prorl.data.trajectory import Verdict

VERIFIERS = {
    "logic": "nemo_prorl.verifiers.logic:LogicVerifier",
    "math": "nemo_prorl.verifiers.math:MathVerifier",
}


class Verifier(Protocol):
    """Judges a text. It lives in a worker process, is made once there, and is asked many times.

    Text from a model is never an error: a wrong, empty, huge or hostile text gets a reward, mostly 0. What `check`
    raises is the verifier's own failure; the pool counts it and names it.
    """

    def check(self, reference: Mapping[str, Any], text: str) -> Verdict:
        """Judge `text`, the whole response, by `reference`, the prompt's field of that name."""
        ...
