"""Stages inherit: each states only what differs from the stage before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# A reset at its entry belongs to one stage alone; the next one would have to switch it off again.
NOT_INHERITED = (("reset", "at_entry"),)


def inherit_stages(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """`recipe` with every stage written out and without `common`, which is what the first stage inherits.

    >>> inherit_stages({"common": {"steps": 5}, "stages": {"a": {"kl_weight": 0.1}, "b": {"steps": 9}}})
    {'stages': {'a': {'steps': 5, 'kl_weight': 0.1}, 'b': {'steps': 9, 'kl_weight': 0.1}}}

    What isn't a mapping is left as it is, for the schema to refuse.
    """
    stages, common = recipe.get("stages"), recipe.get("common") or {}
    if not isinstance(stages, Mapping) or not isinstance(common, Mapping):
        return dict(recipe)
    whole: dict[str, Any] = {}
    former: Any = common
    for name, stated in stages.items():
        if stated is None:  # a stage that changes nothing
            stated = {}
        whole[name] = merged(without(former, NOT_INHERITED), stated) if isinstance(stated, Mapping) else stated
        former = whole[name] if isinstance(stated, Mapping) else former
    return {key: value for key, value in recipe.items() if key != "common"} | {"stages": whole}


def where_stated(recipe: Mapping[str, Any], path: Sequence[int | str]) -> tuple[int | str, ...]:
    """Where a setting of a stage comes from: `path` is (stages, name, ...) below the recipe, and so is the answer.

    That is the stage itself, the nearest one before it that states the setting, or (common, ...).
    """
    stages = recipe.get("stages")
    if len(path) < 3 or path[0] != "stages" or not isinstance(stages, Mapping) or path[1] not in stages:
        return tuple(path)
    names = list(stages)
    for name in reversed(names[: names.index(path[1]) + 1]):
        if _states(stages[name], path[2:]):
            return ("stages", name, *path[2:])
    return ("common", *path[2:]) if _states(recipe.get("common"), path[2:]) else tuple(path)


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`below` with the entries of `above` put over it, mapping by mapping."""
    result = dict(below)
    for key, value in above.items():
        under = result.get(key)
        result[key] = merged(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
    return result


def without(tree: Mapping[str, Any], paths: Sequence[Sequence[str]]) -> dict[str, Any]:
    """`tree` less the entries at `paths`."""
    result = dict(tree)
    for head, *rest in paths:
        if head not in result:
            continue
        if not rest:
            del result[head]
        elif isinstance(result[head], Mapping):
            result[head] = without(result[head], [rest])
    return result


def _states(tree: Any, path: Sequence[int | str]) -> bool:
    for key in path:
        if not isinstance(tree, Mapping) or key not in tree:
            return False
        tree = tree[key]
    return True
