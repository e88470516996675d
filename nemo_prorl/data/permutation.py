"""A shuffled order that is computed, not stored."""

from __future__ import annotations

import hashlib

ROUNDS = 6


def permuted(position: int, size: int, key: str) -> int:
    """Where `position` goes in the shuffle of range(size) that belongs to `key`: a bijection for every key.

    A Feistel network on the next power of four, walked until it falls below `size` (cycle walking); no memory, and the
    same on every machine. Takes about 10 microseconds.

    >>> sorted(permuted(i, 5, "seed 1, epoch 0") for i in range(5))
    [0, 1, 2, 3, 4]
    """
    if not 0 <= position < size:
        raise IndexError(f"permuted: position {position} lies outside range({size})")
    half_bits = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = (1 << half_bits) - 1
    while True:
        left, right = position >> half_bits, position & mask
        for number in range(ROUNDS):
            left, right = right, left ^ (random_bits(f"{key}/{number}/{right}") & mask)
        position = left << half_bits | right
        if position < size:
            return position


def random_bits(key: str) -> int:
    """64 bits that belong to `key`, the same in every process."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")
