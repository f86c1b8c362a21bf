"""A municipality's folder is read whole or refused whole, with every mistake named."""

import csv
import gzip
import itertools
import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from shapely.geometry import shape

from shared.errors import Mistake, MunicipalityError
from shared.municipality import Area, Category, Targets, read
from shared.municipality.__main__ import main

ROOT = Path(__file__).parents[2]
FOLDERS = ROOT / "deploy" / "municipalities"
IBUURT = FOLDERS / "ibuurt"
BOSTON = FOLDERS / "boston"
REQUESTS = ROOT.parent / "shared" / "data" / "boston" / "boston_311_2011H2.csv.gz"
DISTRICTS = ROOT.parent / "shared" / "data" / "boston" / "boston_police_districts.geojson"

Edit = Callable[[Path], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of ibuurt that a test may break."""
    return Path(shutil.copytree(IBUURT, tmp_path / "ibuurt"))


def mistakes_of(folder: Path) -> tuple[Mistake, ...]:
    with pytest.raises(MunicipalityError) as caught:
        read(folder)
    return caught.value.mistakes


def swap(name: str, old: str, new: str) -> Edit:
    """Replaces the first place where `old` stands; fails where it does not stand."""

    def edit(folder: Path) -> None:
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1), encoding="utf-8")

    return edit


def append(name: str, text: str) -> Edit:
    def edit(folder: Path) -> None:
        with (folder / name).open("a", encoding="utf-8") as file:
            file.write(text)

    return edit


def write(name: str, content: bytes) -> Edit:
    def edit(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return edit


def remove(name: str, then_a_folder: bool = False) -> Edit:
    def edit(folder: Path) -> None:
        (folder / name).unlink()
        if then_a_folder:
            (folder / name).mkdir()

    return edit


def areas(change: Callable[[Any], None]) -> Edit:
    """Changes the parsed GeoJSON."""

    def edit(folder: Path) -> None:
        path = folder / "districts.geojson"
        value = json.loads(path.read_text(encoding="utf-8"))
        change(value)
        path.write_text(json.dumps(value), encoding="utf-8")

    return edit


def feature(number: int, **parts: object) -> Edit:
    return areas(lambda value: value["features"][number].update(parts))


def ring(number: int, change: Callable[[list[Any]], None]) -> Edit:
    return areas(lambda value: change(value["features"][number]["geometry"]["coordinates"][0]))


def polygon(*positions: list[float]) -> dict[str, object]:
    return {"type": "Polygon", "coordinates": [list(positions)]}


def turn(positions: list[Any]) -> None:
    positions[:] = [[latitude, longitude] for longitude, latitude in positions]


M, C, U, R, W, G = (
    "municipality.toml",
    "categories.toml",
    "units.toml",
    "routing.toml",
    "reasons.toml",
    "districts.geojson",
)
LAMP = 'id = "street_light"\nkind = "issue"'
RULE = '\n[[rules]]\nid = "extra"\nunit = "front_desk"\nreason = "front_desk_decides"\n'
POLICE = 'unit = "neighbourhood_police_north"\nreason'
CENTRE = "area = { district = ["
TARGETS = "targets = { acknowledge_hours = 24, resolve_hours = 120 }"
URL = "https://units.ibuurt.example/front-desk"
GEOMETRY = "features[2].geometry"
COORDINATES = f"{GEOMETRY}.coordinates"

# name: (edit, file, path, part of the problem, part of the mend)
MISTAKES: dict[str, tuple[Edit, str, str, str, str]] = {
    # files
    "file missing": (remove(U), U, "(whole file)", "missing", "add it"),
    "area file missing": (remove(G), G, "(whole file)", "missing", "add it"),
    "file is a folder": (
        remove(W, then_a_folder=True),
        W,
        "(whole file)",
        "cannot be read",
        "readable",
    ),
    "byte order mark": (
        write(C, b"\xef\xbb\xbf[[categories]]"),
        C,
        "line 1",
        "byte order mark",
        "without BOM",
    ),
    "not UTF-8": (write(W, b"# a\n# caf\xe9\n"), W, "line 2", "not UTF-8", "UTF-8"),
    "TOML syntax": (write(R, b"[[rules]]\nid = nonsense\n"), R, "line 2", "no TOML", "mend the line"),
    "TOML ends early": (write(R, b'a = 1\nb = "'), R, "line 2", "no TOML", "mend the line"),
    "TOML nested too deep": (write(R, b"a = " + b"[" * 9999), R, "(whole file)", "too deep", "flat"),
    "JSON syntax": (write(G, b'{\n"type": }'), G, "line 2", "no JSON", "export"),
    "JSON nested too deep": (write(G, b"[" * 99999), G, "(whole file)", "too deep", "export"),
    "JSON not a number": (write(G, b'{"a": NaN}'), G, "(whole file)", "NaN", "export"),
    "JSON null": (write(G, b"null"), G, "(whole file)", "null", "export"),
    "nothing in it": (write(C, b""), C, "categories", "no list", "[[categories]]"),
    "a table for a list": (write(U, b"[units]"), U, "units", "no list", "[[units]]"),
    "an entry that is no table": (
        write(U, b"units = [3]"),
        U,
        "units[0]",
        "no table",
        "write a table with id",
    ),
    # keys
    "unknown key of a file": (
        write(W, b"[reason.a]"),
        W,
        "reason",
        'key "reason"',
        'did you mean "reasons"?',
    ),
    "unknown key": (swap(C, LAMP, LAMP + "\nurgnt = true"), C, "categories[0].urgnt", '"urgnt"', '"urgent"?'),
    "unknown key, nothing near": (
        swap(C, LAMP, LAMP + "\nzzz = 1"),
        C,
        "categories[0].zzz",
        '"zzz"',
        "allowed: id, kind, public",
    ),
    "unknown key inside a table": (
        swap(C, TARGETS, TARGETS.replace("resolve_hours", "solve_hours")),
        C,
        "categories[0].targets.solve_hours",
        '"solve_hours"',
        'did you mean "resolve_hours"?',
    ),
    "unknown key of a channel": (
        swap(U, f'"{URL}"', f'"{URL}"\nsecret = "x"'),
        U,
        "units[0].channels[0].secret",
        '"secret"',
        "allowed: kind, url, acknowledged_field",
    ),
    "unknown key of the municipality": (
        append(M, '\n[areas]\na = "b"\n'),
        M,
        "areas",
        '"areas"',
        '"area_sets"?',
    ),
    "key missing": (swap(C, 'kind = "issue"\n', ""), C, "categories[0].kind", "missing", '"tip" or "issue"'),
    # municipality.toml
    "slug": (swap(M, '"ibuurt"', '"I Buurt"'), M, "slug", "not written", "lower-case"),
    "zone": (swap(M, "Europe/Amsterdam", "Europe/Ede"), M, "zone", "no IANA", "Europe/Amsterdam"),
    "zone that is a folder": (
        swap(M, "Europe/Amsterdam", "Europe"),
        M,
        "zone",
        "no IANA",
        "Europe/Amsterdam",
    ),
    "emergency number": (swap(M, '"112"', '"call us"'), M, "emergency_number", "not written", "112"),
    "number for a text": (swap(M, '"112"', "112"), M, "emergency_number", "no text: 112", "112"),
    "no languages": (swap(M, '["nl", "en"]', "[]"), M, "languages", "empty", "default first"),
    "language tag": (swap(M, '"nl", "en"', '"nl", "en", "EN"'), M, "languages[2]", "not written", "tag"),
    "language twice": (swap(M, '"nl", "en"', '"nl", "en", "nl"'), M, "languages", "twice", "once"),
    "no area sets": (
        write(M, IBUURT.joinpath(M).read_bytes().split(b"[[")[0]),
        M,
        "area_sets",
        "no list",
        "[[area_sets]]",
    ),
    "area file outside the folder": (
        swap(M, '"districts.geojson"', '"../boston/neighborhoods.geojson"'),
        M,
        "area_sets[0].file",
        "not written",
        "in this folder",
    ),
    "name property missing": (
        swap(M, 'name_property = "names"', ""),
        M,
        "area_sets[0].name_property",
        "missing",
        "area's name",
    ),
    # texts
    "language missing": (
        swap(C, ', en = "Broken street light"', ""),
        C,
        "categories[0].names.en",
        "missing",
        "add en",
    ),
    "language unknown": (
        swap(U, 'en = "Town', 'fr = "Mairie", en = "Town'),
        U,
        "units[0].names.fr",
        '"fr"',
        "nl, en",
    ),
    "reason's language missing": (
        swap(W, 'en = "The neighbourhood police of', '# "'),
        W,
        "reasons.police_of_your_district.en",
        "missing",
        "add en",
    ),
    "area's language missing": (
        feature(1, properties={"id": "oakwood", "names": {"nl": "Oakwood"}}),
        G,
        "features[1].properties.names.en",
        "missing",
        "add en",
    ),
    "text empty": (
        swap(C, '"Broken street light"', '" "'),
        C,
        "categories[0].names.en",
        "empty",
        "write the words",
    ),
    "text of two lines": (
        swap(C, '"Broken street light"', r'"Broken\nlight"'),
        C,
        "categories[0].names.en",
        "line break",
        "one line",
    ),
    # categories
    "id": (swap(C, "street_light", "Street-Light"), C, "categories[0].id", "not written", "lower-case"),
    "id with a line break": (
        swap(U, '"front_desk"', r'"front_desk\n"'),
        U,
        "units[0].id",
        "not written",
        "lower-case",
    ),
    "kind": (swap(C, '"issue"', '"report"'), C, "categories[0].kind", "'report'", '"tip" or "issue"'),
    "regime": (
        swap(C, 'regime = "gdpr"', 'regime = "avg"'),
        C,
        "categories[0].regime",
        "'avg'",
        '"gdpr" or "led"',
    ),
    "text for a flag": (
        swap(C, "public = true", 'public = "yes"'),
        C,
        "categories[0].public",
        "'yes'",
        "true or false",
    ),
    "public tip": (
        swap(C, 'id = "fraud"\nkind = "tip"\npublic = false', 'id = "fraud"\nkind = "tip"\npublic = true'),
        C,
        "categories[14].public",
        "never published",
        "public = false",
    ),
    "no time to acknowledge": (
        swap(C, "acknowledge_hours = 24", "acknowledge_hours = 0"),
        C,
        "categories[0].targets.acknowledge_hours",
        "too small: 0",
        "above 0",
    ),
    "time is a text": (
        swap(C, "resolve_hours = 120", 'resolve_hours = "5 days"'),
        C,
        "categories[0].targets.resolve_hours",
        "no number",
        "such as 72",
    ),
    "endless time": (
        swap(C, "resolve_hours = 120", "resolve_hours = inf"),
        C,
        "categories[0].targets.resolve_hours",
        "finite",
        "such as 72",
    ),
    "resolved before acknowledged": (
        swap(C, "resolve_hours = 120", "resolve_hours = 12"),
        C,
        "categories[0].targets.resolve_hours",
        "shorter",
        "at least",
    ),
    "wait of an issue": (
        swap(C, LAMP, LAMP + "\ndelivery_wait_minutes = 5"),
        C,
        "categories[0].delivery_wait_minutes",
        "delivered at once",
        "leave the key out",
    ),
    "wait too long": (
        swap(C, 'id = "fraud"\nkind = "tip"', 'id = "fraud"\nkind = "tip"\ndelivery_wait_minutes = 31'),
        C,
        "categories[14].delivery_wait_minutes",
        "too large: 31",
        "0 to 30",
    ),
    "id of a category twice": (
        swap(C, '"bulky_waste"', '"street_light"'),
        C,
        "categories[1].id",
        "categories[0]",
        "one of its own",
    ),
    # units
    "id of a unit twice": (
        swap(U, '"parking"', '"front_desk"'),
        U,
        "units[2].id",
        "units[0]",
        "one of its own",
    ),
    "no channel": (
        swap(U, '[[units.channels]]\nkind = "webhook"\nurl = "' + URL + '"', "channels = []"),
        U,
        "units[0].channels",
        "empty",
        "at least one",
    ),
    "channel of another kind": (
        swap(U, '"webhook"', '"pigeon"'),
        U,
        "units[0].channels[0].kind",
        "'pigeon'",
        '"webhook"',
    ),
    "no address": (swap(U, URL, "front-desk"), U, "units[0].channels[0].url", "no http", "https://"),
    "address that is broken": (
        swap(U, URL, "https://[1"),
        U,
        "units[0].channels[0].url",
        "no http",
        "https://",
    ),
    "port that is none": (
        swap(U, URL, "https://a.example:b"),
        U,
        "units[0].channels[0].url",
        "no http",
        "write",
    ),
    "address with a blank": (
        swap(U, URL, "https://a.example/ b"),
        U,
        "units[0].channels[0].url",
        "no http",
        "",
    ),
    "no encryption": (
        swap(U, "https://units", "http://units"),
        U,
        "units[0].channels[0].url",
        "without encryption",
        "https://",
    ),
    "password in the address": (
        swap(U, "https://units", "https://me:secret@units"),
        U,
        "units[0].channels[0].url",
        "password",
        "take it out",
    ),
    "field that is none": (
        swap(U, '"case.accepted"', '"case..accepted"'),
        U,
        "units[1].channels[0].acknowledged_field",
        "not written",
        "dotted name",
    ),
    # reasons
    "no reasons": (write(W, b""), W, "reasons", "empty", "[reasons.street_works]"),
    "code of a reason": (
        append(W, '\n[reasons.Bad-Code]\nnl = "a"\nen = "b"\n'),
        W,
        "reasons.Bad-Code",
        "not",
        "",
    ),
    # rules
    "unknown unit": (
        swap(R, POLICE, POLICE.replace("north", "nort")),
        R,
        "rules[0].unit",
        'unit "neighbourhood_police_nort"',
        'did you mean "neighbourhood_police_north"?',
    ),
    "unknown reason": (
        swap(R, '"police_on_duty"', '"police_duty"'),
        R,
        "rules[2].reason",
        '"police_duty"',
        '"police_on_duty"?',
    ),
    "unknown category": (
        swap(R, 'category = ["fraud"]', 'category = ["threats", "frauds"]'),
        R,
        "rules[3].when.category[1]",
        '"frauds"',
        'did you mean "fraud"?',
    ),
    "unknown area": (
        swap(R, CENTRE + '"station_quarter", "oakwood"', CENTRE + '"station_quarter", "oakwod"'),
        R,
        "rules[0].when.area.district[1]",
        'area "oakwod"',
        'did you mean "oakwood"?',
    ),
    "unknown area set": (
        swap(R, CENTRE, "area = { quarter = ["),
        R,
        "rules[0].when.area.quarter",
        'area set "quarter"',
        "district",
    ),
    "unknown language of a rule": (
        swap(R, 'category = ["fraud"]', 'language = ["fr"]'),
        R,
        "rules[3].when.language[0]",
        '"fr"',
        "en, nl",
    ),
    "condition that nothing fits": (
        swap(R, 'category = ["fraud"]', "category = []"),
        R,
        "rules[3].when.category",
        "empty",
        "at least one value",
    ),
    "area condition that nothing fits": (
        swap(R, CENTRE + '"centre", "harbour"]', CENTRE + "]"),
        R,
        "rules[6].when.area.district",
        "empty",
        "lists of areas",
    ),
    "condition that is no list": (
        swap(R, 'category = ["fraud"]', 'kind = "tip"'),
        R,
        "rules[3].when.kind",
        "no list",
        '"tip", "issue"',
    ),
    "value of a condition": (
        swap(R, 'category = ["fraud"]', 'urgency = ["high"]'),
        R,
        "rules[3].when.urgency[0]",
        "'high'",
        '"normal", "urgent"',
    ),
    "value of a condition twice": (
        swap(R, 'category = ["fraud"]', 'category = ["fraud", "fraud"]'),
        R,
        "rules[3].when.category",
        "twice",
        "once",
    ),
    "unknown condition": (
        swap(R, 'category = ["fraud"]', 'categories = ["fraud"]'),
        R,
        "rules[3].when.categories",
        '"categories"',
        'did you mean "category"?',
    ),
    "id of a rule twice": (swap(R, 'id = "worry"', 'id = "fraud"'), R, "rules[4].id", "rules[3]", "its own"),
    "no last rule": (
        append(R, '[rules.when]\nlanguage = ["nl"]\n'),
        R,
        "rules[11].when",
        "may reach nobody",
        "without when",
    ),
    "default rule before the end": (append(R, RULE), R, "rules[11]", "takes every report", "to the end"),
    "rule that is never reached": (
        swap(
            R,
            '[[rules]]\nid = "fraud"',
            RULE.replace("extra", "drugs")
            + '[rules.when]\ncategory = ["drug_dealing"]\nlanguage = ["nl"]\n\n[[rules]]\nid = "fraud"',
        ),
        R,
        "rules[3]",
        "'drugs' is never reached: 'police_without_area'",
        "move it before",
    ),
    # areas
    "no features": (
        write(G, b'{"type": "FeatureCollection"}'),
        G,
        "features",
        "no FeatureCollection",
        "export",
    ),
    "areas are a list": (write(G, b"[]"), G, "features", "no FeatureCollection", "export"),
    "no feature": (
        areas(lambda v: v["features"].append(7)),
        G,
        "features[8]",
        "no feature",
        "write a Feature",
    ),
    "id property missing": (
        feature(2, properties={"names": {"nl": "a", "en": "b"}}),
        G,
        "features[2].properties.id",
        "missing",
        "beginning with a letter",
    ),
    "id of an area": (
        feature(7, properties={"id": "Zuider veld", "names": "Zuiderveld"}),
        G,
        "features[7].properties.id",
        "not written",
        "1 to 40",
    ),
    "id of an area twice": (
        feature(2, properties={"id": "oakwood", "names": "Oakwood"}),
        G,
        "features[2].properties.id",
        "twice",
        "of its own",
    ),
    "name of an area": (
        feature(1, properties={"id": "oakwood", "names": 5}),
        G,
        "features[1].properties.names",
        "no table: 5",
        "one text per language",
    ),
    "no geometry": (feature(2, geometry=None), G, GEOMETRY, "missing geometry", "Polygon"),
    "geometry of another type": (
        feature(2, geometry={"type": "Point", "coordinates": [5.6, 52.0]}),
        G,
        GEOMETRY,
        "Point",
        "a MultiPolygon",
    ),
    "empty polygon": (
        feature(2, geometry={"type": "Polygon", "coordinates": []}),
        G,
        COORDINATES,
        "empty",
        "rings",
    ),
    "empty multipolygon": (
        feature(2, geometry={"type": "MultiPolygon", "coordinates": []}),
        G,
        COORDINATES,
        "empty",
        "rings",
    ),
    "ring of a multipolygon": (
        feature(2, geometry={"type": "MultiPolygon", "coordinates": [[[[5, 52], [6, 52], [5, 52]]]]}),
        G,
        f"{COORDINATES}[0][0]",
        "fewer than 4",
        "at least 4",
    ),
    "ring is not closed": (
        ring(2, lambda r: r.pop() and None),
        G,
        f"{COORDINATES}[0]",
        "not closed",
        "begins with",
    ),
    "ring of too few positions": (
        feature(2, geometry=polygon([5.6, 52.0], [5.7, 52.0], [5.6, 52.0])),
        G,
        f"{COORDINATES}[0]",
        "fewer than 4",
        "at least 4",
    ),
    "ring around nothing": (
        feature(2, geometry=polygon([5.6, 52.0], [5.7, 52.0], [5.7, 52.0], [5.6, 52.0])),
        G,
        f"{COORDINATES}[0]",
        "encloses nothing",
        "at least 4",
    ),
    "position that is none": (
        ring(2, lambda r: r.insert(1, [5.6])),
        G,
        f"{COORDINATES}[0]",
        "no list of two finite numbers",
        "[longitude, latitude]",
    ),
    "position beyond all numbers": (
        ring(2, lambda r: r.insert(1, [10**400, 52])),
        G,
        f"{COORDINATES}[0]",
        "finite",
        "[longitude, latitude]",
    ),
    "swapped beyond the pole": (
        feature(2, geometry=polygon([42.3, -171.0], [42.4, -171.0], [42.4, -171.1], [42.3, -171.0])),
        G,
        f"{COORDINATES}[0]",
        "no place on Earth",
        "swap the two numbers",
    ),
    "swapped, by the time zone": (
        ring(2, turn),
        G,
        f"{COORDINATES}[0]",
        "swapped it is near",
        "swap the two",
    ),
    "coordinates of a projection": (
        feature(
            2,
            geometry=polygon(
                [171000.0, 450000.0], [171500.0, 450000.0], [171500.0, 1.0], [171000.0, 450000.0]
            ),
        ),
        G,
        f"{COORDINATES}[0]",
        "no place on Earth",
        "WGS 84",
    ),
}


# A renamed id or key is missing under its old name; nothing else may make a second mistake of one.
WITH_MORE = {
    "unknown key of a file",
    "unknown key inside a table",
    "id",
    "id with a line break",
    "id of a category twice",
    "id of a unit twice",
    "id property missing",
    "id of an area",
    "id of an area twice",
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_with_its_file_its_place_and_its_mend(name: str, folder: Path) -> None:
    """Each kind of mistake, made alone in a right folder, is found where it is."""
    edit, file, path, problem, mend = MISTAKES[name]
    edit(folder)
    found = mistakes_of(folder)
    assert (file, path) in {(mistake.file, mistake.path) for mistake in found}, found
    mistake = next(mistake for mistake in found if (mistake.file, mistake.path) == (file, path))
    assert problem in mistake.problem
    assert mend in mistake.mend
    assert all("\n" not in str(one) for one in found)
    assert len(found) == 1 or name in WITH_MORE


def test_all_mistakes_are_told_at_once(folder: Path) -> None:
    """One error holds the mistakes of every file, and several of one entry."""
    names = (
        "zone",
        "public tip",
        "no encryption",
        "unknown reason",
        "unknown category",
        "reason's language missing",
        "ring is not closed",
        "no time to acknowledge",
        "language missing",
        "kind",
        "id of an area",
    )
    for name in names:
        MISTAKES[name][0](folder)
    found = {(mistake.file, mistake.path) for mistake in mistakes_of(folder)}
    assert {MISTAKES[name][1:3] for name in names} <= found
    assert {file for file, _ in found} == {M, C, U, R, W, G}


def test_a_mistake_beside_the_areas_hides_none_in_them(folder: Path) -> None:
    """Neither an unknown key of the area set nor a language of the wrong form keeps the areas, what refers to
    them, or the texts from being looked at."""
    for name in ("ring is not closed", "id of an area", "language missing"):
        MISTAKES[name][0](folder)
    swap(R, CENTRE, 'area = { district = ["centrum", ')(folder)
    alone = {(one.file, one.path) for one in mistakes_of(folder)}
    swap(M, "[[area_sets]]", "[[area_sets]]\nsurprise = 3")(folder)
    assert {(one.file, one.path) for one in mistakes_of(folder)} == alone | {(M, "area_sets[0].surprise")}
    swap(M, "languages = [", 'languages = ["xx-bogus!", ')(folder)
    assert {(one.file, one.path) for one in mistakes_of(folder)} >= alone | {(M, "languages[0]")}


def test_a_mistake_in_one_entry_is_not_told_again_where_it_is_referred_to(folder: Path) -> None:
    """A category, unit, area or reason that is itself wrong is still known by its id."""
    names = ("kind", "regime", "no channel", "ring is not closed", "reason's language missing")
    for name in names:
        MISTAKES[name][0](folder)
    assert len(mistakes_of(folder)) == len(names)


def test_an_unreadable_file_is_not_held_against_the_others(folder: Path) -> None:
    """Rules that name units are not called wrong because the units could not be read."""
    for file in (C, U, W, G):
        (folder / file).write_bytes(b"\xff")
    assert [mistake.file for mistake in mistakes_of(folder)] == [G, C, U, W]


@pytest.mark.parametrize("path", ["absent", "municipality.toml", "x" * 5000, "nul\0"])
def test_a_folder_that_is_none_is_a_mistake(path: str, folder: Path) -> None:
    """A wrong path is refused like any other mistake, without a traceback."""
    (mistake,) = mistakes_of(folder / path)
    assert "no such folder" in mistake.problem


def test_an_issue_over_plain_http_to_this_machine_is_allowed(folder: Path) -> None:
    """A receiver under development needs no certificate."""
    for host in ("localhost", "127.0.0.1"):
        swap(U, URL, f"http://{host}:8099/hook")(folder)
        assert read(folder).units["front_desk"].channels[0].url == f"http://{host}:8099/hook"
        swap(U, f"http://{host}:8099/hook", URL)(folder)


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


def test_a_tip_waits_unless_it_is_urgent_and_an_issue_never_waits() -> None:
    """The wait hides a tip's minute; nobody is hidden by delaying a street light."""
    categories = read(IBUURT).categories
    waits = {one: categories[one].delivery_wait_minutes for one in ("fraud", "weapons", "street_light")}
    assert waits == {"fraud": 30, "weapons": 0, "street_light": 0}


def test_the_areas_of_ibuurt_share_borders_and_do_not_overlap() -> None:
    """A place in the town lies in exactly one district."""
    shapes = [shape(area.geometry) for area in read(IBUURT).area_sets["district"].areas.values()]
    assert all(one.is_valid for one in shapes)
    assert all(one.intersection(other).area == 0 for one, other in itertools.combinations(shapes, 2))
    town = shapely.union_all(shapes)
    assert town.geom_type == "Polygon"
    assert not town.interiors


def test_boston_is_right() -> None:
    """The real city reads clean: 12 police districts first, 26 neighborhoods, at most 25 categories."""
    boston = read(BOSTON)
    assert [len(one.areas) for one in boston.area_sets.values()] == [12, 26]
    assert boston.primary_area_set == "police_district"
    assert len(boston.categories) <= 25
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


@pytest.mark.parametrize("file", [M, C, U, R, W, G])
def test_the_version_changes_with_every_file_that_is_read(file: str, folder: Path) -> None:
    """Events carry the version, so two that carry the same one were decided by the same files."""
    before = read(folder).version
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content + b"\n")
    assert read(folder).version != before
    (folder / file).write_bytes(content)
    assert read(folder).version == before


