"""A shuffle that is computed: a bijection, another one for every key."""

from collections import Counter
from itertools import pairwise

import pytest

from nemo_prorl.data.permutation import permuted, random_bits


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 15, 16, 17, 64, 100, 257])
@pytest.mark.parametrize("key", ["", "0/lcm/0"])
def test_every_position_is_taken_once(size, key):
    assert sorted(permuted(i, size, key) for i in range(size)) == list(range(size))


def test_every_order_of_three_comes_about_equally_often():
    """6 orders in 1200 keys: 200 each, standard deviation 13; 5 of those are 65."""
    orders = Counter(tuple(permuted(i, 3, f"key {key}") for i in range(3)) for key in range(1200))
    assert len(orders) == 6
    assert all(abs(count - 200) < 65 for count in orders.values())


def test_neighbours_are_torn_apart():
    """Of 1000 neighbours in a random order of 1001, 2 are expected to stay neighbours."""
    order = [permuted(i, 1001, "k") for i in range(1001)]
    assert sum(abs(a - b) == 1 for a, b in pairwise(order)) < 12


def test_a_large_size_costs_no_memory():
    assert 0 <= permuted(10**12 - 1, 10**12, "k") < 10**12


def test_the_order_is_the_same_for_good():
    """Stored numbers: a change here would silently change the data order of every resumed run."""
    assert [permuted(i, 10, "seed 1, epoch 0") for i in range(10)] == [7, 0, 3, 4, 1, 6, 5, 9, 8, 2]
    assert random_bits("a") == 3405396810240292928


def test_a_position_outside_is_refused():
    with pytest.raises(IndexError, match=r"position 5 lies outside range\(5\)"):
        permuted(5, 5, "k")
