"""Taking a whole model's weights from a stream of Hugging Face named tensors."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from torch import Tensor

from nemo_prorl.errors import WeightsError


def refit(
    places: Mapping[str, Tensor], stream: Iterable[tuple[str, Tensor]], *, optional: Collection[str] = ()
) -> None:
    """Copy every tensor of `stream` to its place, to the stream's end: other ranks may be taking part in it.

    Raises:
        WeightsError: a tensor is missing (those named in `optional` may be), unknown, or of another shape; all of them
            are listed. What did fit has been copied.
    """
    missing, unknown, misshapen = set(places) - set(optional), [], []
    for name, tensor in stream:
        missing.discard(name)
        if name not in places:
            unknown.append(name)
        elif tensor.shape != places[name].shape:
            misshapen.append(f"{name} is {tuple(tensor.shape)} instead of {tuple(places[name].shape)}")
        else:
            places[name].copy_(tensor)
    _refuse_unless_complete(sorted(missing), unknown, misshapen)


def _refuse_unless_complete(missing: Sequence[str], unknown: Sequence[str], misshapen: Sequence[str]) -> None:
    found = {"missing": missing, "unknown": unknown, "of another shape": misshapen}
    problems = [f"{len(names)} {what}: {', '.join(names)}" for what, names in found.items() if names]
    if problems:
        raise WeightsError(
            "the rollout engine was given weights that don't fit its model (" + "; ".join(problems) + "). Its model is "
            "built from config.json in model.path; weights must be those of the same architecture and vocabulary."
        )
