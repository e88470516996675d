"""`SamplingParams`, with the recorded fields and defaults."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tensorrt_llm import version


class LogprobMode(StrEnum):
    RAW = "raw"
    PROCESSED = "processed"


@dataclass(slots=True, kw_only=True)
class _Common:
    end_id: int | None = None
    pad_id: int | None = None
    max_tokens: int = 32
    bad: str | list[str] | None = None
    bad_token_ids: list[int] | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool = False
    embedding_bias: Any = None
    logits_processor: Any = None
    apply_batched_logits_processor: bool = False
    n: int = 1
    best_of: int | None = None
    use_beam_search: bool = False
    top_k: int | None = None
    top_p: float | None = None
    top_p_min: float | None = None
    top_p_reset_ids: int | None = None
    top_p_decay: float | None = None
    seed: int | None = None
    temperature: float | None = None
    min_tokens: int | None = None
    beam_search_diversity_rate: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    length_penalty: float | None = None
    early_stopping: int | None = None
    no_repeat_ngram_size: int | None = None
    min_p: float | None = None
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    return_context_logits: bool = False
    return_generation_logits: bool = False
    exclude_input_from_output: bool = True
    return_encoder_output: bool = False
    lookahead_config: Any = None
    guided_decoding: Any = None
    ignore_eos: bool = False
    detokenize: bool = True
    add_special_tokens: bool = True
    truncate_prompt_tokens: int | None = None
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True
    return_perf_metrics: bool = False
    beam_width_array: list[int] | None = None
    additional_model_outputs: list[str] | None = None
    prompt_ignore_length: int | None = None

    def __post_init__(self) -> None:
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"require 0 < top_p <= 1, got top_p={self.top_p}")
        several = (self.best_of or self.n) > 1
        if several and self.is_greedy and os.environ.get("TLLM_ALLOW_N_GREEDY_DECODING") != "1":
            raise ValueError("Greedy decoding in the LLM API does not allow multiple returns")

    @property
    def is_greedy(self) -> bool:
        """Nothing said at all is greedy, too."""
        unsaid = self.temperature is None and self.top_p is None and self.top_k is None
        return unsaid or self.temperature == 0 or self.top_k == 1


@dataclass(slots=True, kw_only=True)
class _WithMode(_Common):
    logprobs_mode: LogprobMode = LogprobMode.RAW


@dataclass(slots=True, kw_only=True)
class _WithSimpleFormat(_WithMode):
    logprobs_simple_format: bool = False


SamplingParams: Any = _Common
if version.HAS_LOGPROBS_MODE:
    SamplingParams = _WithMode
if version.HAS_SIMPLE_FORMAT:
    SamplingParams = _WithSimpleFormat
