"""Seeded randomness for long walks: the same seed gives the same walk, on every machine."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Entropy:
    """Draws of one seed. Tests print the seed, so that a failure can be walked again."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._random = random.Random(seed)

    def chance(self, share: float) -> bool:
        """True in `share` of all draws."""
        return self._random.random() < share

    def below(self, limit: int) -> int:
        """A whole number from 0 to `limit` - 1."""
        return self._random.randrange(limit)

    def pick(self, options: Sequence[T]) -> T:
        """One of `options`."""
        return self._random.choice(options)

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """`options` in another order."""
        return self._random.sample(options, len(options))

    def octets(self, size_bytes: int) -> bytes:
        """`size_bytes` bytes."""
        return self._random.randbytes(size_bytes)
