"""Whether an error comes from a collective, and so perhaps from another rank."""

from __future__ import annotations

from collections.abc import Iterator

from nemo_prorl.errors import CheckpointError

_LIBRARIES = ("gloo", "nccl", "connection closed by peer", "connection reset by peer", "tcpstore", "broken pipe")
_TYPES = ("DistBackendError", "DistNetworkError", "DistStoreError", "DistError", "DistQueueEmptyError")


def is_of_a_collective(error: BaseException) -> bool:
    """Also when another error was raised from it."""
    return any(_is_one(each) for each in _chain(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _is_one(error: BaseException) -> bool:
    if type(error).__name__ in _TYPES:
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError | CheckpointError) and any(word in text for word in _LIBRARIES)
