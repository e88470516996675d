"""The CPU door: what makes Megatron Core run where there is no CUDA.

Megatron Core is written for GPUs: it makes tensors with device="cuda", asks torch.cuda for streams and random states,
and compares type names with "torch.cuda.FloatTensor". `open_door` remedies each of these by name, once, and only when
CUDA is absent. `torch` itself stays as it is for everyone else: Megatron's modules all say `import torch` and use that
module-global name, so the main remedy replaces this one name, in Megatron's modules alone, by a proxy. The rest wraps
single functions of Megatron. Two tensor methods, `type` and `cuda`, can't be had that way: while certain functions of
Megatron run they are replaced for the whole process, other threads included, and afterwards they are as before.
Line numbers are those of megatron-core 0.16.1.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import logging
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import torch

CPU = torch.device("cpu")
_FACTORIES = (
    *("zeros", "ones", "empty", "full", "tensor", "as_tensor", "arange", "rand", "randn"),
    *("zeros_like", "ones_like", "empty_like", "full_like"),
)
_opened = False


def open_door() -> None:
    """Apply every remedy, unless CUDA is there or it has been done."""
    global _opened
    if _opened or torch.cuda.is_available():
        return
    _opened = True
    import megatron.core  # noqa: F401  (its modules must exist before they can be remedied)

    for remedy in (
        random_states,
        types_seen_by_optimizers,
        types_seen_by_gradient_clipping,
        types_seen_by_mixed_precision,
        tensors_stay_on_cpu,
        torch_seen_by_megatron,
    ):
        remedy()


# -- the remedies ----------------------------------------------------------------------------------------------------


def torch_seen_by_megatron() -> None:
    """Megatron's modules, those imported later too, see a `torch` whose "cuda" is the CPU."""
    proxy = _TorchForMegatron()
    for name, module in list(sys.modules.items()):
        if _is_megatron(name) and getattr(module, "torch", None) is torch:
            module.torch = proxy  # type: ignore[attr-defined]
    sys.meta_path.insert(0, _LateModules(proxy))


def random_states() -> None:
    """tensor_parallel/random.py takes CUDA's random state through functions imported by name: give the CPU's."""
    import megatron.core.tensor_parallel.random as random

    random._get_cuda_rng_state = lambda device="cuda", clone=False, graph_safe=False: torch.get_rng_state()
    random._set_cuda_rng_state = lambda new_state, device=-1, graph_safe=False: torch.set_rng_state(new_state)
    # fork() warns when the CPU's generator moves while it stands in for a CUDA one; here it must.
    logging.getLogger(random.__name__).addFilter(lambda record: "CPU RNG state changed" not in record.getMessage())


def types_seen_by_optimizers() -> None:
    """optimizer.py:671 and distrib_optimizer.py:361 sort parameters by 'torch.cuda.FloatTensor' and the like."""
    from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer
    from megatron.core.optimizer.optimizer import Float16OptimizerWithFloat16Params

    for owner in (Float16OptimizerWithFloat16Params, DistributedOptimizer):
        owner.__init__ = _with_cuda_type_names(owner.__init__)  # type: ignore[method-assign]


def types_seen_by_gradient_clipping() -> None:
    """clip_grads.py:193 asserts that gradients are 'torch.cuda.FloatTensor'."""
    import megatron.core.optimizer.clip_grads as clip_grads
    import megatron.core.optimizer.optimizer as optimizer

    clip = _with_cuda_type_names(clip_grads.clip_grad_by_total_norm_fp32)
    clip_grads.clip_grad_by_total_norm_fp32 = optimizer.clip_grad_by_total_norm_fp32 = clip


def types_seen_by_mixed_precision() -> None:
    """transformer/module.py:20 keeps tuples of CUDA tensor types, which a CPU build of torch can't test against."""
    import megatron.core.transformer.module as module

    module._FLOAT_TYPES = (torch.FloatTensor,)
    module._HALF_TYPES = (torch.HalfTensor,)
    module._BF16_TYPES = (torch.BFloat16Tensor,)


def tensors_stay_on_cpu() -> None:
    """language_module.py:244 moves tied embeddings by `.cuda()`, distrib_optimizer.py:1089 what it gathers to save."""
    from megatron.core.models.common.language_module.language_module import LanguageModule
    from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer

    for owner, name in (
        (LanguageModule, "setup_embeddings_and_output_layer"),
        (DistributedOptimizer, "get_parameter_state_dp_zero"),
    ):
        setattr(owner, name, _with(getattr(owner, name), "cuda", lambda tensor, *_, **__: tensor))


