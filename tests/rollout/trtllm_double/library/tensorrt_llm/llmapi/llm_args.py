"""The arguments of an LLM, with the recorded fields and defaults; what isn't a field is refused."""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tensorrt_llm import version


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())


class KvCacheConfig(Strict):
    enable_block_reuse: bool = True
    max_tokens: int | None = None
    free_gpu_memory_fraction: float | None = 0.9
    host_cache_size: int | None = None
    enable_partial_reuse: bool = True
    copy_on_partial_reuse: bool = True
    max_gpu_total_bytes: int = 0
    dtype: str = "auto"
    tokens_per_block: int = 32
    event_buffer_max_size: int = 0
    use_kv_cache_manager_v2: bool = False


class CudaGraphConfig(Strict):
    batch_sizes: list[int] | None = None
    max_batch_size: int = 0
    enable_padding: bool = False

    @model_validator(mode="after")
    def _one_of_two(self) -> CudaGraphConfig:
        if self.batch_sizes and self.max_batch_size and self.max_batch_size != max(self.batch_sizes):
            raise ValueError("max_batch_size must be the largest of batch_sizes")
        return self


class CapacitySchedulerPolicy(StrEnum):
    MAX_UTILIZATION = "MAX_UTILIZATION"
    GUARANTEED_NO_EVICT = "GUARANTEED_NO_EVICT"


class SchedulerConfig(Strict):
    capacity_scheduler_policy: CapacitySchedulerPolicy = CapacitySchedulerPolicy.GUARANTEED_NO_EVICT


class LoadFormat(Enum):
    AUTO = 0
    DUMMY = 1
    VISION_ONLY = 2


class _Common(Strict):
    model: Any
    tokenizer: Any = None
    tokenizer_mode: Literal["auto", "slow"] = "auto"
    skip_tokenizer_init: bool = False
    trust_remote_code: bool = False
    tensor_parallel_size: int = 1
    dtype: str = "auto"
    revision: str | None = None
    tokenizer_revision: str | None = None
    backend: Literal["pytorch"] = "pytorch"
    pipeline_parallel_size: int = 1
    context_parallel_size: int = 1
    moe_tensor_parallel_size: int | None = None
    moe_expert_parallel_size: int | None = None
    gpus_per_node: int | None = None
    load_format: str | LoadFormat = LoadFormat.AUTO
    model_kwargs: dict[str, Any] | None = None
    kv_cache_config: KvCacheConfig = Field(default_factory=KvCacheConfig)
    enable_chunked_prefill: bool = False
    max_batch_size: int | None = 2048
    max_input_len: int | None = 1024
    max_seq_len: int | None = None
    max_beam_width: int | None = 1
    max_num_tokens: int | None = 8192
    gather_generation_logits: bool = False
    scheduler_config: SchedulerConfig = Field(default_factory=SchedulerConfig)
    orchestrator_type: Literal["rpc", "ray"] | None = None
    cuda_graph_config: CudaGraphConfig | None = Field(default_factory=CudaGraphConfig)
    disable_overlap_scheduler: bool = False
    attn_backend: str = "TRTLLM"
    sampler_type: Literal["TRTLLMSampler", "TorchSampler", "auto"] = "auto"
    batch_wait_timeout_ms: float = 0
    batch_wait_timeout_iters: int = 0
    batch_wait_max_tokens_ratio: float = 0
    enable_autotuner: bool = True
    stream_interval: int = 1
    force_dynamic_quantization: bool = False
    allreduce_strategy: str | None = "AUTO"
    checkpoint_loader: Any = None
    checkpoint_format: str | None = None
    ray_worker_extension_cls: str | None = None
    ray_placement_config: Any = None
    env_overrides: dict[str, str] | None = None
    num_postprocess_workers: int = 0

    @model_validator(mode="after")
    def _ray_alone_has_workers(self) -> _Common:
        if self.orchestrator_type != "ray" and (self.ray_worker_extension_cls or self.ray_placement_config):
            raise ValueError("ray_worker_extension_cls and ray_placement_config need orchestrator_type='ray'")
        return self


TorchLlmArgs: Any
if version.HAS_SLEEP_CONFIG:
    from tensorrt_llm._torch.memory_types import ExecutorMemoryType as ExecutorMemoryType

    class SleepConfig(Strict):
        restore_modes: dict[Any, Literal["NONE", "CPU", "MEMSET"]] = Field(default_factory=dict)

    class _WithSleepConfig(_Common):
        sleep_config: SleepConfig | None = None

    TorchLlmArgs = _WithSleepConfig
else:

    class _WithSleepSwitch(_Common):
        enable_sleep: bool = False

    TorchLlmArgs = _WithSleepSwitch
