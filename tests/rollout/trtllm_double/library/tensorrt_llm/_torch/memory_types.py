"""Tags of what can be given back."""

from enum import StrEnum

from tensorrt_llm import version


class _Tag(StrEnum):
    def __str__(self) -> str:
        return str(self.value)


_NAMES = {
    "SAMPLER": "sampler",
    "DRAFTER": "drafter",
    "GUIDED_DECODER": "guided_decoder",
    "SPEC_RESOURCES": "spec_resource_manager",
    "INIT_KV_CACHE": "_no_capture_init_kv_cache",
    "INIT_EXTRA_RESOURCES": "_no_capture_init_extra_resources",
    "MODEL_EXTRA": "model_extra",
    "EXTRA_RESOURCES": "executor_extra",
    "KV_CACHE": "kv_cache",
    "MODEL_ENGINE_MAIN": "model",
    "MODEL_ENGINE_DRAFT": "draft_model",
}
_LATER = {"MODEL_WEIGHTS_MAIN": "model_weights", "MODEL_WEIGHTS_DRAFT": "draft_model_weights"}

ExecutorMemoryType = _Tag("ExecutorMemoryType", _NAMES | (_LATER if version.HAS_SLEEP_CONFIG else {}))
