"""Whether a reference can be judged by at all, told by reading it: no process, no text of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nemo_prorl.data.prompt import Row
from nemo_prorl.errors import VerifierError
from nemo_prorl.verifiers.code_reference import read_tests
from nemo_prorl.verifiers.instruction import check_reference
from nemo_prorl.verifiers.math import read_gold
from nemo_prorl.verifiers.stem import read_task


def _instructions(reference: Mapping[str, Any]) -> None:
    if problems := check_reference(reference):
        raise VerifierError("; ".join(problems))


# By verifier: what reads its reference, raising VerifierError. What reasoning-gym has just made needs no reading.
READERS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "code": read_tests,
    "instruction": _instructions,
    "math": lambda reference: read_gold(reference.get("answer")),
    "stem": read_task,
}


def objection_to(row: Row) -> str | None:
    """Why no response to a row can be judged: its verifier can't read the reference; None if it can, or isn't ours.

    Of instructions: ids that no check is known for, arguments of wrong types or names, and missing ones that the prompt
    doesn't state.
    """
    reader = READERS.get(row.verifier)
    try:
        if reader is not None:
            reader(row.reference)
    except VerifierError as error:
        return f"{row.verifier} reference can't be read: {error}"
    return None
