"""In which areas a point lies."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import shapely
from shapely.geometry import shape

from shared.errors import Mistake, MunicipalityError
from shared.municipality import AreaSet, Municipality

Found = dict[str, str]


class Areas:
    """An index of every area set. Raises MunicipalityError with every outline that is no valid one."""

    def __init__(self, municipality: Municipality) -> None:
        mistakes: list[Mistake] = []
        self._indexes = {
            set_id: _Index(area_set, mistakes) for set_id, area_set in municipality.area_sets.items()
        }
        if mistakes:
            raise MunicipalityError(tuple(mistakes))

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
    def __init__(self, area_set: AreaSet, mistakes: list[Mistake]) -> None:
        self._ids = list(area_set.areas)
        outlines = []
        for area in area_set.areas.values():
            outline, problem = _outline(area.geometry)
            if problem:
                mistakes.append(
                    Mistake(
                        f"area set {area_set.id!r}",
                        f"area {area.id!r}: geometry",
                        f"the outline is not valid: {problem}",
                        "mend it in a GIS (`make valid`, `fix geometries`) and export the areas again",
                    )
                )
            outlines.append(outline)
        self._outlines = np.array(outlines, dtype=object)
        shapely.prepare(self._outlines)
        self._tree = shapely.STRtree(self._outlines)

    def find(self, latitude: float, longitude: float) -> str | None:
        near = self._tree.query(shapely.Point(longitude, latitude))
        holding = near[shapely.intersects_xy(self._outlines[near], longitude, latitude)]
        return self._ids[int(holding.min())] if holding.size else None


def _outline(geometry: Mapping[str, Any]) -> tuple[Any, str]:
    """The outline and what is wrong with it, or an empty text."""
    try:
        outline = shape(geometry)
    except (ValueError, TypeError, IndexError, KeyError, shapely.errors.ShapelyError) as error:
        return shapely.Polygon(), type(error).__name__
    if outline.is_empty or not outline.area:
        return outline, "it encloses nothing"
    return outline, "" if outline.is_valid else shapely.is_valid_reason(outline)
