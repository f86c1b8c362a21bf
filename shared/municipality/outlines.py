"""Whether outlines enclose what they should. Needs shapely, which of the services only `tips` has."""

from collections.abc import Mapping
from typing import Any

import shapely
from shapely.geometry import shape

from shared.errors import Mistake, MunicipalityError
from shared.municipality.findings import join
from shared.municipality.model import Municipality


def outlines(municipality: Municipality) -> dict[str, list[Any]]:
    """The shapely geometry of each area, per area set, in the order of its file.

    Raises MunicipalityError with every outline that is no valid one.
    """
    found: dict[str, list[Any]] = {}
    mistakes = []
    for area_set in municipality.area_sets.values():
        found[area_set.id] = []
        for number, area in enumerate(area_set.areas.values()):
            outline, problem = _outline(area.geometry)
            found[area_set.id].append(outline)
            if problem:
                mistakes.append(
                    Mistake(
                        area_set.file,
                        join("features", number, "geometry"),
                        f"the outline of {area.id!r} is not valid: {problem}",
                        "mend it in a GIS (`make valid`, `fix geometries`) and export the areas again",
                    )
                )
    if mistakes:
        raise MunicipalityError(tuple(mistakes))
    return found


def _outline(geometry: Mapping[str, Any]) -> tuple[Any, str]:
    """The outline and what is wrong with it, or an empty text."""
    try:
        outline = shape(geometry)
    except (ValueError, TypeError, IndexError, KeyError, shapely.errors.ShapelyError) as error:
        return shapely.Polygon(), type(error).__name__
    if outline.is_empty or not outline.area:
        return outline, "it encloses nothing"
    return outline, "" if outline.is_valid else shapely.is_valid_reason(outline)
