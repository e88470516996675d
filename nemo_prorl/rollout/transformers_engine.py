"""Rollouts with plain transformers: on any device and of any model that it knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.initialization import no_init_weights

from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.errors import RolloutError, WeightsError
from nemo_prorl.rollout.decoding import Decoding, batches, check_room
from nemo_prorl.rollout.engine import Sampled
from nemo_prorl.rollout.fixed_shapes import FixedShapes
from nemo_prorl.rollout.kv_cache import KeyValueCache
from nemo_prorl.rollout.refit import refit

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class TransformersEngine:
    """A Hugging Face model with its own KV cache and sampling loop; see `RolloutEngine`.

    Only the folder's config is read: weights come through `load_weights`. A prompt is computed once for all its
    samples, and a finished completion leaves its batch. Knobs: `max_batch_sequences`, how many completions are under
    generation at once (memory grows with it, and so does speed); `dtype` of weights and cache; `fixed_shapes`: round
    rows and columns up to a few sizes, which on a GPU are replayed as CUDA graphs (None: on a GPU).
    """

    def __init__(
        self,
        model_path: str | Path,
        tokenizer: Tokenizer,
        device: str | torch.device = "cpu",
        *,
        max_batch_sequences: Annotated[int, Field(ge=1)] = 128,
        dtype: Literal["fp32", "bf16"] = "fp32",
        fixed_shapes: bool | None = None,
    ) -> None:
        self._tokenizer, self._device, self._max_rows = tokenizer, torch.device(device), max_batch_sequences
        self._model = _empty_model(Path(model_path), DTYPES[dtype]).to(self._device)
        self._stop_V = torch.zeros(self._model.config.vocab_size, dtype=torch.bool, device=self._device)
        self._stop_V[[i for i in tokenizer.stop_ids if i < len(self._stop_V)]] = True
        on_gpu = self._device.type == "cuda"
        self._fixed = (
            FixedShapes(self._forward, graphs=on_gpu) if (on_gpu if fixed_shapes is None else fixed_shapes) else None
        )
        self._loaded = False

    def load_weights(self, stream: Iterable[tuple[str, Tensor]]) -> None:
        """See `RolloutEngine.load_weights`. With tied embeddings `lm_head.weight` may be left out."""
        self._loaded = False
        refit(
            self._model.state_dict(),
            stream,
            optional=["lm_head.weight"] if self._model.config.tie_word_embeddings else [],
        )
        self._loaded = True

    def generate(self, prompts: Sequence[Prompt], sampling: SamplingParams) -> Iterator[Sampled]:
        """See `RolloutEngine.generate`. The same call with the same weights gives the same bits."""
        if not self._loaded:
            raise RolloutError("TransformersEngine.generate: the engine has no weights yet; call load_weights first")
        check_room(prompts, sampling)
        return self._sampled(prompts, sampling)

    def release(self) -> None:
        """Caches and graphs go; the weights are kept for the next `load_weights` to overwrite."""
        if self._fixed is not None:
            self._fixed.release()

    def _sampled(self, prompts: Sequence[Prompt], sampling: SamplingParams) -> Iterator[Sampled]:
        for jobs in batches(prompts, sampling, self._max_rows):
            decoding = Decoding(
                self._forward if self._fixed is None else self._fixed,
                jobs,
                sampling,
                stop_V=self._stop_V,
                pad_id=self._tokenizer.pad_id,
                mask_dtype=self._model.dtype,
                make_cache=KeyValueCache if self._fixed is None else self._fixed.cache,
            )
            for decoded in decoding:
                yield decoded.sampled(self._tokenizer)

    def _forward(self, tokens_BS: Tensor, position_BS: Tensor, mask: Tensor, cache: KeyValueCache) -> Tensor:
        # A 4-dimensional mask is taken as it is, which spares building one at every token.
        output = self._model(
            input_ids=tokens_BS,
            position_ids=position_BS,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = output.logits[:, -1]
        return logits


def _empty_model(folder: Path, dtype: torch.dtype) -> Any:
    """The model that the folder's config describes, with weights that mean nothing yet.

    Raises:
        WeightsError: there is no config, or one of a model that this engine can't run.
    """
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        with no_init_weights():
            model: Any = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
                config, attn_implementation="sdpa", dtype=dtype
            )
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(
            f"{folder}: transformers can't make a model from its config: {error}. model.path must be a folder with the "
            "config.json of a causal language model."
        ) from error
    if "sliding_attention" in (getattr(config, "layer_types", None) or ()):
        raise WeightsError(
            f"{folder}: config.json asks for sliding-window attention, which the transformers rollout engine doesn't "
            'do. Set "use_sliding_window": false if the context stays below the window.'
        )
    model.tie_weights()
    return model.eval().requires_grad_(False)
