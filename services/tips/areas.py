"""In which areas a point lies."""

from typing import Any

import numpy as np
import shapely

from shared.municipality import AreaSet, Municipality
from shared.municipality.outlines import outlines

Found = dict[str, str]


class Areas:
    """An index of every area set. Raises MunicipalityError with every outline that is no valid one."""

    def __init__(self, municipality: Municipality) -> None:
        found = outlines(municipality)
        self._indexes = {
            set_id: _Index(area_set, found[set_id]) for set_id, area_set in municipality.area_sets.items()
        }

    def find(self, latitude: float, longitude: float) -> Found:
        """The area per area set that holds the point (WGS 84 degrees); sets where it lies in none are left
        out. On a border, the first area of the file's order has it."""
        found = {}
        for set_id, index in self._indexes.items():
            area = index.find(latitude, longitude)
            if area is not None:
                found[set_id] = area
        return found


class _Index:
    """Of hundreds of areas at most: to hold a point against all their boxes is faster than any tree."""

    def __init__(self, area_set: AreaSet, outlines: list[Any]) -> None:
        self._ids = list(area_set.areas)
        self._outlines = np.array(outlines, dtype=object)
        shapely.prepare(self._outlines)
        self._west, self._south, self._east, self._north = shapely.bounds(self._outlines).T.copy()

    def find(self, latitude: float, longitude: float) -> str | None:
        near = np.flatnonzero(
            (self._west <= longitude)
            & (longitude <= self._east)
            & (self._south <= latitude)
            & (latitude <= self._north)
        )
        holding = near[shapely.intersects_xy(self._outlines[near], longitude, latitude)]
        return self._ids[int(holding[0])] if holding.size else None
