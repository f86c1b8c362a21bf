"""A line of a police export is an incident or is rejected with a reason, whatever stands in it."""

import gzip
import tomllib
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.stats.core.export import (
    ExportMapping,
    Rejected,
    Span,
    check_mapping,
    counted,
    identity_of,
    incident_of,
    read_mapping,
    row_of,
)
from services.stats.core.periods import day_of
from services.stats.importing import HALF, Reading, Repeats, check_fates
from shared.errors import Refusal
from shared.events import IncidentRecorded
from shared.municipality import read

FOLDERS = Path(__file__).parents[2] / "deploy/municipalities"
TORONTO = FOLDERS / "toronto"
SPAN = Span(datetime(2014, 1, 1, 5, tzinfo=UTC), datetime(2026, 11, 27, tzinfo=UTC))
HEADER = ["id", "when", "code", "place", "Lat", "Long"]
MAPPING = {
    "source": "test",
    "key": ["id"],
    "zone": "America/Toronto",
    "time": "when",
    "time_format": "%Y-%m-%d %H:%M:%S",
    "category": "code",
    "categories": {"B&E": "burglary"},
    "area": "place",
    "area_set": "district",
    "areas": {"Oak": "oakwood"},
    "box": [43, -80, 44, -79],
}
BY = ExportMapping.model_validate(MAPPING)
GOOD = "7,2019-01-20 13:30:00,B&E,Oak,43.7,-79.5"


def incident(line: str, header: list[str] | None = HEADER, by: ExportMapping = BY) -> IncidentRecorded:
    row = row_of(line, header)
    return incident_of(row, by, identity_of(row, by), SPAN)


@contextmanager
def reading(
    export: Path, *, by: ExportMapping = BY, begun: bool = True, is_json: bool = False
) -> Iterator[Reading]:
    """An export on its way, where the last import of it ended."""
    with ExitStack() as stack:
        lines = stack.enter_context(export.open("rb"))
        refused = stack.enter_context(export.with_name("rejects").open("a+", encoding="utf-8"))
        one = Reading(export.name, lines, refused, by, SPAN, stack.enter_context(closing(Repeats())))
        if begun:
            one.begin(is_json=is_json)
            one.go_on(export.with_name("progress"))
        yield one


def imported(
    export: Path, most: int = 1_000, by: ExportMapping = BY, *, is_json: bool = False
) -> list[IncidentRecorded]:
    """What is new in it, up to so many lines."""
    with reading(export, by=by, is_json=is_json) as one:
        events = one.chunk(most)
        one.save(export.with_name("progress"))
        one.note_half()
    return events


def rejected(export: Path) -> list[str]:
    return export.with_name("rejects").read_text("utf-8").splitlines()


def test_a_row_is_an_incident_with_the_same_id_whenever_it_is_read() -> None:
    first, second = incident(GOOD), incident(GOOD)
    assert first == second
    assert first.hour == datetime(2019, 1, 20, 18, tzinfo=UTC)
    assert (first.category, first.areas) == ("burglary", {"district": "oakwood"})


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("2019-01-20", "2019-02-30", "broken time: when is '2019-02-30 13:30:00'"),
        ("2019-01-20 13:30:00", " ", "broken time: when is blank"),
        ("2019-01-20", "2099-02-03", "in the future"),
        ("2019-01-20", "2013-12-31", "before the statistics begin"),
        ("43.7,-79.5", "-79.5,43.7", "swapped"),
        ("43.7,-79.5", "-1,-1", "missing coordinates"),
        ("43.7,-79.5", ",", "missing coordinates: Lat is blank"),
        ("43.7,-79.5", "nan,nan", "missing coordinates: Lat is 'nan'"),
        ("-79.5", "-1", "missing coordinates: Long is '-1'"),
        ("43.7,-79.5", "52.1,4.3", "outside"),
        ("B&E", "Arson", "unknown offence code"),
        ("Oak", "Elm", "unknown place"),
        ("7,20", ",20", "no key: id is blank"),
        (",Oak,43.7,-79.5", "", "another number of columns"),
    ],
)
def test_a_bad_row_is_rejected_with_its_reason(old: str, new: str, why: str) -> None:
    with pytest.raises(Rejected, match=why):
        incident(GOOD.replace(old, new))