def test_the_version_changes_when_a_line_moves_to_the_next_file(folder: Path) -> None:
    """The files are told apart, not only strung together."""
    append(W, "# moved\n")(folder)
    before = read(folder).version
    swap(W, "# moved\n", "")(folder)
    (folder / R).write_bytes(b"# moved\n" + (folder / R).read_bytes())
    assert read(folder).version != before


def test_the_version_does_not_change_with_files_that_are_not_read(folder: Path) -> None:
    """A README, a sample or a table for the import decides nothing."""
    before = read(folder).version
    for file in ("README.md", "types.toml", "sample.csv.gz", "unused.geojson"):
        (folder / file).write_bytes(b"anything")
    assert read(folder).version == before
    assert len(before) == 16
    assert int(before, 16) >= 0


def test_the_version_is_the_same_wherever_the_folder_stands(folder: Path) -> None:
    """Three services on three machines agree."""
    assert read(folder).version == read(IBUURT).version


def test_what_was_read_can_be_hashed_and_not_changed() -> None:
    """Parts can be keys of a dictionary, and no one changes them for everybody."""
    one, other = read(IBUURT), read(IBUURT)
    assert len({one, other}) == 1
    rule, category = one.rules[0], one.categories["fraud"]
    area = one.area_sets["district"].areas["oakwood"]
    assert len({rule, category, area, one.units["parking"], one.area_sets["district"], *other.rules}) == 16
    with pytest.raises(ValidationError, match="frozen"):
        category.kind = "issue"  # type: ignore[misc] # mypy refuses it as well