# -- what they are made of -------------------------------------------------------------------------------------------


class _Stream:
    """Stands in for torch.cuda.Stream and Event: on a CPU everything is in order already."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def record_event(self, *args: Any) -> _Stream:
        return self

    def query(self) -> bool:
        return True

    def elapsed_time(self, other: Any) -> float:
        return 0.0

    def _nothing(self, *args: Any) -> None:
        pass

    record = wait = wait_stream = wait_event = synchronize = _nothing


class _CudaForMegatron(ModuleType):
    """What Megatron sees as torch.cuda; what isn't named here is torch.cuda's own."""

    Stream = Event = _Stream

    def __init__(self) -> None:
        super().__init__("torch.cuda")
        self.random = self
        for name in ["Float", "Half", "BFloat16", "Int", "Long", "Byte", "Double", "Bool"]:
            setattr(self, f"{name}Tensor", getattr(torch, f"{name}Tensor"))

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.cuda, name)

    def current_device(self) -> torch.device:
        return CPU

    def device_count(self) -> int:
        return 1

    def is_available(self) -> bool:
        return False

    def current_stream(self, *args: Any) -> _Stream:
        return _Stream()

    default_stream = current_stream

    def stream(self, stream: Any) -> contextlib.nullcontext[None]:
        return contextlib.nullcontext()

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    manual_seed_all = manual_seed

    def get_rng_state(self, device: Any = None) -> torch.Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: torch.Tensor, device: Any = None) -> None:
        torch.set_rng_state(state)

    def _nothing(self, *args: Any, **kwargs: Any) -> None:
        pass

    set_device = synchronize = empty_cache = _nothing

    def _no_bytes(self, *args: Any, **kwargs: Any) -> int:
        return 0

    memory_allocated = max_memory_allocated = memory_reserved = max_memory_reserved = _no_bytes


class _TorchForMegatron(ModuleType):
    """torch, but for tensors made on "cuda", for torch.cuda, and for autocast("cuda")."""

    def __init__(self) -> None:
        super().__init__("torch")
        self.cuda = _CudaForMegatron()
        for name in _FACTORIES:
            setattr(self, name, _on_cpu(getattr(torch, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def autocast(self, device_type: str, **kwargs: Any) -> Any:
        return torch.autocast("cpu" if device_type == "cuda" else device_type, **kwargs)


class _LateModules:
    """An import hook that hands the proxy to Megatron modules imported after the door was opened."""

    def __init__(self, proxy: _TorchForMegatron) -> None:
        self._proxy = proxy

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if not _is_megatron(name):
            return None
        sys.meta_path.remove(self)  # type: ignore[arg-type]
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)  # type: ignore[arg-type]
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_then_replace(module: ModuleType) -> None:
                execute(module)
                if getattr(module, "torch", None) is torch:
                    module.torch = self._proxy  # type: ignore[attr-defined]

            spec.loader.exec_module = execute_then_replace  # type: ignore[method-assign]
        return spec


def _is_megatron(name: str) -> bool:
    return name == "megatron.core" or name.startswith("megatron.core.")


def _on_cpu(factory: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(factory)
    def make(*args: Any, **kwargs: Any) -> Any:
        device = kwargs.get("device")
        # A bare index is what torch.cuda.current_device() gives elsewhere.
        if (isinstance(device, int) and not isinstance(device, bool)) or str(device).startswith("cuda"):
            kwargs["device"] = CPU
            kwargs.pop("pin_memory", None)
        return factory(*args, **kwargs)

    return make


def _with_cuda_type_names(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, inside which `tensor.type()` answers 'torch.cuda.FloatTensor' for a CPU tensor."""
    original = torch.Tensor.type

    def type_name(tensor: torch.Tensor, dtype: Any = None, **kwargs: Any) -> Any:
        found = original(tensor, dtype, **kwargs) if dtype is not None else original(tensor)
        return found.replace("torch.", "torch.cuda.", 1) if dtype is None else found

    return _with(function, "type", type_name)


def _with(function: Callable[..., Any], name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, during whose calls `method` stands for the tensor method called `name`, for the whole process."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with _replaced(torch.Tensor, name, method):
            return function(*args, **kwargs)

    return call


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    own = vars(owner).get(name)  # None: it comes from a base class
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own is None:
            delattr(owner, name)
        else:
            setattr(owner, name, own)
