"""A request's parameters, and what is read from its output: token ids in, token ids and their logprobs out.

None of the library's defaults is relied on: without parameters it is greedy, answers 32 tokens, and takes the end
token off the answer but not its logprob.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.errors import RolloutError
from nemo_prorl.rollout.decoding import Decoded, Job
from nemo_prorl.rollout.foreign import believed
from nemo_prorl.rollout.tensorrt_llm.library import Library

Sampler = Literal["TRTLLMSampler", "TorchSampler"]
Mode = Literal["plain", "raw", "processed"]

NO_END = -1  # no token ends an answer by itself: those that do are stop ids, which can be kept


def logprobs_mode(sampling: SamplingParams, sampler: Sampler, library: Library) -> Mode | None:
    """How to ask for logprobs of softmax(logits / temperature) over the whole vocabulary; None: they can't be had.

    TorchSampler gives those of softmax(logits), or, "processed", of what it draws from, which is right unless top-p or
    top-k have cut it. TRTLLMSampler divides the logits in place before it looks at them ("plain": there is no mode to
    ask for); what a cut does to them is not on record. Greedy answers are drawn at temperature 1, by top_k=1.
    """
    is_whole = sampling.top_p == 1 and sampling.top_k == 0
    if sampler == "TRTLLMSampler":
        return "plain" if is_whole or sampling.temperature == 0 else None
    has_modes = "logprobs_mode" in library.sampling_fields
    if sampling.temperature in (0, 1):
        return "raw" if has_modes else "plain"
    return "processed" if has_modes and is_whole else None


def request_parameters(
    job: Job, sampling: SamplingParams, *, stop_ids: Sequence[int], pad_id: int, mode: Mode | None, library: Library
) -> Any:
    """`tensorrt_llm.SamplingParams` of one completion."""
    greedy = sampling.temperature == 0
    parameters: dict[str, Any] = {
        "max_tokens": job.room,
        "n": 1,  # a seed is a request's, not a sample's
        "seed": job.seed >> 1,  # below 2**63, which every version takes
        "temperature": 1.0 if greedy else sampling.temperature,
        "top_p": 1.0 if greedy else sampling.top_p,
        "top_k": 1 if greedy else sampling.top_k,
        "end_id": NO_END,
        "pad_id": pad_id,
        "stop_token_ids": list(stop_ids),
        "include_stop_str_in_output": True,
        "detokenize": False,
        "add_special_tokens": False,
    }
    if mode is not None:
        parameters["logprobs"] = 1  # 0 means none in some versions
        if mode != "plain":
            modes = type(library.SamplingParams().logprobs_mode)
            parameters["logprobs_mode"] = modes(mode)
    return library.SamplingParams(**parameters)


def read_output(output: Any, job: Job, *, stop_ids: Collection[int], has_logprobs: bool) -> Decoded:
    """A finished `CompletionOutput`.

    Raises:
        RolloutError: it isn't what an answer must be; see `believed`.
    """
    return believed(
        *(job, output.token_ids, output.finish_reason),
        partial(_logprobs, output.logprobs, job) if has_logprobs else None,
        stop_ids=stop_ids,
        who="TensorRT-LLM",
    )


def _logprobs(entries: Sequence[Any], job: Job, token_ids: NDArray[np.int32]) -> list[float]:
    """Of the tokens that were drawn. An entry is a number, or names the likeliest token, too, and that one first."""
    try:
        return [
            entry if isinstance(entry, (int, float)) else entry[token].logprob
            for entry, token in zip(entries, token_ids.tolist(), strict=True)
        ]
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise RolloutError(
            f"TensorRT-LLM: the answer to prompt {job.prompt}, sample {job.sample}, has {len(token_ids)} tokens and "
            f"{len(entries)} logprobs that don't belong to them ({type(error).__name__} {error})"
        ) from error