def test_a_public_tip_cannot_be_made_in_code_either() -> None:
    """The rule belongs to the category, not only to the reading of files."""
    targets = Targets(acknowledge_hours=1, resolve_hours=2)
    with pytest.raises(ValidationError, match="never published"):
        Category(
            id="a", kind="tip", public=True, urgent=False, regime="led", names={"nl": "A"}, targets=targets
        )


def test_an_area_may_be_numbered_and_have_one_name_for_all_languages(folder: Path) -> None:
    """That is how many cities export their areas."""
    feature(7, properties={"id": 7, "names": "Zuiderveld"})(folder)
    swap(R, ', "zuiderveld"', ', "7"')(folder)
    swap(R, ', "zuiderveld"', ', "7"')(folder)
    area: Area = read(folder).area_sets["district"].areas["7"]
    assert area.names == {"nl": "Zuiderveld", "en": "Zuiderveld"}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("scratch") / "ibuurt"
    shutil.copytree(IBUURT, path)
    yield path
    shutil.rmtree(path)


def answer_of(folder: Path) -> None:
    """Fails unless read() answers in one of its two ways, the second printable and a line per mistake."""
    lines = 0
    try:
        municipality = read(folder)
    except MunicipalityError as error:
        lines = len(str(error).encode().decode().split("\n")) - len(error.mistakes)
    else:
        assert municipality.slug
    assert lines == 0


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    file=st.sampled_from([M, C, U, R, W, G]),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
    kept=st.floats(0, 1) | st.just(1.0),
)
def test_a_damaged_file_is_a_mistake_or_none_and_never_a_crash(
    file: str, flips: list[tuple[float, int]], kept: float, scratch: Path
) -> None:
    """Bytes changed and cut off: read() answers with the municipality or with its mistakes."""
    content = bytearray((IBUURT / file).read_bytes())
    for place, byte in flips:
        content[int(place * len(content))] = byte
    (scratch / file).write_bytes(content[: int(kept * len(content))])
    try:
        answer_of(scratch)
    finally:
        shutil.copyfile(IBUURT / file, scratch / file)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.sampled_from(
        [(), ("features",), ("features", 0), ("features", 0, "geometry"), ("features", 0, "properties")]
        + [("features", 0, "geometry", "coordinates", *[0] * depth) for depth in range(4)]
        + [("features", 0, "properties", "id"), ("features", 0, "properties", "names")]
    ),
    value=VALUES,
)
def test_any_json_in_the_place_of_an_area_is_a_mistake_or_none(
    place: tuple[int | str, ...], value: object, scratch: Path
) -> None:
    """Whatever stands in the GeoJSON, read() answers with the municipality or with its mistakes."""
    holder: Any = [json.loads((IBUURT / G).read_text(encoding="utf-8"))]
    inner = holder
    for step in (0, *place)[:-1]:
        inner = inner[step]
    inner[(0, *place)[-1]] = value
    (scratch / G).write_text(json.dumps(holder[0], allow_nan=True), encoding="utf-8")
    try:
        answer_of(scratch)
    finally:
        shutil.copyfile(IBUURT / G, scratch / G)


def test_the_command_says_in_one_line_that_a_folder_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0, with the version that events will carry."""
    assert main([str(IBUURT)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert read(IBUURT).version in line


def test_the_command_prints_one_line_per_mistake(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, so that a pipeline stops."""
    MISTAKES["zone"][0](folder)
    MISTAKES["public tip"][0](folder)
    assert main([str(folder)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [[M, "zone"], [C, "categories[14].public"]]


def test_the_module_needs_no_geometry_library() -> None:
    """Two of the three services have neither shapely nor numpy."""
    code = "import sys, shared.municipality; sys.exit(bool({'shapely', 'numpy'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
