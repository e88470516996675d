"""Whether two models say the same, token by token: through Megatron, or one of them through transformers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from nemo_prorl.config.schema import MegatronConfig
from nemo_prorl.errors import WeightsError
from nemo_prorl.megatron.interop.model_folder import ModelFolder, open_folder
from nemo_prorl.megatron.model import build_model
from nemo_prorl.megatron.runtime import Runtime
from nemo_prorl.megatron.schedule import Schedule, TokenRows
from nemo_prorl.megatron.weights import load_weights

SCORED_SHAPE = 4, 64  # rows and tokens of the random text that two models are compared on


def largest_logprob_difference(
    first: Path, second: Path, *, like: Path | None = None, through_transformers: bool = False
) -> float:
    """The largest difference of a token's logprob under two models, computed in fp32 on the same random tokens.

    Both are computed by Megatron; with `through_transformers` the one that is a Hugging Face folder by transformers.

    Raises:
        WeightsError: the two are not of one architecture, or neither is a Hugging Face folder.
    """
    folders = [open_folder(path, like) for path in (first, second)]
    if replace(folders[1].architecture, dtype=folders[0].architecture.dtype) != folders[0].architecture:
        raise WeightsError(f"{first} and {second} have different architectures, so their logprobs can't be compared.")
    tokens_BS = _random_tokens(folders[0].architecture.vocab_size, folders[0].architecture.max_positions)
    if not through_transformers:
        scores = _by_megatron(folders, tokens_BS)
    else:
        theirs, ours = sorted(folders, key=lambda folder: folder.format != "hugging-face")
        if theirs.format != "hugging-face":
            raise WeightsError(f"neither {first} nor {second} is a Hugging Face folder, which transformers could load.")
        scores = [_by_transformers(theirs, tokens_BS), *_by_megatron([ours], tokens_BS)]
    return float((scores[0] - scores[1]).abs().max())


def _random_tokens(vocab_size: int, max_positions: int) -> Tensor:
    rows, length = SCORED_SHAPE
    return torch.randint(vocab_size, (rows, min(length, max_positions)), generator=torch.Generator().manual_seed(0))


def _by_megatron(folders: list[ModelFolder], tokens_BS: Tensor) -> list[Tensor]:
    """Logprobs [B, S - 1] of the tokens after the first, under each model."""
    config = MegatronConfig()
    rows = TokenRows(tokens_BS, torch.full((len(tokens_BS),), tokens_BS.shape[1]))
    scores = []
    with Runtime.start(config, seed=0, torch_threads=1) as runtime:
        model = build_model(folders[0].architecture, config, runtime)
        schedule = Schedule(model, runtime)
        for folder in folders:
            with folder.by_name() as tensors:
                load_weights(model, tensors)
            scores.append(schedule.score(rows, temperature=1.0).logprobs_BT)
    return scores


@torch.no_grad()
def _by_transformers(folder: ModelFolder, tokens_BS: Tensor) -> Tensor:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder.path, dtype=torch.float32, trust_remote_code=False)
    logprobs_BSV = model(tokens_BS).logits.log_softmax(dim=-1)
    return logprobs_BSV[:, :-1].gather(2, tokens_BS[:, 1:, None]).squeeze(2)