@pytest.mark.parametrize(
    ("blank", "value", "why"),
    [
        ("Lat", "", "missing coordinates: Lat is blank"),
        ("Long", " ", "missing coordinates: Long is blank"),
        ("occurrencedate", "", "broken time: occurrencedate is blank"),
        ("occurrencehour", "", "broken time: occurrencehour is blank"),
        ("occurrencehour", "25", "broken time: occurrencehour is '25'"),
        ("occurrencehour", "-1", "broken time: occurrencehour is '-1'"),
        ("Pub_Id", "", "no key: Pub_Id is blank"),
    ],
)
def test_a_column_that_is_part_of_the_key_is_named_by_what_is_wrong_with_it(
    blank: str, value: str, why: str
) -> None:
    """In Toronto's export, of which nearly every column is."""
    by = read_mapping((TORONTO / "incidents.toml").read_text("utf-8"))
    good = dict.fromkeys(by.columns(), "0") | {"MCI": "Assault", "Neighbourhood": "Annex", "Lat": "43.66"}
    good |= {"Long": "-79.40", "occurrencedate": "2014/01/13 05:00:00+00"}
    incident_of(good, by, identity_of(good, by), SPAN)
    row = good | {blank: value}
    with pytest.raises(Rejected, match=f"^{why}$"):
        incident_of(row, by, identity_of(row, by), SPAN)


@given(st.text(), st.booleans())
def test_no_text_is_more_than_rejected(text: str, is_json: bool) -> None:
    with suppress(Rejected):
        incident(text, None if is_json else HEADER)


def test_bad_lines_are_named_and_the_good_ones_kept_and_a_second_run_goes_on(tmp_path: Path) -> None:
    export = tmp_path / "export.csv"
    content = (
        b"\xef\xbb\xbf" + f'{",".join(HEADER)}\n{GOOD}\n"half'.encode() + b"\n\xff\xfe\n" + b"x" * 250_000
    )
    export.write_bytes(content + f"\n{GOOD}\n".encode())
    found = []
    for more in ("", GOOD.replace("7,", "8,", 1) + "\n"):
        with export.open("ab") as end:
            end.write(more.encode())
        found.append(len(imported(export)))
    assert found == [2, 1]
    assert [line.split(",")[0] for line in rejected(export)] == ["3", "4", "5"]


def test_a_reject_file_that_was_taken_away_is_begun_anew(tmp_path: Path) -> None:
    export = tmp_path / "export.csv"
    export.write_text(f"{','.join(HEADER)}\n{GOOD}\nhalf\n")
    assert len(imported(export)) == 1
    export.with_name("rejects").unlink()
    with export.open("a") as end:
        end.write("another\n")
    assert imported(export) == []
    (only,) = rejected(export)
    assert only.startswith('4,"another number of columns')


def test_a_half_row_at_the_end_is_named_and_read_once_it_is_whole(tmp_path: Path) -> None:
    """Cut in its last cell it would be another place, and with that in the key another incident."""
    export = tmp_path / "export.csv"
    export.write_text(f"{','.join(HEADER)}\n{GOOD}\n{GOOD.replace('7', '8', 1)[:-2]}")
    assert [event.incident_id for event in imported(export)] == [incident(GOOD).incident_id]
    assert rejected(export) == ['3,"half a row: the last line does not end; end it"']
    with export.open("a") as end:
        end.write(".5\n")
    assert [event.incident_id for event in imported(export)] == [
        incident(GOOD.replace("7", "8", 1)).incident_id
    ]
    assert rejected(export) == []


def test_another_file_under_the_same_name_is_refused_however_long_it_is(tmp_path: Path) -> None:
    """Its beginning is what was imported, or nothing of it is."""
    export = tmp_path / "export.csv"
    export.write_text(f"{','.join(HEADER)}\n{GOOD}\n{GOOD}\n")
    assert len(imported(export)) == 2
    for other in (f"{GOOD}\n", f"{GOOD}\n" * 9, f"{GOOD}\n{GOOD}\n"):
        export.write_text(f"{','.join(HEADER)}\n{other.replace('7', '9', 1)}")
        with pytest.raises(Refusal, match=r"does not begin with what was imported of it; .*remove progress"):
            imported(export)
    export.with_name("progress").write_text("{")
    with pytest.raises(Refusal, match="progress cannot be read; remove it"):
        imported(export)


