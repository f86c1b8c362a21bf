"""A line of a police export is an incident or is rejected with a reason, whatever stands in it."""

from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.stats import importing
from services.stats.core.export import ExportMapping, Rejected, cells_of, incident_of, row_of

NOW = datetime(2026, 11, 27, tzinfo=UTC)
HEADER = ["id", "when", "code", "place", "Lat", "Long"]
BY = ExportMapping.model_validate(
    {
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
)
GOOD = "7,2019-01-20 13:30:00,B&E,Oak,43.7,-79.5"


def test_a_row_is_an_incident_with_the_same_id_whenever_it_is_read() -> None:
    first, second = (incident_of(row_of(GOOD, HEADER), BY, NOW) for _ in range(2))
    assert first == second
    assert first.hour == datetime(2019, 1, 20, 18, tzinfo=UTC)
    assert (first.category, first.areas) == ("burglary", {"district": "oakwood"})


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("2019-01-20", "2019-02-30", "broken time"),
        ("2019-01-20", "2099-02-03", "in the future"),
        ("43.7,-79.5", "-79.5,43.7", "swapped"),
        ("43.7,-79.5", "-1,-1", "missing coordinates"),
        ("43.7,-79.5", ",", "missing coordinates"),
        ("43.7,-79.5", "nan,nan", "missing coordinates"),
        ("43.7,-79.5", "52.1,4.3", "outside"),
        ("B&E", "Arson", "unknown offence code"),
        ("Oak", "Elm", "unknown place"),
        ("7,", ",", "no key"),
        (",Oak,43.7,-79.5", "", "columns instead of"),
    ],
)
def test_a_bad_row_is_rejected_with_its_reason(old: str, new: str, why: str) -> None:
    with pytest.raises(Rejected, match=why):
        incident_of(row_of(GOOD.replace(old, new), HEADER), BY, NOW)


@given(st.text(), st.booleans())
def test_no_text_is_more_than_rejected(text: str, is_json: bool) -> None:
    with suppress(Rejected):
        incident_of(row_of(text, None if is_json else HEADER), BY, NOW)


def test_bad_lines_are_named_and_the_good_ones_kept_and_a_second_run_goes_on(tmp_path: Path) -> None:
    export, progress = tmp_path / "export.csv", tmp_path / "export.csv.progress"
    content = (
        b"\xef\xbb\xbf" + f'{",".join(HEADER)}\n{GOOD}\n"half'.encode() + b"\n\xff\xfe\n" + b"x" * 250_000
    )
    export.write_bytes(content + f"\n{GOOD}\n".encode())
    found = []
    for more in ("", GOOD.replace("7,", "8,", 1) + "\n"):
        with export.open("ab") as end:
            end.write(more.encode())
        with export.open("rb") as lines, (tmp_path / "rejects").open("a+") as refused:
            header = cells_of(lines.readline().decode(BY.encoding))
            number = importing.resume(progress, lines, refused, 1)
            events, number, ended = importing.read_chunk(lines, refused, number, header, BY, Counter())
            importing.save(progress, lines, refused, number)
            found.append(len(events))
            assert ended
    assert found == [2, 1]
    assert [line.split(",")[0] for line in (tmp_path / "rejects").read_text().splitlines()] == ["3", "4", "5"]
