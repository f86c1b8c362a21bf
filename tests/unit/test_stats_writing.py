"""Released figures as JSON, CSV and a data package: held against the standards, the figures and the noise."""

import csv
import hashlib
import io
import json
import math
import re
import zipfile
from collections.abc import Callable, Mapping
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from services.stats import noise
from services.stats.core import margins
from services.stats.core.figures import COLUMNS, VIEWS, Figure, View, figures, rate, release_of
from services.stats.core.release import NOTHING_BEFORE, Link, unsigned
from services.stats.core.spec import spec_of
from services.stats.http import writing
from services.stats.http.desk import Desk
from services.stats.http.releases import _made
from services.stats.http.statistics import etag_for
from shared.cloudevents import to_value
from shared.events import StatisticsReleased
from shared.municipality import read
from tests.released import releases

LICENSE = "CC-BY-4.0"
TOWN = read(Path(__file__).parents[2] / "deploy/municipalities/boston")
SPEC = spec_of(TOWN).model_copy(update={"license": LICENSE})
# Another license is another version, and what is out keeps its own.
NEXT = SPEC.model_copy(update={"id": "boston-2", "license": "CC0-1.0"})
DESK = Desk(None, TOWN, (SPEC, NEXT))
RELEASED = list(releases(SPEC, date(2025, 1, 1), date(2025, 4, 1), Link(0, NOTHING_BEFORE)))
WITHHELD = unsigned(SPEC, SPEC.tables[0], "2025-W14-2025-03", Link(0, NOTHING_BEFORE), (), withheld=True)
# One of each kind, and one without figures.
KINDS = [*{(one.table, one.edition): one for one in RELEASED}.values(), WITHHELD]
NAME = re.compile(r"[-a-z0-9._/]+")
NAMED = [f"{one.table}.{one.edition}.{one.state}" for one in KINDS]


def made(release: StatisticsReleased, file: str, area: str = "") -> bytes:
    return _made(to_value(release) or b"", file, area, DESK)


def faults(packed: bytes) -> list[str]:
    """What is wrong with a data package, by the standard (Data Package 1.0, Table Schema 1.0) and by what it
    says of its own files."""
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.testzip() is None
        files = {name: archive.read(name) for name in archive.namelist()}
    package = json.loads(files.pop("datapackage.json"))
    found = [] if NAME.fullmatch(package["name"]) else ["the package's name"]
    if not package["resources"]:
        found.append("no resource")
    if sorted(one["path"] for one in package["resources"]) != sorted(files):
        found.append("files and resources are not the same")
    if [one["name"] for one in package.get("licenses", ())] != [LICENSE]:
        found.append("no license")
    names = [one["name"] for one in package["resources"]]
    if len(set(names)) < len(names) or not all(map(NAME.fullmatch, names)):
        found.append("names of resources")
    for one in package["resources"]:
        content = files.get(one["path"], b"")
        if one["bytes"] != len(content):
            found.append("bytes")
        if one["hash"] != f"sha256:{hashlib.sha256(content).hexdigest()}":
            found.append("hash")
        if one["profile"] == "tabular-data-resource":
            found += _tabular(one, content.decode(one["encoding"]))
        elif one["format"] == "json":
            json.loads(content.decode(one["encoding"]))
    return found


def _tabular(resource: Mapping[str, Any], text: str) -> list[str]:
    dialect, schema = resource["dialect"], resource["schema"]
    head, *rows = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=dialect["delimiter"],
        quotechar=dialect["quoteChar"],
        strict=True,
    )
    fields = schema["fields"]
    found = [] if head == [field["name"] for field in fields] else ["the header"]
    if len(rows) != resource["rows"]:
        found.append("rows")
    if text.count("\n") != text.count(dialect["lineTerminator"]) or not text.endswith(
        dialect["lineTerminator"]
    ):
        found.append("line ends")
    keys, key = set(), schema.get("primaryKey", ())
    for row in rows:
        if len(row) != len(fields):
            found.append("a row's length")
            continue
        for value, field in zip(row, fields, strict=True):
            if value in schema["missingValues"]:
                if field.get("constraints", {}).get("required"):
                    found.append(f"{field['name']} is missing")
            elif field["type"] == "number" and not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value):
                found.append(f"{field['name']} is no number")
        named = dict(zip(head, row, strict=True))
        keys.add(tuple(named[name] for name in key))
        found += [f"{name} of the key is missing" for name in key if named[name] in schema["missingValues"]]
    if key and len(keys) != len(rows):
        found.append("primary key")
    return found