def test_rows_that_say_the_same_are_each_an_incident_where_the_mapping_says_so(tmp_path: Path) -> None:
    """With the same ids whenever and in whatever order they are read, in one run or in several."""
    export = tmp_path / "export.csv"
    by = ExportMapping.model_validate(MAPPING | {"key_repeats": True})
    rows = (
        [GOOD] * 3 + [GOOD.replace("7", "8", 1)] * 2 + [GOOD.replace("7", "9", 1).replace("Oak", "Elm"), GOOD]
    )
    found: list[set[uuid.UUID]] = []
    for order, most in ((rows, 100), (rows, 2), (rows[::-1], 3)):
        export.with_name("progress").unlink(missing_ok=True)
        export.write_text("".join(f"{line}\n" for line in [",".join(HEADER), *order]))
        events = [event for _ in range(5) for event in imported(export, most, by)]
        found.append({event.incident_id for event in events})
        assert len(events) == len(found[-1]) == 6
    assert found[0] == found[1] == found[2]


def test_a_wall_time_is_that_of_the_day_summer_and_winter() -> None:
    """Of an hour that the clock skips or has twice too: the incident counts on the day that the row names."""
    by = read_mapping((TORONTO / "incidents.toml").read_text("utf-8"))
    row = dict.fromkeys(by.columns(), "0") | {"MCI": "Assault ", "Neighbourhood": "Annex"}
    row |= {"Lat": "43.66", "Long": "-79.40"}
    for day, hour, utc in (
        ("2016/01/05 05", 23, datetime(2016, 1, 6, 4, tzinfo=UTC)),
        ("2016/07/05 04", 0, datetime(2016, 7, 5, 4, tzinfo=UTC)),
        ("2016/07/05 04", 23, datetime(2016, 7, 6, 3, tzinfo=UTC)),
        ("2016/03/13 05", 2, datetime(2016, 3, 13, 7, tzinfo=UTC)),
        ("2016/11/06 04", 1, datetime(2016, 11, 6, 5, tzinfo=UTC)),
        ("2016/11/06 04", 23, datetime(2016, 11, 7, 4, tzinfo=UTC)),
    ):
        told = row | {"occurrencedate": f"{day}:00:00+00", "occurrencehour": f"{hour}"}
        one = incident_of(told, by, identity_of(told, by), SPAN)
        assert one.hour == utc
        assert day_of(one.hour, by.zone) == datetime.strptime(day[:10], "%Y/%m/%d").date()  # noqa: DTZ007


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8", "utf-8-sig"])
def test_an_export_is_read_in_its_encoding(tmp_path: Path, encoding: str) -> None:
    export = tmp_path / "export.csv"
    by = ExportMapping.model_validate(MAPPING | {"encoding": encoding, "areas": {"Çelik": "oakwood"}})
    export.write_bytes(f"{','.join(HEADER)}\r\n{GOOD.replace('Oak', 'Çelik')}\r\n".encode(encoding))
    assert len(imported(export, by=by)) == 1


def test_an_export_is_read_with_its_delimiter(tmp_path: Path) -> None:
    """Where the mapping does not say so, its first line says what is between."""
    export = tmp_path / "export.csv"
    export.write_text(f"{';'.join(HEADER)}\n{GOOD.replace(',', ';')}\n")
    by = ExportMapping.model_validate(MAPPING | {"delimiter": ";"})
    assert imported(export, by=by) == [incident(GOOD)]
    export.with_name("progress").unlink()
    with pytest.raises(Refusal, match=r"`delimiter`, which is ','\); the line has id;when"):
        imported(export)


def test_an_import_that_rejected_everything_is_refused_with_its_mend() -> None:
    """One that had nothing to read is not, nor one whose last line is still being written."""
    with pytest.raises(Refusal, match=r"most as 'not cp1252': see x\.csv\.rejects, correct the mapping"):
        check_fates("x.csv", Counter({"published": 0, "not cp1252": 2, "no row of CSV": 1}))
    check_fates("x.csv", Counter({"published": 1, "not cp1252": 2}))
    check_fates("x.csv", Counter({"published": 0, HALF: 1}))


def test_json_lines_are_read_as_rows_of_csv_are(tmp_path: Path) -> None:
    export = tmp_path / "export.jsonl"
    good = (
        '{"id": 7, "when": "2019-01-20 13:30:00", "code": "B&E", "place": "Oak", "Lat": 43.7, "Long": -79.5}'
    )
    export.write_text(f"{good}\n[1]\n{{\n{good.replace('43.7', 'null')}\n")
    assert imported(export, is_json=True) == [incident(GOOD)]
    assert [line.split(",")[0] for line in rejected(export)] == ["2", "3", "4"]


