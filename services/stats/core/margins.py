"""How far a published figure may be from the count: the bound that holds in 95 % of all cells, worked out
from the noise alone. It is the same for every cell of a table, so it tells nothing of any.
"""

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

CONFIDENCE = 0.95
# Below this share of what it was, the rest of the characteristic function changes no tenth.
NOTHING = 1e-7
POINTS_PER_TURN = 16


class Part(NamedTuple):
    """So many cells, each with noise of a scale, and the weight that each has in a figure."""

    weight: float
    scale: int
    cells: int


def variance(scale: int) -> float:
    """Of discrete Laplace noise."""
    p = math.exp(-1 / scale)
    return 2 * p / (1 - p) ** 2


def of_one(scale: int) -> int:
    """The bound of a count with noise of its own, in tenths: the least whole number that holds in at least
    95 %. The noise is whole, so that it holds a little more often where the scale is small."""
    p = math.exp(-1 / scale)
    bound = 0
    while 1 - 2 * p ** (bound + 1) / (1 + p) < CONFIDENCE:
        bound += 1
    return bound * 10


def of_sum(parts: Iterable[Part]) -> int:
    """The bound of a weighted sum, in tenths."""
    return _of_sum(tuple(sorted(part for part in parts if part.cells and part.weight)))


@lru_cache(maxsize=512)
def _of_sum(parts: tuple[Part, ...]) -> int:
    """Weights blur the whole numbers, so that each noise may be taken for a continuous Laplace of its
    variance; the distribution of their sum comes from its characteristic function (Gil-Pelaez)."""
    spreads = [(part.weight**2 * variance(part.scale) / 2, part.cells) for part in parts]
    deviation = math.sqrt(sum(2 * spread * cells for spread, cells in spreads))
    curve = _Curve(spreads, deviation)
    low, high = 0, math.ceil(deviation * 40)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if curve.within(middle / 10) >= CONFIDENCE else (middle, high)
    return high


class _Curve:
    """The characteristic function, at steps fine enough for every bound that is asked for."""

    def __init__(self, spreads: list[tuple[float, int]], deviation: float) -> None:
        end = 1 / deviation
        while self._at(spreads, end) > NOTHING and end < 200 / deviation:
            end *= 1.2
        # Of Simpson's rule: an even number of steps.
        self._steps = max(400, int(end * deviation * 4 / (2 * math.pi) * POINTS_PER_TURN)) // 2 * 2
        self._step = end / self._steps
        self._values = [self._at(spreads, number * self._step) for number in range(self._steps + 1)]

    @staticmethod
    def _at(spreads: list[tuple[float, int]], s: float) -> float:
        return math.exp(-sum(cells * math.log1p(spread * s * s) for spread, cells in spreads))

    def within(self, bound: float) -> float:
        """How likely the sum lies within the bound."""
        total = bound * self._values[0]
        for number in range(1, self._steps + 1):
            s = number * self._step
            weight = 1 if number == self._steps else 4 if number % 2 else 2
            total += weight * math.sin(s * bound) / s * self._values[number]
        return 2 / math.pi * total * self._step / 3