@pytest.mark.parametrize("release", KINDS, ids=NAMED)
def test_a_data_package_is_what_its_standard_and_its_own_description_say(release: StatisticsReleased) -> None:
    """Of each table and edition, and of one without figures; made twice it is the same."""
    packed = made(release, "package.zip")
    assert faults(packed) == []
    assert packed == made(release, "package.zip")
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.read("datapackage.json") == made(release, "datapackage.json")
        assert archive.read("figures.csv") == made(release, "figures.csv")
        assert archive.read("release.json") == to_value(release)


PLANTED: dict[str, tuple[Callable[[bytes], bytes], set[str]]] = {
    "a row twice": (
        lambda text: text + text.splitlines(keepends=True)[-1],
        {"bytes", "hash", "rows"},
    ),
    "a row gone": (lambda text: b"".join(text.splitlines(keepends=True)[:-1]), {"bytes", "hash", "rows"}),
    "other line ends": (lambda text: text.replace(b"\r\n", b"\n"), {"bytes", "hash", "line ends"}),
    "columns exchanged": (
        lambda text: text.replace(b"table,period", b"period,table"),
        {"hash", "the header"},
    ),
    "no value": (lambda text: re.sub(rb",-?[0-9.]+,([0-9.]+\r\n)$", rb",,\1", text), {"value is missing"}),
    "a word": (lambda text: re.sub(rb",[0-9.]+\r\n$", b",few\r\n", text), {"margin is no number"}),
}


@pytest.mark.parametrize("plant", PLANTED)
def test_a_package_with_a_fault_is_none(plant: str) -> None:
    """What holds the packages against the standard sees each fault."""
    change, found = PLANTED[plant]
    with zipfile.ZipFile(io.BytesIO(made(KINDS[0], "package.zip"))) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files["figures.csv"] = change(files["figures.csv"])
    assert found <= set(faults(writing.zipped(files)))


@pytest.mark.parametrize(
    ("columns", "missing"),
    [(("table", *COLUMNS), "category of the key is missing"), (("area",), "primary key")],
)
def test_a_key_that_is_none_is_a_fault(columns: tuple[str, ...], missing: str) -> None:
    """One of columns that may be empty, and one that two rows have."""
    release = next(one for one in RELEASED if (one.table, one.edition) == ("reports.month", "final"))
    with zipfile.ZipFile(io.BytesIO(made(release, "package.zip"))) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    package = json.loads(files["datapackage.json"])
    package["resources"][0]["schema"]["primaryKey"] = list(columns)
    files["datapackage.json"] = writing.as_json(package)
    assert missing in faults(writing.zipped(files))


@pytest.mark.parametrize("release", KINDS, ids=NAMED)
def test_every_figure_has_its_bound_in_every_form(release: StatisticsReleased) -> None:
    """JSON and CSV say the same of all cells, in their order, each once."""
    told = json.loads(made(release, "figures.json"))["figures"]
    rows = list(csv.DictReader(io.StringIO(made(release, "figures.csv").decode())))
    assert len(told) == len(rows) == len(release.cells)
    assert len({tuple(row[name] for name in ("table", *COLUMNS)) for row in rows}) == len(rows)
    for cell, one, row in zip(release.cells, told, rows, strict=True):
        value = cell.value if cell.tenths is None else cell.tenths / 10
        assert one["value"] == float(row["value"]) == value
        assert one["margin"] == float(row["margin"]) == release.margins[cell.table] / 10 > 0
        assert [one[name] for name in COLUMNS if name in one] == list(cell.cell)
        assert {row[name] or None for name in COLUMNS} == {one.get(name) for name in COLUMNS}


def test_every_table_that_is_asked_for_is_in_a_release() -> None:
    """Each view finds figures, and each table of a release has a view."""
    tables = {(one.table, cell.table) for one in RELEASED for cell in one.cells}
    assert {(view.released, view.cells) for view in VIEWS} <= tables
    assert {cells for _, cells in tables} == {view.cells for view in VIEWS}


def test_the_figures_of_an_area_are_those_of_the_whole() -> None:
    """In both forms; a table without areas has none of it."""
    release = next(one for one in RELEASED if one.table == "reports.month" and one.edition == "final")
    area = SPEC.table("reports.month").codes[0][0]
    whole = json.loads(made(release, "figures.json"))["figures"]
    mine = [one for one in whole if one.get("area") == area]
    assert json.loads(made(release, "figures.json", area))["figures"] == mine
    assert len(made(release, "figures.csv", area).splitlines()) == len(mine) + 1


