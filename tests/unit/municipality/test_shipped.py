"""The two folders that ship are right."""

import csv
import gzip
import itertools
import json
import tomllib
from zoneinfo import ZoneInfo

import pytest
import shapely
from shapely.geometry import shape

from shared.municipality import read
from tests.unit.municipality.edits import FOLDERS, IBUURT, ROOT

BOSTON = FOLDERS / "boston"
REQUESTS = ROOT.parent / "shared" / "data" / "boston" / "boston_311_2011H2.csv.gz"
DISTRICTS = ROOT.parent / "shared" / "data" / "boston" / "boston_police_districts.geojson"


def test_ibuurt_is_right() -> None:
    """The folder to copy from reads clean and says what it seems to say."""
    ibuurt = read(IBUURT)
    assert (ibuurt.slug, ibuurt.languages, ibuurt.tz) == (
        "ibuurt",
        ("nl", "en"),
        ZoneInfo("Europe/Amsterdam"),
    )
    assert ibuurt.primary_area_set == "district"
    oakwood = ibuurt.area_sets["district"].areas["oakwood"]
    assert ibuurt.text(oakwood.names, "en") == "Oakwood"
    assert ibuurt.text(ibuurt.units["parking"].names, "fr") == "Team Parkeren"
    assert ibuurt.rules[-1].when is None
    assert {one.regime for one in ibuurt.categories.values() if one.kind == "tip"} == {"led", "gdpr"}
    assert not any(one.public for one in ibuurt.categories.values() if one.kind == "tip")


def test_the_areas_of_ibuurt_share_borders_and_do_not_overlap() -> None:
    """A place in the town lies in exactly one district."""
    shapes = [shape(area.geometry) for area in read(IBUURT).area_sets["district"].areas.values()]
    assert all(one.is_valid for one in shapes)
    assert all(one.intersection(other).area == 0 for one, other in itertools.combinations(shapes, 2))
    town = shapely.union_all(shapes)
    assert town.geom_type == "Polygon"
    assert not town.interiors


def test_boston_is_right() -> None:
    """The real city reads clean: 12 police districts first, 26 neighborhoods, at most 26 categories."""
    boston = read(BOSTON)
    assert [len(one.areas) for one in boston.area_sets.values()] == [12, 26]
    assert boston.primary_area_set == "police_district"
    assert len(boston.categories) <= 26
    assert sum(one.kind == "tip" for one in boston.categories.values()) >= 2
    for one in boston.area_sets.values():
        assert all(shape(area.geometry).is_valid for area in one.areas.values())


def imported() -> dict[str, dict[str, str]]:
    return tomllib.loads((BOSTON / "types.toml").read_text(encoding="utf-8"))


def test_each_of_bostons_141_types_has_a_category_and_each_department_a_unit() -> None:
    """The import can place every request; no category is without a type."""
    boston, table = read(BOSTON), imported()
    assert len(table["types"]) == 141
    assert set(table["types"].values()) == set(boston.categories)
    assert set(table["departments"].values()) == set(boston.units)


def test_the_sample_of_boston_is_covered_by_its_types() -> None:
    """5,000 requests, none twice, tips among them; types and departments are all known."""
    boston, table = read(BOSTON), imported()
    with gzip.open(BOSTON / "sample.csv.gz", "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["case_enquiry_id"] for row in rows}) == len(rows) == 5000
    assert {row["type"] for row in rows} <= table["types"].keys()
    assert {row["department"] for row in rows} <= table["departments"].keys()
    assert sum(boston.categories[table["types"][row["type"]]].kind == "tip" for row in rows) > 100


@pytest.fixture(scope="module")
def requests() -> list[dict[str, str]]:
    """All 58,251 requests; the tests that want them are skipped where they are not."""
    if not REQUESTS.exists() or not DISTRICTS.exists():
        pytest.skip("../shared/data/boston is not here: the city's own files are needed to compare with")
    with gzip.open(REQUESTS, "rt", encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_the_types_are_those_of_the_city(requests: list[dict[str, str]]) -> None:
    """No type and no department is misspelled or left out."""
    table = imported()
    assert {row["type"] for row in requests} == table["types"].keys()
    assert {row["department"] for row in requests} == table["departments"].keys()


def test_no_request_changes_its_district_by_the_simplified_outlines(requests: list[dict[str, str]]) -> None:
    """Each of the 58,251 points lies in the same district as by the city's own outlines, or in none."""
    points = shapely.points([(float(row["longitude"]), float(row["latitude"])) for row in requests])
    ours = {one.id: one.geometry for one in read(BOSTON).area_sets["police_district"].areas.values()}
    features = json.loads(DISTRICTS.read_text(encoding="utf-8"))["features"]
    theirs = {one["properties"]["ID"]: one["geometry"] for one in features}
    assert list(ours) == list(theirs)
    for one, geometry in theirs.items():
        inside = [shape(geometry), shape(ours[one])]
        shapely.prepare(inside)
        assert (shapely.intersects(inside[0], points) == shapely.intersects(inside[1], points)).all()


def test_the_emergency_lists_that_ship_say_enough_in_each_language() -> None:
    """At least 25 phrases a language, each found as it is written; the text names the right number."""
    for folder, number in ((IBUURT, "112"), (BOSTON, "911")):
        town = read(folder)
        lists = tomllib.loads((folder / "emergency.toml").read_text(encoding="utf-8"))["phrases"]
        assert set(lists) == set(town.languages)
        for language, phrases in lists.items():
            assert len(phrases) >= 25
            assert all(town.emergency_wording.tells(phrase.replace("*", "x")) for phrase in phrases)
            assert number in town.danger_text(language)


def test_nothing_must_be_answered_for_bostons_requests() -> None:
    """The demo sends them, and the city's export has no answers."""
    boston = read(BOSTON)
    assert not any(one.required for category in boston.categories.values() for one in category.questions)
    assert not any(category.danger for category in boston.categories.values())


def test_only_public_issues_have_a_public_text_and_only_issues_contact() -> None:
    """In both folders every category says how long its words are kept; tips say nothing of anybody."""
    for town in (read(IBUURT), read(BOSTON)):
        for category in town.categories.values():
            assert "retention_days" in category.model_fields_set
            assert category.contact == (category.kind == "issue")
            assert category.public or category.public_text == "none"
