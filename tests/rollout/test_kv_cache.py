"""The cache holds what it was given, while rows leave and columns grow."""

import torch

from nemo_prorl.rollout.kv_cache import FIRST_RESERVE, KeyValueCache


def column(*rows: float) -> torch.Tensor:
    """One column for each row, [B, 1, 1, 1]."""
    return torch.tensor(rows).view(-1, 1, 1, 1)


def rows_of(stored: torch.Tensor) -> list[list[float]]:
    return stored[:, 0, :, 0].tolist()


def test_a_prompt_is_stored_for_each_of_its_samples():
    cache = KeyValueCache(rows=3, columns=2, most_columns=4)
    prompts = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(2, 1, 2, 1)
    cache.reading(slice(0, 3), torch.tensor([0, 0, 1]))
    cache.update(prompts, -prompts, 0)
    cache.extend()
    keys, values = cache.update(column(5, 6, 7), -column(5, 6, 7), 0)
    assert rows_of(keys) == [[1, 2, 5], [1, 2, 6], [3, 4, 7]]
    assert rows_of(values) == [[-1, -2, -5], [-1, -2, -6], [-3, -4, -7]]


def test_a_row_that_leaves_is_overwritten_by_one_from_the_end():
    """Of rows 0 1 2 3, rows 0 and 2 leave: 3 takes the place of 0."""
    cache = KeyValueCache(rows=4, columns=1, most_columns=3)
    cache.reading(slice(0, 4), torch.arange(4))
    cache.update(column(0, 1, 2, 3), column(0, 1, 2, 3), 0)
    cache.move(sources=torch.tensor([3]), targets=torch.tensor([0]), rows=2)
    cache.extend()
    keys, _ = cache.update(column(8, 9), column(8, 9), 0)
    assert rows_of(keys) == [[3, 8], [1, 9]]


def test_growing_keeps_what_is_stored():
    tokens = 3 * FIRST_RESERVE
    cache = KeyValueCache(rows=1, columns=1, most_columns=1 + tokens)
    cache.reading(slice(0, 1), torch.tensor([0]))
    cache.update(column(0), column(0), 0)
    for number in range(1, 1 + tokens):
        cache.extend()
        keys, values = cache.update(column(number), column(-number), 0)
    assert rows_of(keys) == [[float(i) for i in range(1 + tokens)]]
    assert rows_of(values) == [[-float(i) for i in range(1 + tokens)]]
