"""The one door to TensorRT-LLM: what the installed version has, and an LLM that runs in this process."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch

from nemo_prorl.errors import RolloutError
from nemo_prorl.rollout.tensorrt_llm.environment import IN_PROCESS, alone, check_one_gpu

# What an engine can do without, should a version not have it. Without one of the others it would be another engine.
DISPENSABLE = frozenset({"sampler_type", "scheduler_config", "enable_chunked_prefill"})


@dataclass(frozen=True)
class Library:
    """Classes of TensorRT-LLM, and the names that this version of them takes."""

    version: str
    LLM: Any
    SamplingParams: Any
    arguments: Any  # the module with the classes of an LLM's arguments
    llm_fields: frozenset[str]
    sampling_fields: frozenset[str]

    @classmethod
    def load(cls) -> Library:
        """Import it, as a process of its own.

        Raises:
            RolloutError: it isn't installed, doesn't start, or would take another rank's GPU.
        """
        check_one_gpu(torch.cuda.device_count())
        try:
            with alone():
                import tensorrt_llm
                from tensorrt_llm.llmapi import llm_args
        except Exception as error:  # whatever CUDA, MPI or a missing file make of it
            raise RolloutError(
                f"rollout=tensorrt_llm: TensorRT-LLM can't be imported: {type(error).__name__}: {error}. It comes with "
                "the image nvcr.io/nvidia/tensorrt-llm/release (docs/rollouts.md); without it choose "
                "rollout=transformers."
            ) from error
        return cls(
            version=str(getattr(tensorrt_llm, "__version__", "of unknown version")),
            LLM=tensorrt_llm.LLM,
            SamplingParams=tensorrt_llm.SamplingParams,
            arguments=llm_args,
            llm_fields=frozenset(llm_args.TorchLlmArgs.model_fields),
            sampling_fields=frozenset(field.name for field in fields(tensorrt_llm.SamplingParams)),
        )

    def sleep_arguments(self) -> dict[str, Any]:
        """What an LLM is told at its birth so that it can give memory back; empty where it can't.

        The cache's content is worth nothing after a refit; that of the weights is kept, since what lies beside them
        under the same tag might not come with a refit.
        """
        if "sleep_config" in self.llm_fields:
            modes = {self.memory_types()("kv_cache"): "NONE"}
            return {"sleep_config": self.arguments.SleepConfig(restore_modes=modes)}
        return {"enable_sleep": True} if "enable_sleep" in self.llm_fields else {}

    def memory_types(self) -> Any:
        """The enumeration of what can be given back; it has moved between versions."""
        if hasattr(self.arguments, "ExecutorMemoryType"):
            return self.arguments.ExecutorMemoryType
        return self.virtual_memory().ExecutorMemoryType

    def virtual_memory(self) -> Any:
        """The module that frees memory and takes it again."""
        from tensorrt_llm._torch import virtual_memory

        return virtual_memory

    def start(self, wanted: Mapping[str, Any], dispensable: Collection[str] = DISPENSABLE) -> Any:
        """An LLM with these arguments, whose executor runs in this process.

        Raises:
            RolloutError: this version lacks an argument that isn't dispensable; the LLM doesn't start; or it started
                another process, whose weights can't be reached.
        """
        lacking = [name for name in wanted if name not in self.llm_fields]
        if strange := sorted(set(lacking) - set(dispensable)):
            raise RolloutError(
                f"TensorRT-LLM {self.version} takes no {', '.join(strange)}; this engine knows its versions 1.2 to 1.3 "
                "(docs/rollouts.md)"
            )
        given = {name: value for name, value in wanted.items() if name not in lacking}
        try:
            with alone():
                llm = self.LLM(**given)
        except Exception as error:
            raise RolloutError(
                f"TensorRT-LLM {self.version} doesn't start: {type(error).__name__}: {error}. If it is memory, lower "
                "rollout.kv_cache_tokens or rollout.max_batch_sequences; `prorl doctor rollout` tries the engine alone."
            ) from error
        self._check_in_process(llm)
        return llm

    def _check_in_process(self, llm: Any) -> None:
        executor = getattr(getattr(llm, "_executor", None), "engine", None)
        if executor is None or not hasattr(executor, "control_action"):
            llm.shutdown()
            raise RolloutError(
                f"TensorRT-LLM {self.version} has not begun in this process: its executor can't be reached, so weights "
                f"couldn't either. {IN_PROCESS} must be 1 before anything imports tensorrt_llm, and is read only once; "
                "see that no plug-in imports it first."
            )
