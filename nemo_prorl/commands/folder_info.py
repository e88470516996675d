"""What `prorl convert info` says of a model folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nemo_prorl.megatron.interop.model_folder import ModelFolder, open_folder, step_of
from nemo_prorl.weights.architecture import MODEL_CLASSES

NAMES = {
    "hugging-face": "Hugging Face folder",
    "prorl": "torch_dist checkpoint of prorl",
    "megatron-lm": "torch_dist checkpoint of Megatron-LM",
    "megatron-bridge": "torch_dist checkpoint of Megatron-Bridge",
    "nemo": "NeMo 2 checkpoint",
}


def lines(path: Path, like: Path | None, *, tensors: bool) -> Iterator[str]:
    """Everything that can be said without reading a tensor; with `tensors` a line for each of them.

    Raises:
        CheckpointError, WeightsError: as for `open_folder`.
    """
    folder = open_folder(path, like)
    architecture = folder.architecture
    name = next(name for name, family in MODEL_CLASSES.items() if family == architecture.family)
    scaling = architecture.rope_scaling
    step = step_of(folder)
    yield f"{folder.path}: {NAMES[folder.format]}" + ("" if step is None else f" of step {step}")
    yield f"model         {name}, {architecture.parameter_count:,} parameters in {architecture.dtype}"
    yield (
        f"layers        {architecture.num_layers} of width {architecture.hidden_size}, feed-forward "
        f"{architecture.ffn_size}, {architecture.num_heads} heads of {architecture.head_dim}, "
        f"{architecture.num_kv_heads} key-value heads"
    )
    tied = "tied to the output layer" if architecture.tied_embeddings else "apart from the output layer"
    padded = "" if folder.padded_vocab is None else f", padded to {folder.padded_vocab}"
    yield f"vocabulary    {architecture.vocab_size}{padded}; embeddings {tied}"
    kind = "plain" if scaling is None else f"{scaling['rope_type']} x {scaling['factor']:g}"
    yield f"positions     {architecture.max_positions}, rotary base {architecture.rope_theta:g}, {kind}"
    tokenizer = "no tokenizer" if folder.files is None else f"tokenizer in {folder.files}"
    yield f"files         {_size(folder.path):,} bytes; {tokenizer}"
    if tensors:
        yield from _tensor_lines(folder)


def _size(path: Path) -> int:
    return sum(each.stat().st_size for pattern in ("*.safetensors", "*.distcp") for each in path.glob(pattern))


def _tensor_lines(folder: ModelFolder) -> Iterator[str]:
    with folder.by_name() as reader:
        for name in reader.names:
            yield f"{name} {list(reader.shape(name))} {str(reader.dtype(name)).removeprefix('torch.')}"
