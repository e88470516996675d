"""What a decoder-only model looks like, read from a Hugging Face config.json of any age.

Everything that sizes or shapes a model is decided here, so that an unsupported model is refused before one is built.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nemo_prorl.errors import WeightsError
from nemo_prorl.weights.rope import RopeScaling, read_rope_scaling

Family = Literal["qwen2", "qwen3", "llama"]
Dtype = Literal["fp32", "bf16", "fp16"]

MODEL_CLASSES: Mapping[str, Family] = {
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "LlamaForCausalLM": "llama",
}
DTYPES: Mapping[str, Dtype] = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


@dataclass(frozen=True)
class Architecture:
    """A decoder with RMSNorm, SwiGLU, grouped-query attention and rotary positions.

    No projection but q, k and v has a bias, in any family. `rope_scaling` is as `weights.rope` reads it, None for plain
    rotary positions. `dtype` is that of the stored weights.
    """

    family: Family
    num_layers: int
    hidden_size: int
    ffn_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    max_positions: int
    rms_norm_eps: float
    rope_theta: float
    rope_scaling: RopeScaling | None
    tied_embeddings: bool
    qkv_bias: bool
    qk_norm: bool
    dtype: Dtype

    @classmethod
    def read(cls, folder: str | Path) -> Architecture:
        """The architecture of the model in `folder`.

        Raises:
            WeightsError: there is no such folder or no readable config.json in it, or the model is not supported.
        """
        return cls.from_hf_config(read_hf_config(folder), where=str(Path(folder) / "config.json"))

    @classmethod
    def from_hf_config(cls, config: Mapping[str, Any], where: str) -> Architecture:
        """The architecture that a Hugging Face config describes; `where` it came from stands in messages.

        Keys that are absent have the value that transformers gives them for the family.

        Raises:
            WeightsError: the model is not one we can train exactly; every reason is listed.
        """
        entries = _Entries(config, where)
        family = _family(entries)
        num_heads = entries.positive("num_attention_heads")
        hidden_size = entries.positive("hidden_size")
        max_positions = entries.positive("max_position_embeddings")
        theta, scaling = _rope(entries, max_positions)
        architecture = cls(
            family=family,
            num_layers=entries.positive("num_hidden_layers"),
            hidden_size=hidden_size,
            ffn_size=entries.positive("intermediate_size"),
            num_heads=num_heads,
            num_kv_heads=entries.positive("num_key_value_heads", default=num_heads),
            head_dim=entries.positive("head_dim", default=128 if family == "qwen3" else hidden_size // num_heads),
            vocab_size=entries.positive("vocab_size"),
            max_positions=max_positions,
            rms_norm_eps=entries.number("rms_norm_eps", default=1e-6),
            rope_theta=theta,
            rope_scaling=scaling,
            tied_embeddings=bool(entries.value("tie_word_embeddings", False)),
            qkv_bias=family == "qwen2",
            qk_norm=family == "qwen3",
            dtype=_dtype(entries),
        )
        _refuse_what_would_differ(entries, architecture)
        entries.raise_problems()
        return architecture

    @property
    def query_size(self) -> int:
        """Width of all query heads together; not always `hidden_size`."""
        return self.num_heads * self.head_dim

    @property
    def kv_size(self) -> int:
        """Width of all key heads together, and of all value heads."""
        return self.num_kv_heads * self.head_dim

    @property
    def layer_parameter_count(self) -> int:
        """Parameters of one decoder layer."""
        attention = self.hidden_size * (2 * self.query_size + 2 * self.kv_size)
        biases = self.query_size + 2 * self.kv_size if self.qkv_bias else 0
        norms = 2 * self.hidden_size + (2 * self.head_dim if self.qk_norm else 0)
        return attention + biases + norms + 3 * self.hidden_size * self.ffn_size

    @property
    def parameter_count(self) -> int:
        """Parameters of the whole model, without vocabulary padding; tied embeddings count once."""
        vocabulary = self.vocab_size * self.hidden_size * (1 if self.tied_embeddings else 2)
        return vocabulary + self.num_layers * self.layer_parameter_count + self.hidden_size

    def padded_vocab(self, multiple: int) -> int:
        """The vocabulary's size rounded up to a multiple of `multiple`."""
        return -(-self.vocab_size // multiple) * multiple


def read_hf_config(folder: str | Path) -> dict[str, Any]:
    """The config.json of a model folder.

    Raises:
        WeightsError: the folder or the file is missing, or the file is not a JSON object.
    """
    folder = Path(folder)
    path = folder / "config.json"
    if not folder.is_dir():
        raise WeightsError(
            f"{folder} is not a folder. A Hugging Face model folder is needed (config.json, *.safetensors, tokenizer "
            "files); models are not downloaded by themselves: get one first, for instance with "
            f"`hf download Qwen/Qwen2.5-1.5B --local-dir {folder}`."
        )
    if not path.is_file():
        found = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
        raise WeightsError(f"{path} is missing; {folder} holds {found}. Give the folder that config.json lies in.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"{path} is not valid JSON ({error}); download the model again.") from error
    if not isinstance(config, dict):
        raise WeightsError(f"{path} holds a {type(config).__name__}, not a JSON object; download the model again.")
    return config


class _Entries:
    """Reads a config's entries and collects what is wrong with them, so that one message can list it all."""

    def __init__(self, raw: Mapping[str, Any], where: str) -> None:
        self.raw, self.where = raw, where
        self.problems: list[str] = []

    def value(self, key: str, default: Any = None) -> Any:
        """The entry; `default` where it is absent or null."""
        found = self.raw.get(key)
        return default if found is None else found

    def number(self, key: str, default: float | None = None) -> float:
        """An entry that must be a positive number; 1.0 stands in for a bad one until the problems are raised."""
        found = self.value(key, default)
        if not isinstance(found, (int, float)) or isinstance(found, bool) or not found > 0:
            self.problems.append(f"{key} is {found!r}, expected a number above 0")
            return 1.0
        return float(found)

    def positive(self, key: str, default: int | None = None) -> int:
        """An entry that must be an integer above 0; 1 stands in for a bad one until the problems are raised."""
        found = self.value(key, default)
        if not isinstance(found, int) or isinstance(found, bool) or found < 1:
            self.problems.append(f"{key} is {found!r}, expected an integer above 0")
            return 1
        return found

    def raise_problems(self) -> None:
        if self.problems:
            raise WeightsError(f"{self.where} describes a model that can't be used: " + "; ".join(self.problems) + ".")


def _family(entries: _Entries) -> Family:
    names, model_type = entries.value("architectures", []), entries.value("model_type")
    for name, family in MODEL_CLASSES.items():
        if name in names or (not names and model_type == family):
            return family
    found = ", ".join(map(str, names)) or f"model_type {model_type!r}"
    raise WeightsError(
        f"{entries.where}: {found} is not supported. Supported are {', '.join(MODEL_CLASSES)}; "
        "another family needs a table in nemo_prorl/weights/families."
    )


def _dtype(entries: _Entries) -> Dtype:
    name = entries.value("dtype", entries.value("torch_dtype", "float32"))  # transformers 5 and 4
    if name not in DTYPES:
        entries.problems.append(f"dtype is {name!r}, supported are {', '.join(DTYPES)}")
        return "fp32"
    return DTYPES[name]


def _rope(entries: _Entries, max_positions: int) -> tuple[float, RopeScaling | None]:
    """Base and scaling of rotary positions: `rope_parameters` (transformers 5), or `rope_theta` and `rope_scaling`."""
    rope = entries.value("rope_parameters", entries.value("rope_scaling", {}))
    if not isinstance(rope, Mapping):
        entries.problems.append(f"rope_parameters is {rope!r}, expected an object")
        return 1.0, None
    inner = _Entries({"rope_theta": entries.value("rope_theta", 10_000.0)} | dict(rope), entries.where)
    theta = inner.number("rope_theta")
    scaling = read_rope_scaling(inner.raw, max_positions, inner.problems.append)
    partial = inner.value("partial_rotary_factor", entries.value("partial_rotary_factor", 1.0))
    if partial != 1.0:
        inner.problems.append(f"partial_rotary_factor is {partial!r}, only 1.0 is supported")
    if entries.value("use_mrope", False):
        inner.problems.append("use_mrope is true: positions of images and video are not supported")
    entries.problems += inner.problems
    return theta, scaling


def _refuse_what_would_differ(entries: _Entries, architecture: Architecture) -> None:
    """Note every setting under which Megatron's model would compute something else than transformers'."""
    activation = entries.value("hidden_act", "silu")
    if activation != "silu":
        entries.problems.append(f"hidden_act is {activation!r}, only 'silu' is supported")
    for key in ("attention_bias", "mlp_bias"):
        if entries.value(key, False) and not (architecture.family == "qwen2" and key == "attention_bias"):
            entries.problems.append(f"{key} is true, only false is supported for {architecture.family}")
    if entries.value("quantization_config") is not None:
        entries.problems.append("quantization_config is set; only plain fp32, bf16 and fp16 weights can be trained")
    if architecture.num_heads % architecture.num_kv_heads:
        entries.problems.append(
            f"num_attention_heads={architecture.num_heads} is not a multiple of "
            f"num_key_value_heads={architecture.num_kv_heads}"
        )
    if architecture.head_dim % 2:
        entries.problems.append(f"head_dim is {architecture.head_dim}, rotary positions need an even one")
    if _slides(entries, architecture):
        entries.problems.append(
            "use_sliding_window is true and some layers have a window shorter than the context; only full attention is "
            "supported (set use_sliding_window to false if you mean to train without it)"
        )


def _slides(entries: _Entries, architecture: Architecture) -> bool:
    """Whether some layer attends to a window that is shorter than the longest sequence."""
    if not entries.value("use_sliding_window", False) or architecture.family == "llama":
        return False
    window = entries.value("sliding_window", 4096)
    if not isinstance(window, int) or window >= architecture.max_positions:
        return False
    layers = entries.value("layer_types")
    if layers is not None:
        return "sliding_attention" in layers
    return bool(entries.value("max_window_layers", 28) < architecture.num_layers)
