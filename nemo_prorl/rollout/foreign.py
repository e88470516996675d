"""Answers of an engine whose code isn't ours: believed once they were looked at."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nemo_prorl.errors import RolloutError
from nemo_prorl.rollout.decoding import Decoded, Job

GIVEN_UP = ("cancelled", "timeout", None)
"""Finish reasons that say nothing about the model: such a request is made again."""

ROUNDING = 1e-3  # by which a logprob may be above 0


def believed(
    job: Job,
    token_ids: Sequence[int],
    finish_reason: str,
    logprobs: Callable[[NDArray[np.int32]], Sequence[Any]] | None,
    *,
    stop_ids: Collection[int],
    who: str,
) -> Decoded:
    """A finished answer to `job`, checked against all that it must be. `logprobs` gives those of the tokens.

    Whether it ended by itself is read from its last token: some engines say "length" of an end token that stands in the
    last place there was.

    Raises:
        RolloutError: an end token is missing or stands in the middle, the answer is longer or shorter than it may be,
            or logprobs don't belong to its tokens; `who` gave it.
    """
    where = f"{who}: the answer to prompt {job.prompt}, sample {job.sample},"
    ids = np.array(token_ids, dtype=np.int32)
    ends = np.isin(ids, list(stop_ids))
    stopped = bool(len(ids) and ends[-1])
    problem = None
    if not len(ids):
        problem = "is empty"
    elif finish_reason == "stop" and not stopped:
        problem = "ended by itself, but its end token was taken off"
    elif bool(ends[:-1].any()):
        problem = "goes on after an end token"
    elif len(ids) > job.room:
        problem = f"has {len(ids)} tokens, more than the {job.room} it had room for"
    elif not stopped and len(ids) < job.room:
        problem = f"was cut after {len(ids)} of {job.room} tokens; the engine was started for shorter sequences"
    if problem is not None:
        raise RolloutError(f"{where} {problem}")
    return Decoded(job, ids, None if logprobs is None else _finite(logprobs(ids), len(ids), where), stopped)


def _finite(values: Sequence[Any], length: int, where: str) -> NDArray[np.float32]:
    if len(values) != length:
        raise RolloutError(f"{where} has {length} tokens and {len(values)} logprobs")
    found = np.array(values, dtype=np.float32)
    if not np.isfinite(found).all() or (found > ROUNDING).any():
        raise RolloutError(
            f"{where} has logprobs that are none ({found.min():g} to {found.max():g}): the engine's weights are "
            "broken, or its precision is too low"
        )
    return found
