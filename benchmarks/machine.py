"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "transformers", "megatron-core", "transformer-engine", "numpy", "safetensors")


def machine() -> dict[str, Any]:
    """Processor, memory, software, and how busy it was at this moment."""
    return {
        "cpu": _cpu_model(),
        "gpu": _gpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "load_average_1_minute": round(os.getloadavg()[0], 2),
    }


def in_a_line(described: dict[str, Any]) -> str:
    """`machine()` as people read it."""
    gpu = f"{described['gpu']}; " if described.get("gpu") else ""
    return (
        f"{gpu}{described['cpu']}, {described['cores']} cores, {described['memory_gib']} GiB; "
        f"torch {described['versions']['torch']}, transformers {described['versions']['transformers']}; "
        f"load {described['load_average_1_minute']}"
    )


def _gpu() -> str | None:
    """The first GPU's name, None where torch sees none."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _cpu_model() -> str:
    """The name, and the vector extensions that matter to torch: the name alone hides them on virtual machines."""
    found: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        found.setdefault(key.strip(), value.strip())
    flags = found.get("flags", "").split()
    extensions = [flag for flag in ("avx2", "avx512f", "amx_bf16") if flag in flags]
    return " ".join([found.get("model name", platform.processor() or "unknown"), *extensions])


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
