"""In which area a point lies."""

import csv
import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import shapely
from shapely.geometry import shape

from services.tips.areas import Areas
from shared import municipality
from shared.errors import MunicipalityError
from shared.municipality import Municipality

ROOT = Path(__file__).parents[2]
BOSTON_DATA = ROOT.parent / "shared/data/boston"


def town(name: str) -> Municipality:
    return municipality.read(ROOT / "deploy/municipalities" / name)


@pytest.fixture(scope="module")
def ibuurt() -> Municipality:
    return town("ibuurt")


@pytest.mark.parametrize("name", ["ibuurt", "boston"])
def test_a_point_in_each_area_is_found_in_it(name: str) -> None:
    """A point well inside every area of every set of the two municipalities."""
    it = town(name)
    areas = Areas(it)
    for area_set in it.area_sets.values():
        for area in area_set.areas.values():
            point = shape(area.geometry).representative_point()
            assert areas.find(point.y, point.x)[area_set.id] == area.id


def test_a_shared_border_belongs_to_the_first_area_of_the_file(ibuurt: Municipality) -> None:
    """Both ends of every common edge, whatever the order in which the index looks."""
    areas, outlines = Areas(ibuurt), list(corners(ibuurt))
    ids = [area_id for area_id, _ in outlines]
    shared_corners = 0
    for place in {place for _, places in outlines for place in places}:
        holders = [area_id for area_id, places in outlines if place in places]
        shared_corners += len(holders) > 1
        longitude, latitude = place
        assert areas.find(latitude, longitude) == {"district": min(holders, key=ids.index)}
    assert shared_corners > 8


def test_a_point_outside_is_in_no_area(ibuurt: Municipality) -> None:
    """Beside the town, on the other side of the Earth, and beyond it; swapped coordinates as well."""
    areas = Areas(ibuurt)
    for latitude, longitude in ((52.2, 5.6), (5.6, 52.05), (0, 0), (-52.05, -174.4), (1e308, -1e308)):
        assert areas.find(latitude, longitude) == {}


def test_an_outline_that_is_not_valid_is_named_with_its_mend(ibuurt: Municipality) -> None:
    """All of them at once, so that one start names every mistake."""
    bow_tie = {
        "type": "Polygon",
        "coordinates": [[[5.6, 52.0], [5.7, 52.1], [5.7, 52.0], [5.6, 52.1], [5.6, 52.0]]],
    }
    flat = {"type": "Polygon", "coordinates": [[[5.6, 52.0], [5.7, 52.0], [5.8, 52.0], [5.6, 52.0]]]}
    district = ibuurt.area_sets["district"]
    changed = dict(district.areas)
    for area_id, geometry in (("oakwood", bow_tie), ("centre", flat)):
        changed[area_id] = changed[area_id].model_copy(update={"geometry": geometry})
    broken = ibuurt.model_copy(
        update={"area_sets": {"district": district.model_copy(update={"areas": changed})}}
    )
    with pytest.raises(MunicipalityError) as refused:
        Areas(broken)
    order = list(district.areas)
    named = [(order[int(one.path[9:-10])], one.problem.split("'")[1]) for one in refused.value.mistakes]
    assert sorted(named) == [("centre", "centre"), ("oakwood", "oakwood")]
    assert {mistake.file for mistake in refused.value.mistakes} == {"districts.geojson"}
    assert all("export the areas again" in mistake.mend for mistake in refused.value.mistakes)


def test_a_lookup_takes_well_below_a_millisecond() -> None:
    """In two sets with 38 areas and 23,000 corners: a report must not wait for its place."""
    areas = Areas(town("boston"))
    areas.find(42.3594, -71.0587)
    best = min(timed(areas) for _ in range(5))
    assert best < 0.001


def test_every_point_of_boston_lies_where_the_citys_own_outlines_have_it() -> None:
    """All requests of half a year, against the outlines as the city published them, not simplified."""
    requests = BOSTON_DATA / "boston_311_2011H2.csv.gz"
    if not requests.exists():
        pytest.skip("needs ../shared/data/boston, which is not part of this project")
    features = json.loads((BOSTON_DATA / "boston_police_districts.geojson").read_text())["features"]
    outlines = [shape(feature["geometry"]) for feature in features]
    ids = [feature["properties"]["ID"] for feature in features]
    with gzip.open(requests, "rt", encoding="utf-8") as file:
        points = sorted({(float(row["latitude"]), float(row["longitude"])) for row in csv.DictReader(file)})
    tree = shapely.STRtree(outlines)
    found, holders = tree.query([shapely.Point(lon, lat) for lat, lon in points], predicate="intersects")
    expected: dict[int, set[str]] = {}
    for point, holder in zip(found.tolist(), holders.tolist(), strict=True):
        expected.setdefault(point, set()).add(ids[holder])
    areas = Areas(town("boston"))
    wrong = [
        place
        for number, place in enumerate(points)
        if areas.find(*place).get("police_district") not in expected.get(number, {None})
    ]
    assert len(points) > 10_000
    assert wrong == []


def corners(it: Municipality) -> Iterator[tuple[str, set[tuple[float, float]]]]:
    """The corners of every area of the primary set, in the order of the file."""
    for area in it.area_sets[it.primary_area_set].areas.values():
        outline: Any = shape(area.geometry)
        yield area.id, {(x, y) for x, y in shapely.get_coordinates(outline).tolist()}


def timed(areas: Areas) -> float:
    started = time.perf_counter()
    for _ in range(200):
        areas.find(42.3594, -71.0587)
    return (time.perf_counter() - started) / 200
