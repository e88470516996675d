"""Memory that is freed by tag and taken again, its content kept or lost.

`events` is the double's own: what happened to memory, weights and caches, in order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tensorrt_llm import version
from tensorrt_llm._torch.memory_types import ExecutorMemoryType as _Types

if not version.HAS_SLEEP_CONFIG:  # later it lives with the arguments
    ExecutorMemoryType = _Types

events: list[str] = []


class _Owner(NamedTuple):
    lose: Callable[[], None]
    is_kept: bool
    stands_still: Callable[[], bool]


_owners: dict[str, _Owner] = {}
_freed: set[str] = set()


def own(tag: str, lose: Callable[[], None], *, is_kept: bool, stands_still: Callable[[], bool]) -> None:
    """What is allocated under a tag, for an LLM that may sleep. `lose` makes its content worthless."""
    _owners[tag] = _Owner(lose, is_kept, stands_still)


def check_is_here() -> None:
    if _freed:
        raise RuntimeError(f"CUDA error: an illegal memory access was encountered ({', '.join(sorted(_freed))})")


def has_been_freed(tag: str) -> bool:
    return tag in _freed


def release_with_tag(*tags: str) -> int:
    return sum(_set(tag, freed=True) for tag in tags)


def materialize_with_tag(*tags: str) -> int:
    return sum(_set(tag, freed=False) for tag in tags)


def _set(tag: str, *, freed: bool) -> int:
    kind = _Types(tag)  # ValueError for what isn't a tag
    if tag not in _owners:
        return 0
    if not _owners[tag].stands_still():
        raise RuntimeError("memory of a running loop")
    if freed:
        _freed.add(tag)
        if not _owners[tag].is_kept:
            _owners[tag].lose()
    else:
        _freed.discard(tag)
    events.append(f"{'free' if freed else 'take'} {kind.value}")
    return 1
