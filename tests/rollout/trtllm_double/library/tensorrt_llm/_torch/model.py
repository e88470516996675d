"""A transformers model whose modules take new weights in the library's steps, and the loader that hands them over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from tensorrt_llm import version
from tensorrt_llm._torch import virtual_memory

DTYPES = {"auto": None, "float32": torch.float32, "bfloat16": torch.bfloat16}


class Reloadable:
    """Mixed into each module with parameters: weights are staged, and count once they were processed."""

    def pre_reload_weights(self) -> None:
        self._staged: dict[str, Tensor] | None = {}

    def stage(self, name: str, tensor: Tensor) -> None:
        if getattr(self, "_staged", None) is None:
            raise RuntimeError("a module whose weights were processed takes no others before pre_reload_weights")
        self._staged[name] = tensor.clone()

    @torch.no_grad()
    def process_weights_after_loading(self) -> None:
        for name, tensor in (self._staged or {}).items():
            getattr(self, name).copy_(tensor)
        self._staged = None

    def post_load_weights(self) -> None:
        assert self._staged is None, "post_load_weights comes after process_weights_after_loading"


class Removed(nn.Module):
    """A module whose weights are gone: none of the steps may be asked of it."""

    _weights_removed = True

    def pre_reload_weights(self) -> None:
        raise RuntimeError("this module's weights were removed")

    process_weights_after_loading = post_load_weights = pre_reload_weights


def build(folder: str, load_format: str, dtype: str) -> nn.Module:
    """The folder's model; "dummy": with weights that mean nothing."""
    wanted = DTYPES[dtype]
    if load_format == "dummy":
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model: Any = AutoModelForCausalLM.from_config(config, dtype=wanted or config.dtype)
    else:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=wanted or "auto", local_files_only=True)
    model.eval().requires_grad_(False)
    for module in list(model.modules()):
        if any(True for _ in module.parameters(recurse=False)):
            module.__class__ = type(type(module).__name__, (Reloadable, type(module)), {})
    model.removed = Removed()
    return model


class _Hooks:
    """What later versions' loaders have besides."""

    _is_updating = False

    def begin_update_weights(self) -> None:
        self._is_updating = True

    def finalize_update_weights(self) -> None:
        if not self._is_updating:
            raise RuntimeError("finalize_update_weights without begin_update_weights")
        self._is_updating = False

    def abort_update_weights(self) -> None:
        virtual_memory.events.append("abort_update_weights")
        self._is_updating = False


class _Loader:
    fails_at: str | None = None  # the double's own: a name at which a reload fails
    stands_still: Callable[[], bool] = staticmethod(lambda: False)  # and whether the executor's loop does

    def __init__(self, folder: str, load_format: str) -> None:
        self._load_format = load_format

    @torch.no_grad()
    def reload(self, model: nn.Module, weights: Mapping[str, Tensor], allow_partial_loading: bool = False) -> None:
        """Copies what it knows. What it doesn't know it skips without a word, if part of a model may come."""
        if self._load_format not in ("auto", "dummy"):
            raise RuntimeError("the model was not loaded in a way that has a weight mapper")
        if not self.stands_still():
            raise RuntimeError("the weights of a model change while its loop runs")
        for tag in ("model", "model_weights"):
            if virtual_memory.has_been_freed(tag):
                raise RuntimeError("CUDA error: an illegal memory access was encountered (weights)")
        virtual_memory.events.append(f"reload {len(weights)}")
        known = dict(model.named_parameters())
        if not allow_partial_loading:
            assert weights.keys() >= known.keys(), "tensors are missing"
        for name, tensor in weights.items():
            if name == self.fails_at:
                raise RuntimeError("CUDA out of memory")
            if name in known:
                module, _, attribute = name.rpartition(".")
                if known[name].shape != tensor.shape:
                    raise RuntimeError(f"{name} is {tuple(tensor.shape)} instead of {tuple(known[name].shape)}")
                model.get_submodule(module).stage(attribute, tensor)


class ModelLoader(_Loader, *([_Hooks] if version.HAS_UPDATE_HOOKS else [])):
    pass
