"""`LLM`: checks its arguments, and runs its executor in this process where the environment says so."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from functools import cache
from itertools import count
from typing import Any

from transformers import AutoTokenizer

from tensorrt_llm import version
from tensorrt_llm._torch import model as torch_model
from tensorrt_llm._torch import virtual_memory
from tensorrt_llm._torch.py_executor import PyExecutor, make_request
from tensorrt_llm.executor.result import RequestOutput
from tensorrt_llm.llmapi.llm_args import LoadFormat, TorchLlmArgs
from tensorrt_llm.sampling_params import SamplingParams


@cache
def _is_in_process() -> bool:
    """Read once."""
    return os.environ.get("TLLM_WORKER_USE_SINGLE_PROCESS", "0") == "1"


class GenerationExecutorProxy:
    """Stands for a worker in a process of its own, which can't be reached."""

    def shutdown(self) -> None:
        pass


class GenerationExecutorWorker:
    def __init__(self, args: Any) -> None:
        # A process alone in its job takes the first GPU that it sees, whatever its rank among others.
        self.device = (os.environ.get("CUDA_VISIBLE_DEVICES") or "").split(",")[0]
        self._can_sleep = bool(getattr(args, "enable_sleep", False) or getattr(args, "sleep_config", None))
        load_format = args.load_format.name if isinstance(args.load_format, LoadFormat) else args.load_format
        loader = torch_model.ModelLoader(str(args.model), load_format.lower())
        self.engine = PyExecutor(
            torch_model.build(str(args.model), load_format.lower(), args.dtype),
            loader,
            sampler="TorchSampler" if args.sampler_type == "auto" else args.sampler_type,
            max_batch_size=args.max_batch_size,
            block_reuse=args.kv_cache_config.enable_block_reuse,
        )
        if self._can_sleep:
            still, weights = self.engine.stands_still, "model_weights" if version.HAS_SLEEP_CONFIG else "model"
            virtual_memory.own("kv_cache", self.engine.lose_cache, is_kept=False, stands_still=still)
            virtual_memory.own(weights, lambda: None, is_kept=True, stands_still=still)
        loader.stands_still = self.engine.stands_still

    def shutdown(self) -> None:
        self.engine.shutdown()


class SleepingWorker(GenerationExecutorWorker):
    """Of later versions: it sees to the loop itself."""

    def sleep(self, sleep_tags: list[str]) -> None:
        self._check()
        with self.engine.control_action():
            virtual_memory.release_with_tag(*sleep_tags)

    def wakeup(self, wakeup_tags: list[str]) -> None:
        self._check()
        with self.engine.control_action():
            virtual_memory.materialize_with_tag(*wakeup_tags)

    def _check(self) -> None:
        if not self._can_sleep:
            raise ValueError("sleep needs sleep_config")


class LLM:
    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        tokenizer_mode: str = "auto",
        skip_tokenizer_init: bool = False,
        trust_remote_code: bool = False,
        tensor_parallel_size: int = 1,
        dtype: str = "auto",
        revision: str | None = None,
        tokenizer_revision: str | None = None,
        **kwargs: Any,
    ) -> None:
        for key in kwargs:
            if key not in TorchLlmArgs.model_fields:
                raise ValueError(f"{type(self).__name__} got invalid argument: {key}")
        self.args = args = TorchLlmArgs(
            model=model, tokenizer=tokenizer, tensor_parallel_size=tensor_parallel_size, dtype=dtype, **kwargs
        )
        self._tokenizer = AutoTokenizer.from_pretrained(tokenizer or model, local_files_only=True)
        self._numbers = count()
        worker = SleepingWorker if version.EXECUTOR_SLEEPS else GenerationExecutorWorker
        self._executor: Any = worker(args) if _is_in_process() and tensor_parallel_size == 1 else None
        if self._executor is None:
            self._executor = GenerationExecutorProxy()

    @property
    def tokenizer(self) -> Any:
        return self._tokenizer

    def generate_async(
        self,
        inputs: Any,
        sampling_params: Any = None,
        lora_request: Any = None,
        prompt_adapter_request: Any = None,
        streaming: bool = False,
        kv_cache_retention_config: Any = None,
        disaggregated_params: Any = None,
        trace_headers: Any = None,
        _postproc_params: Any = None,
        scheduling_params: Any = None,
        cache_salt: str | None = None,
    ) -> RequestOutput:
        params = SamplingParams() if sampling_params is None else sampling_params
        prompt = inputs["prompt_token_ids"] if isinstance(inputs, dict) else inputs
        if isinstance(prompt, str):
            prompt = self._tokenizer(prompt, add_special_tokens=params.add_special_tokens)["input_ids"]
        if len(prompt) > self.args.max_input_len:
            raise ValueError(f"The prompt length ({len(prompt)}) should not exceed max_input_len")
        longest = self.args.max_seq_len or 1 << 30
        if len(prompt) >= longest:
            raise ValueError(f"The prompt length ({len(prompt)}) leaves no room in max_seq_len ({longest})")
        request = make_request(
            list(prompt),
            params,
            most=min(params.max_tokens, longest - len(prompt)),
            eos=self._tokenizer.eos_token_id,
            sampler=self._executor.engine.sampler,
        )
        with suppress(RuntimeError):  # there is none where `generate` waits
            request.loop = asyncio.get_running_loop()
        self._executor.engine.enqueue(request)
        return RequestOutput._of(next(self._numbers), None, list(prompt), request)

    def generate(
        self,
        inputs: Any,
        sampling_params: Any = None,
        use_tqdm: bool = True,
        lora_request: Any = None,
        prompt_adapter_request: Any = None,
        kv_cache_retention_config: Any = None,
        disaggregated_params: Any = None,
        scheduling_params: Any = None,
        cache_salt: Any = None,
    ) -> Any:
        is_one = isinstance(inputs, (str, dict)) or isinstance(inputs[0], int)
        asked = [inputs] if is_one else list(inputs)
        params = sampling_params if isinstance(sampling_params, list) else [sampling_params] * len(asked)
        given = [self.generate_async(one, own) for one, own in zip(asked, params, strict=True)]
        outputs = [one.result(120) for one in given]
        return outputs[0] if is_one else outputs

    def shutdown(self) -> None:
        self._executor.shutdown()