def test_csv_runs_nothing_in_a_spreadsheet_and_keeps_what_it_is_given() -> None:
    """A text that a formula could be has an apostrophe; commas, quotes and line ends are quoted; a number
    below 0 stays one."""
    texts = ["=1+1", "+1", "-1", "@a", "\tx", 'a"b', "a,b", "a\nb", "é"]
    written = writing.rows_as_csv(["a"], [[text] for text in texts] + [[-3], [-0.5]])
    back = [row[0] for row in csv.reader(io.StringIO(written.decode(), newline=""))][1:]
    assert back == [f"'{text}" if text[0] in "=+-@\t" else text for text in texts] + ["-3", "-0.5"]


@pytest.mark.parametrize(("scale", "count", "living"), [(2, 7, 4_300), (5, 240, 98_765), (7, 0, 13)])
def test_a_rates_bound_holds_as_often_as_the_counts(scale: int, count: int, living: int) -> None:
    """By simulation: what is within the count's bound is within the rate's, whatever is rounded; at least
    95 %, and not so much more that the bound says nothing."""
    margin = margins.of_one(scale) / 10
    drawn = noise.draw(scale, 20_000)
    counts = sum(abs(error) <= margin for error in drawn)
    held = 0
    for error in drawn:
        shown = rate(Figure("t", {"area": "oakwood"}, count + error, margin), {"oakwood": living})
        assert shown is not None
        # Exactly, by what a reader has: the two numbers as they are written.
        value, bound = Fraction(str(shown.value)), Fraction(str(shown.margin))
        held += value - bound <= Fraction(count * 1000, living) <= value + bound
        # The value is rounded by half of a thousandth at most, and the margin up.
        assert bound < Fraction(str(margin)) * 1000 / living + Fraction("0.0015")
    assert held == counts
    deviation = math.sqrt(0.05 * 0.95 / len(drawn))
    assert 0.95 - 5 * deviation < held / len(drawn) < 0.98


def test_where_nobody_is_known_to_live_there_is_no_rate() -> None:
    """No division by nothing, and no rate of a place that is not one."""
    for place in ({}, {"area": "unknown"}, {"area": "harbour"}):
        assert rate(Figure("t", place, 3, 6), {"oakwood": 10, "harbour": 0}) is None


def test_a_rate_of_the_whole_town_needs_the_inhabitants_of_every_area() -> None:
    """Otherwise it would be of some of them, and too high."""
    town = read(Path(__file__).parents[2] / "deploy/municipalities/ibuurt")
    known = Desk(None, town, ()).inhabitants
    whole = sum(town.statistics.inhabitants.values())
    assert known == {**town.statistics.inhabitants, "": whole}
    assert (shown := rate(Figure("t", {"category": "noise"}, 113, 6), known)) is not None
    assert (shown.inhabitants, shown.value) == (whole, 2.0)
    some = {area: number for area, number in town.statistics.inhabitants.items() if area != "harbour"}
    statistics = town.statistics.model_copy(update={"inhabitants": some})
    assert "" not in Desk(None, town.model_copy(update={"statistics": statistics}), ()).inhabitants


def test_a_member_or_table_that_is_not_known_is_left_out() -> None:
    """A release of a newer version still gives the figures that are known."""
    value = json.loads(to_value(KINDS[0]) or b"")
    value["cells"].append({"table": "reports.new", "cell": ["x"], "value": 1})
    value["later"] = True
    found = list(figures(release_of(json.dumps(value).encode()), {}))
    assert len(found) == len(value["cells"]) - 1


def test_an_answer_that_differs_in_anything_has_another_etag() -> None:
    """Its form, what was asked for, the releases, and the inhabitants by whom rates are reckoned."""
    desk = Desk(None, TOWN, (SPEC,))
    other = Desk(None, TOWN.model_copy(update={"version": "0" * 16}), (SPEC,))
    view, last = VIEWS[0], VIEWS[1]
    found, more = [{"digest": "a" * 64}], [{"digest": "a" * 64}, {"digest": "b" * 64}]
    oakwood = {"area": ["oakwood"]}
    answers: list[tuple[Desk, View, str, dict[str, list[str]], list[dict[str, str]]]] = [
        (desk, view, "json", {}, found),
        (other, view, "json", {}, found),
        (desk, last, "json", {}, found),
        (desk, view, "csv", {}, found),
        (desk, view, "json", oakwood, found),
        (desk, view, "json", {}, more),
    ]
    assert len({etag_for(*one) for one in answers}) == len(answers)
    assert etag_for(*answers[0]) == etag_for(*answers[0])
