"""The places of public issues: rounded to a grid, and how far apart two of them are.

A rounded place stands for a cell around it, in which the exact place lies: 0.001 degrees of latitude (111 m)
by 0.001 degrees of longitude (69 m in the Netherlands). So a distance is never one number but a least and a
most.
"""

import math
from typing import NamedTuple

GRID_DECIMALS = 3
GRID_DEGREES = 10.0**-GRID_DECIMALS
# Along a meridian; along a parallel it shrinks with the latitude.
METRES_PER_DEGREE = 111_320.0


class Place(NamedTuple):
    """WGS 84 degrees."""

    latitude: float
    longitude: float


class Apart(NamedTuple):
    """Between what and what the distance of two exact places lies, in metres."""

    least: float
    most: float


def rounded(latitude: float, longitude: float) -> Place:
    """The grid's place nearest to an exact one. A place that is on the grid stays where it is."""
    return Place(round(latitude, GRID_DECIMALS) + 0.0, round(longitude, GRID_DECIMALS) + 0.0)


def apart(one: Place, other: Place) -> Apart:
    """How far apart two exact places are of which these are the rounded ones.

    For places of one municipality: the earth is taken to be flat between them.
    """
    north = METRES_PER_DEGREE
    east = METRES_PER_DEGREE * math.cos(math.radians((one.latitude + other.latitude) / 2))
    offsets = (
        (abs(one.latitude - other.latitude) * north, GRID_DEGREES * north),
        (abs(one.longitude - other.longitude) * east, GRID_DEGREES * east),
    )
    least = math.hypot(*(max(0.0, offset - cell) for offset, cell in offsets))
    return Apart(least, math.hypot(*(offset + cell for offset, cell in offsets)))


def around(place: Place, metres: float) -> tuple[Place, Place]:
    """The south-western and north-eastern corner of a box that holds every rounded place whose exact one may
    be within so many metres. It may hold others."""
    north = metres / METRES_PER_DEGREE + 2 * GRID_DEGREES
    # Nearest to a pole a degree of longitude is shortest.
    widest = min(89.0, abs(place.latitude) + north)
    east = metres / (METRES_PER_DEGREE * math.cos(math.radians(widest))) + 2 * GRID_DEGREES
    return (
        Place(place.latitude - north, place.longitude - east),
        Place(place.latitude + north, place.longitude + east),
    )
