"""Taking a whole model's weights from a stream of Hugging Face named tensors."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from torch import Tensor

from nemo_prorl.errors import WeightsError

Shape = tuple[int, ...]


def refit(
    places: Mapping[str, Tensor], stream: Iterable[tuple[str, Tensor]], *, optional: Collection[str] = ()
) -> None:
    """Copy every tensor of `stream` to its place, to the stream's end.

    Raises:
        WeightsError: as `fitting`. What did fit has been copied.
    """
    shapes = {name: tuple(place.shape) for name, place in places.items()}
    for name, tensor in fitting(shapes, stream, optional=optional):
        places[name].copy_(tensor)


def fitting(
    shapes: Mapping[str, Shape], stream: Iterable[tuple[str, Tensor]], *, optional: Collection[str] = ()
) -> Iterator[tuple[str, Tensor]]:
    """Those of `stream` that have a name and shape of `shapes`, to the stream's end: other ranks may take part in it.

    Raises:
        WeightsError: at the end, when a tensor was missing (those named in `optional` may be), unknown, or of another
            shape; all of them are listed.
    """
    missing, unknown, misshapen = set(shapes) - set(optional), [], []
    for name, tensor in stream:
        missing.discard(name)
        if name not in shapes:
            unknown.append(name)
        elif tuple(tensor.shape) != shapes[name]:
            misshapen.append(f"{name} is {tuple(tensor.shape)} instead of {shapes[name]}")
        else:
            yield name, tensor
    _refuse_unless_complete(sorted(missing), unknown, misshapen)


def _refuse_unless_complete(missing: Sequence[str], unknown: Sequence[str], misshapen: Sequence[str]) -> None:
    found = {"missing": missing, "unknown": unknown, "of another shape": misshapen}
    problems = [f"{len(names)} {what}: {', '.join(names)}" for what, names in found.items() if names]
    if problems:
        raise WeightsError(
            "the rollout engine was given weights that don't fit its model (" + "; ".join(problems) + "). Its model is "
            "built from config.json in model.path; weights must be those of the same architecture and vocabulary."
        )
