"""Noise: OpenDP's discrete Laplace distribution, and no other source of chance.

It is drawn before a period opens, on zeros, so that neither a crash nor the time it takes tells anything.
"""

import opendp.prelude as dp

from shared.errors import Refusal

# OpenDP calls everything so that its vetting has not been finished for.
dp.enable_features("contrib")
# A scale of 7 costs 1/7 rounded up to the next number that the machine has.
ROUNDING = 1e-12


def check(scale: int) -> None:
    """Raise Refusal unless what OpenDP makes of this scale spends 1/scale when one count changes by one."""
    spent = spends(scale)
    if not 0 < spent <= 1 / max(scale, 1) * (1 + ROUNDING):
        raise Refusal(
            f"noise of the scale {scale} would spend {spent} on each report; write a whole number of at "
            "least 1 in statistics.toml, or deploy the OpenDP that requirements/stats.txt names"
        )


def spends(scale: int) -> float:
    """What OpenDP says that noise of a scale spends when one count changes by one."""
    if scale <= 0:
        return float("inf")
    spent: float = _laplace(scale).map(1)  # type: ignore[no-untyped-call] # OpenDP's methods have no types
    return spent


def draw(scale: int, cells: int) -> list[int]:
    """Noise for so many cells, each independent of the others. Blocking: about 90,000 a second."""
    drawn: list[int] = _laplace(scale)([0] * cells)
    return drawn


def _laplace(scale: int) -> dp.Measurement:
    vector = dp.vector_domain(dp.atom_domain(T="i64"))
    return dp.m.make_laplace(vector, dp.l1_distance(T="i64"), scale=float(scale))
