"""What an attacker does with what is published, and how well it goes; all but the noise is known to them.

The attackers are the best that there are: of two neighbouring worlds, which differ by one report, the
likelihood ratio tells the most (Neyman and Pearson). `Draw` is where the noise comes from, so that a broken
one can be put in its place.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy
from numpy.typing import NDArray

Draw = Callable[[int, int], Sequence[int]]
Integers = NDArray[numpy.int64]

# Of a test against a bound: so unlikely is it that a protection that holds fails it by chance.
CHANCE = 1e-6


def log_mass(noise: Integers, scale: float) -> NDArray[numpy.float64]:
    """The logarithm of the probability of discrete Laplace noise, up to a constant."""
    return -numpy.abs(noise) / scale


def log_ratios(figures: Integers, present: Sequence[int], scales: Sequence[int]) -> NDArray[numpy.float64]:
    """How much likelier each row of figures is where the report is there than where it is not: a column for
    each table that it counts in, by how much it counts there."""
    total = numpy.zeros(len(figures))
    for column, (by, scale) in enumerate(zip(present, scales, strict=True)):
        total += log_mass(figures[:, column] - by, scale) - log_mass(figures[:, column], scale)
    return total


def worlds(draw: Draw, scales: Sequence[int], runs: int, by: int = 1) -> tuple[Integers, Integers]:
    """The figures of the cells of one report, a column for each table, in so many worlds with it, and as many
    without; each has noise of its own."""
    with_it = numpy.array([draw(scale, runs) for scale in scales], dtype=numpy.int64).T + by
    without = numpy.array([draw(scale, runs) for scale in scales], dtype=numpy.int64).T
    return with_it, without


class Rates(NamedTuple):
    """How often an attacker says "there", of `runs` worlds with the report and as many without it."""

    true: int
    false: int
    runs: int

    @property
    def epsilon_at_least(self) -> float:
        """What the guarantee has been shown to spend at least, with 97.5 % confidence for each rate."""
        low, high = lowest(self.true, self.runs), highest(self.false, self.runs)
        return math.log(low / high) if low > 0 and high > 0 else 0.0

    @property
    def epsilon_at_most(self) -> float:
        """What this attacker shows at most, with the same confidence; without end where nothing bounds it."""
        low, high = lowest(self.false, self.runs), highest(self.true, self.runs)
        return math.log(high / low) if low > 0 and high > 0 else math.inf

    @property
    def interval(self) -> str:
        """Both, as a table tells them: 95 % and more."""
        return f"{max(self.epsilon_at_least, 0):.2f} to {self.epsilon_at_most:.2f}"


def rates(with_it: NDArray[numpy.float64], without: NDArray[numpy.float64], threshold: float) -> Rates:
    """Of an attacker who says "there" above a threshold that was fixed before."""
    return Rates(int((with_it > threshold).sum()), int((without > threshold).sum()), len(with_it))


def lowest(hits: int, runs: int, alpha: float = 0.025) -> float:
    """The lower end of the exact interval of a rate (Clopper and Pearson, 1934)."""
    return 0.0 if hits == 0 else _where(lambda p: _at_least(hits, runs, p) < alpha)


def highest(hits: int, runs: int, alpha: float = 0.025) -> float:
    """The upper end."""
    return 1.0 if hits == runs else _where(lambda p: 1 - _at_least(hits + 1, runs, p) > alpha)


def _where(holds: Callable[[float], bool]) -> float:
    """The largest rate at which it still holds."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _at_least(hits: int, runs: int, p: float) -> float:
    """How likely so many hits or more are, at that rate."""
    if p <= 0 or p >= 1:
        return float(p >= 1 or hits == 0)
    logs = [
        math.lgamma(runs + 1)
        - math.lgamma(k + 1)
        - math.lgamma(runs - k + 1)
        + k * math.log(p)
        + (runs - k) * math.log1p(-p)
        for k in _likely(hits, runs, p)
    ]
    return min(1.0, sum(map(math.exp, logs)))


def _likely(hits: int, runs: int, p: float) -> range:
    """The numbers of hits from `hits` on that are not beyond twelve deviations."""
    far = 12 * math.sqrt(runs * p * (1 - p)) + 12
    return range(max(hits, math.floor(runs * p - far)), min(runs, math.ceil(runs * p + far)) + 1)


def misfit(noise: Integers, scale: int) -> tuple[float, int]:
    """Pearson's statistic against discrete Laplace, and its degrees of freedom; what is rare is one class."""
    q = math.exp(-1 / scale)
    runs, chi = len(noise), 0.0
    bound = 0
    while runs * (1 - q) / (1 + q) * q ** (bound + 1) >= 20:
        bound += 1
    seen = 0
    for value in range(-bound, bound + 1):
        expected = runs * (1 - q) / (1 + q) * q ** abs(value)
        found = int((noise == value).sum())
        seen += found
        chi += (found - expected) ** 2 / expected
    rest = runs * 2 * q ** (bound + 1) / (1 + q)
    chi += (runs - seen - rest) ** 2 / rest
    return chi, 2 * bound + 1


def unlikely(chi: float, freedom: int) -> float:
    """How likely so much of a misfit is by chance (Wilson and Hilferty, 1931)."""
    z = ((chi / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / math.sqrt(2 / (9 * freedom))
    return 0.5 * math.erfc(z / math.sqrt(2))
