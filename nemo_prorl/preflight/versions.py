"""The versions of what a run stands on, beside those that we know."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from nemo_prorl.preflight.finding import Finding

# What our own requirements say of them is what holds.
REQUIRED = ("torch", "megatron-core", "nemo-aligner", "transformers")
# Comes with images or from source, never by our requirements: which of its versions we know, and what for.
OPTIONAL = {
    "transformer-engine": (">=2.0,<3", "megatron.device=cuda: without it Megatron's plain layers run, slower"),
    "apex": ("", "nothing: Megatron takes PyTorch's own kernels instead"),
    "tensorrt-llm": (">=1.2,<1.4", "rollout=tensorrt_llm"),
}

Installed = Callable[[str], str | None]


def installed_version(name: str) -> str | None:
    """The version of an installed distribution; None: it isn't there. Nothing is imported."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def our_requirements() -> dict[str, SpecifierSet]:
    """What `pyproject.toml` asks for, as the installed package says it; empty where it runs from a bare checkout."""
    try:
        lines = requires("nemo-prorl") or []
    except PackageNotFoundError:
        return {}
    parsed = [Requirement(line) for line in lines]
    return {one.name: one.specifier for one in parsed if one.marker is None}


def check_versions(
    installed: Installed = installed_version, required: dict[str, SpecifierSet] | None = None
) -> Iterator[Finding]:
    """One finding a library. A version that isn't known is a warning: it may well work. One that is missing may not."""
    required = our_requirements() if required is None else required
    for name in REQUIRED:
        known = required.get(name, SpecifierSet())
        found = installed(name)
        if found is None:
            advice = f"install nemo_prorl with its requirements, or use an image that has {name} (docs/cluster.md)"
            yield Finding(name, "failed", "not installed", advice)
        else:
            yield _beside(name, found, known)
    for name, (range_known, needed_for) in OPTIONAL.items():
        found = installed(name)
        if found is None:
            yield Finding(name, "ok", f"not installed; needed for {needed_for}")
        else:
            yield _beside(name, found, SpecifierSet(range_known))


def _beside(name: str, found: str, known: SpecifierSet) -> Finding:
    if known.contains(found, prereleases=True):  # NVIDIA's torch is called 2.10.0a0
        return Finding(name, "ok", found)
    advice = f"we know {name} {known}: take such a version, or try this one on a small run first"
    return Finding(name, "warning", found, advice)
