"""Groups as JSON and back, exactly: for what of a run's samples lies in its checkpoints."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.trajectory import Completion, Group, Verdict


def group_to_json(group: Group) -> dict[str, Any]:
    """JSON types only; arrays are base64 of their little-endian bytes, so that a float comes back bit for bit."""
    return {
        "prompt": {**vars(group.prompt), "messages": [dict(message) for message in group.prompt.messages]},
        "completions": [
            {
                "tokens": _text(completion.token_ids, "<i4"),
                "logprobs": None if completion.logprobs is None else _text(completion.logprobs, "<f4"),
                "finish_reason": completion.finish_reason,
                "text": completion.text,
            }
            for completion in group.completions
        ],
        "verdicts": [asdict(verdict) for verdict in group.verdicts],
        "steps_waited": group.steps_waited,
    }


def group_from_json(saved: Mapping[str, Any]) -> Group:
    """What `group_to_json` gave, also after it was written as JSON."""
    prompt = dict(saved["prompt"])
    prompt |= {"messages": tuple(prompt["messages"]), "token_ids": tuple(prompt["token_ids"])}
    completions = tuple(
        Completion(
            _array(one["tokens"], "<i4").astype(np.int32),
            None if one["logprobs"] is None else _array(one["logprobs"], "<f4").astype(np.float32),
            one["finish_reason"],
            one["text"],
        )
        for one in saved["completions"]
    )
    verdicts = tuple(Verdict(**verdict) for verdict in saved["verdicts"])
    return Group(Prompt(**prompt), completions, verdicts, steps_waited=saved["steps_waited"])


def _text(array: NDArray[Any], dtype: str) -> str:
    return base64.b64encode(array.astype(dtype).tobytes()).decode("ascii")


def _array(text: str, dtype: str) -> NDArray[Any]:
    return np.frombuffer(base64.b64decode(text), dtype=dtype)
