"""Rollouts with TensorRT-LLM in the trainer's own process: the three verbs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.errors import EngineFailedError, RolloutError
from nemo_prorl.patience import ended_within
from nemo_prorl.rollout.as_finished import as_finished
from nemo_prorl.rollout.decoding import Decoded, Job, check_room, jobs_of
from nemo_prorl.rollout.engine import Sampled
from nemo_prorl.rollout.foreign import GIVEN_UP
from nemo_prorl.rollout.tensorrt_llm import environment
from nemo_prorl.rollout.tensorrt_llm.library import Library
from nemo_prorl.rollout.tensorrt_llm.memory import EngineMemory, Releases
from nemo_prorl.rollout.tensorrt_llm.sampling import (
    Mode,
    Sampler,
    logprobs_mode,
    read_output,
    request_parameters,
)
from nemo_prorl.rollout.tensorrt_llm.weights import EngineWeights
from nemo_prorl.weights.architecture import Architecture

log = logging.getLogger(__name__)

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
LIBRARY_DTYPES = {"fp32": "float32", "bf16": "bfloat16"}
SECONDS_TO_END = 60
SECONDS_TO_ABORT = 20.0  # less than `as_finished` waits for its thread
TRIES = 3  # of a request that the engine gives up


class TensorRTLLMEngine:
    """One engine a rank, whole on the rank's one GPU, in the rank's own process; see `RolloutEngine`.

    Only the folder's config and tokenizer are read: weights come through `load_weights`. Knobs:

    max_sequence_tokens   prompt and response together, at most; None: what the model's config allows
    max_batch_sequences   completions under generation at once
    kv_cache_tokens       the cache's size; None: `kv_cache_fraction` of what is free when the engine starts, which
                          depends on what the trainer holds just then
    dtype                 of weights and cache
    sampler               "TRTLLMSampler" draws by each request's seed; "TorchSampler" does so from late 1.3 on
    releases              what is given back between rollouts
    refit_bucket_mib      of tensors that stand twice during a refit
    block_reuse           compute a prompt's cache once for all its samples
    cuda_graphs           replay decoding steps
    scheduler             "MAX_UTILIZATION" begins more completions than may fit, and computes some of them twice
    silent_minutes        without a finished completion after which the engine is taken for dead

    Raises:
        RolloutError: TensorRT-LLM isn't there, or doesn't start.
        WeightsError: the model is of no family that we know.
    """

    prepare_process = staticmethod(environment.prepare)

    def __init__(
        self,
        model_path: str | Path,
        tokenizer: Tokenizer,
        device: Any = None,
        *,
        max_sequence_tokens: Annotated[int | None, Field(ge=2)] = None,
        max_batch_sequences: Annotated[int, Field(ge=1)] = 512,
        kv_cache_tokens: Annotated[int | None, Field(ge=1)] = None,
        kv_cache_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.5,
        dtype: Literal["bf16", "fp32"] = "bf16",
        sampler: Sampler = "TRTLLMSampler",
        releases: Releases = "cache",
        refit_bucket_mib: Annotated[int, Field(ge=1)] = 512,
        block_reuse: bool = True,
        cuda_graphs: bool = True,
        scheduler: Literal["GUARANTEED_NO_EVICT", "MAX_UTILIZATION"] = "GUARANTEED_NO_EVICT",
        silent_minutes: Annotated[float, Field(gt=0)] = 30.0,
    ) -> None:
        architecture = Architecture.read(model_path)
        self._tokenizer, self._sampler, self._silent_seconds = tokenizer, sampler, 60 * silent_minutes
        self._longest, self._at_once = max_sequence_tokens or architecture.max_positions, 2 * max_batch_sequences
        environment.prepare()
        self._library = library = Library.load()
        self._llm = library.start(
            {
                **_fixed(model_path, self._longest, max_batch_sequences),
                **(library.sleep_arguments() if releases != "nothing" else {}),
                "dtype": LIBRARY_DTYPES[dtype],
                "sampler_type": sampler,
                "scheduler_config": library.arguments.SchedulerConfig(capacity_scheduler_policy=scheduler),
                "kv_cache_config": _cache_config(library, kv_cache_tokens, kv_cache_fraction, block_reuse),
                "cuda_graph_config": _graph_config(library, max_batch_sequences) if cuda_graphs else None,
            }
        )
        self._weights = EngineWeights(self._llm._executor.engine, architecture, DTYPES[dtype], refit_bucket_mib << 20)
        self._memory = EngineMemory(library, self._llm._executor, releases)
        self._loaded, self._has_said = False, set[SamplingParams]()
        self._memory.free()  # the trainer is still to be made
        log.info("rollouts are made by TensorRT-LLM %s in this process, %s, %s", library.version, dtype, sampler)

    def load_weights(self, stream: Iterable[tuple[str, Tensor]]) -> None:
        """See `RolloutEngine.load_weights`. With tied embeddings `lm_head.weight` may be left out."""
        self._loaded, stream = False, iter(stream)
        try:
            self._memory.take_weights()
            self._weights.load(stream)
            self._memory.take_cache()
        finally:
            for _ in stream:  # after an error, too: other ranks take part in it
                pass
        self._loaded = True

    def generate(self, prompts: Sequence[Prompt], sampling: SamplingParams) -> Iterator[Sampled]:
        """See `RolloutEngine.generate`. Completions have no logprobs where the engine can't give those of the policy
        at this temperature (`logprobs_mode`); the log says so once."""
        if not self._loaded:
            raise RolloutError("TensorRTLLMEngine.generate: the engine has no weights; call load_weights first")
        check_room(prompts, sampling)
        self._check_length(prompts, sampling)
        return self._sampled(prompts, sampling)

    def release(self) -> None:
        """Give back what was said at the start. Until the next `load_weights` nothing can be generated."""
        self._loaded = False
        self._weights.reset_prefix_cache()  # whose entries outlive what they speak of
        self._memory.free()

    def close(self) -> None:
        """End the engine's threads and free what it holds; one that hangs ends with the process."""
        self._loaded = False
        try:
            if not ended_within(SECONDS_TO_END, self._llm.shutdown):
                log.warning("TensorRT-LLM has not ended within %d s and is left behind", SECONDS_TO_END)
        except Exception as error:  # nothing depends on it, and it must not hide why the run ends
            log.warning("TensorRT-LLM has not ended well: %s: %s", type(error).__name__, error)

    def _sampled(self, prompts: Sequence[Prompt], sampling: SamplingParams) -> Iterator[Sampled]:
        mode = self._mode(sampling)

        async def answer(job: Job) -> Decoded:
            return await self._answer(job, sampling, mode)

        for decoded in as_finished(
            jobs_of(prompts, sampling),
            answer,
            at_once=self._at_once,
            silent_seconds=self._silent_seconds,
            who="TensorRT-LLM",
            longer_by="rollout.silent_minutes",
        ):
            yield decoded.sampled(self._tokenizer)

    async def _answer(self, job: Job, sampling: SamplingParams, mode: Mode | None) -> Decoded:
        stop_ids, pad_id = self._tokenizer.stop_ids, self._tokenizer.pad_id
        parameters = request_parameters(
            job, sampling, stop_ids=stop_ids, pad_id=pad_id, mode=mode, library=self._library
        )
        for _ in range(TRIES):
            output = await self._ask(job, parameters)
            if output.finish_reason not in GIVEN_UP:
                return read_output(output, job, stop_ids=stop_ids, has_logprobs=mode is not None)
            log.warning("TensorRT-LLM gave up prompt %d, sample %d (%s)", job.prompt, job.sample, output.finish_reason)
        raise EngineFailedError(
            f"TensorRT-LLM gave up prompt {job.prompt}, sample {job.sample}, {TRIES} times "
            f"({output.finish_reason}); look at its own log"
        )

    async def _ask(self, job: Job, parameters: Any) -> Any:
        """The output of one request, which is taken back when nobody waits for it any more."""
        request = None
        try:
            request = self._llm.generate_async({"prompt_token_ids": list(job.token_ids)}, parameters)
            return (await request).outputs[0]
        except Exception as error:
            raise EngineFailedError(
                f"TensorRT-LLM failed at prompt {job.prompt}, sample {job.sample}: {type(error).__name__}: {error}"
            ) from error
        except BaseException:  # cancelled
            if request is not None:
                await _taken_back(request)
            raise

    def _mode(self, sampling: SamplingParams) -> Mode | None:
        mode = logprobs_mode(sampling, self._sampler, self._library)
        if mode is None and sampling not in self._has_said:
            self._has_said.add(sampling)
            log.warning(
                "%s of TensorRT-LLM %s gives no logprobs of the policy at temperature %g, top_p %g, top_k %d: the "
                "completions come without, so nothing tells whether they are the policy's",
                *(self._sampler, self._library.version, sampling.temperature, sampling.top_p, sampling.top_k),
            )
        return mode

    def _check_length(self, prompts: Sequence[Prompt], sampling: SamplingParams) -> None:
        for prompt in prompts:
            wanted = len(prompt.token_ids) + sampling.response_room(len(prompt.token_ids))
            if wanted > self._longest:
                raise RolloutError(
                    f"prompt {prompt.uid!r} and its response may have {wanted} tokens, and TensorRT-LLM was started "
                    f"for {self._longest}; raise rollout.max_sequence_tokens to the longest context_tokens of a stage "
                    "or validation, or lower that"
                )


async def _taken_back(request: Any) -> None:
    """End a request, and be there for its last word: the library fails when it tells an event loop that is gone."""
    with suppress(Exception):
        request.abort()
        await asyncio.wait_for(request.aresult(), SECONDS_TO_ABORT)


def _fixed(model_path: str | Path, longest: int, sequences: int) -> dict[str, Any]:
    """What an LLM is told in any case."""
    return {
        "model": str(model_path),
        "tensor_parallel_size": 1,
        "load_format": "dummy",  # a tensor that never comes shows, where the folder's own would hide it
        "max_seq_len": longest,
        "max_input_len": longest,
        "max_batch_size": sequences,
        "max_num_tokens": max(longest, 8192),  # a prompt is read in one step
    }


def _cache_config(library: Library, tokens: int | None, fraction: float, block_reuse: bool) -> Any:
    size = {"max_tokens": tokens} if tokens else {"free_gpu_memory_fraction": fraction}
    return library.arguments.KvCacheConfig(enable_block_reuse=block_reuse, **size)


def _graph_config(library: Library, sequences: int) -> Any:
    return library.arguments.CudaGraphConfig(enable_padding=True, max_batch_size=sequences)
