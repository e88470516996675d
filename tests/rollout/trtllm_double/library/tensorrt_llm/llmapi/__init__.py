from tensorrt_llm.executor.result import CompletionOutput, RequestOutput
from tensorrt_llm.llmapi.llm_args import CudaGraphConfig, KvCacheConfig, SchedulerConfig, TorchLlmArgs

__all__ = ["CompletionOutput", "CudaGraphConfig", "KvCacheConfig", "RequestOutput", "SchedulerConfig", "TorchLlmArgs"]