def test_a_file_that_is_no_such_export_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    """Its first line says which columns there are; the mapping's must be among them."""
    export = tmp_path / "export.csv"
    for content, why in (
        (b"id,when,code,place\n", "names no columns: Lat, Long, which the mapping reads"),
        (b"", "names no columns: id, when"),
        (",".join(HEADER).encode("utf-16") + b"\n", "names no columns: not utf-8-sig"),
        (b"PK\x03\x04\x00\x00\xff\n", "names no columns"),
        (f"{','.join(HEADER)},code\n".encode(), "names code more than once"),
    ):
        export.write_bytes(content)
        with pytest.raises(Refusal, match=why), reading(export):
            pass


def test_a_mapping_that_does_not_fit_the_municipality_is_refused_with_all_that_is_wrong() -> None:
    town = read(TORONTO)
    good = tomllib.loads((TORONTO / "incidents.toml").read_text("utf-8"))
    areas = good["areas"] | {"Annex": "anex", "Alderwood": "alder", "NSA": "unknown"}
    wrong = {"area_set": "district", "areas": areas, "categories": {"Assault": "asault", "Other": "other"}}
    with pytest.raises(Refusal) as found:
        check_mapping(ExportMapping.model_validate(good | wrong), town)
    said = str(found.value)
    assert "the mapping does not fit toronto: area_set 'district' is not 'neighbourhood'" in said
    assert all(f"no area {one!r}" in said for one in ("alder", "anex"))
    assert "no category 'asault' in statistics.toml; it has assault, auto_theft," in said
    assert "unknown'" not in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ('encoding = "utf-16"', "encoding: .* in which a line ends with one byte"),
        ('encoding = "klingon"', "encoding: .* in which a line ends with one byte"),
        ('delimiter = ";;"', "delimiter: .* the one mark between two cells"),
        ('time_format = "%Y-%m-%d %Y"', "time_format: .* %Y-%m-%d %H:%M:%S"),
        ('time_format = "%d.%Q"', "time_format: .* %Y-%m-%d %H:%M:%S"),
        ('zone = "Toronto"', "zone: .* America/Toronto"),
        ('sorce = "x"', "sorce: "),
    ],
)
def test_a_mapping_with_a_mistake_is_refused_in_one_line(changes: str, why: str) -> None:
    text = (TORONTO / "incidents.toml").read_text("utf-8").splitlines()
    kept = [line for line in text if line.partition(" =")[0] != changes.partition(" =")[0]]
    with pytest.raises(Refusal, match=f"the mapping cannot be used: .*{why}") as found:
        read_mapping("\n".join([changes, *kept]))
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("name", ["boston", "toronto"])
def test_a_mapping_that_ships_fits_its_municipality(name: str) -> None:
    mapping = read_mapping((FOLDERS / name / "incidents.toml").read_text("utf-8"))
    check_mapping(mapping, read(FOLDERS / name))


def test_bostons_incidents_without_a_district_are_unknown_and_those_without_a_point_rejected() -> None:
    by = read_mapping((FOLDERS / "boston/incidents.toml").read_text("utf-8"))
    row = {"INCIDENT_NUMBER": "I182070945", "OFFENSE_CODE": "619", "OFFENSE_CODE_GROUP": "Larceny"}
    row |= {"DISTRICT": "", "OCCURRED_ON_DATE": "2018-09-02 13:00:00", "Lat": "42.36", "Long": "-71.14"}
    assert incident_of(row, by, identity_of(row, by), SPAN).areas == {"police_district": "unknown"}
    for lat, long, why in (("-1", "-1", "missing"), ("", "", "missing"), ("-71.14", "42.36", "swapped")):
        with pytest.raises(Rejected, match=f"{why} coordinates"):
            incident_of(row | {"Lat": lat, "Long": long}, by, identity_of(row, by), SPAN)


def test_torontos_sample_is_incidents_of_all_neighbourhoods_but_for_those_of_before(tmp_path: Path) -> None:
    """2,000 rows, 7 of them from before 2014; whichever name the outlines have."""
    town, by = read(TORONTO), read_mapping((TORONTO / "incidents.toml").read_text("utf-8"))
    assert set(by.areas.values()) == set(town.area_sets["neighbourhood"].areas)
    assert by.areas["Danforth"] == "danforth_village_toronto"
    assert counted(town, SPAN.last) == SPAN
    export = tmp_path / "export.csv"
    export.write_bytes(gzip.decompress((TORONTO / "sample.csv.gz").read_bytes()))
    with reading(export, by=by) as one:
        events = one.chunk(3_000)
        assert one.fates == Counter({"before the statistics begin": 7})
    assert len({event.incident_id for event in events}) == 1_993
    assert len({event.areas["neighbourhood"] for event in events}) == 140
