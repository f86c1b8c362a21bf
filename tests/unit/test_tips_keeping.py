"""How long things are kept, and what a link of the log's chains covers."""

import uuid
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.tips import sealing
from services.tips.core import chain, keeping
from services.tips.core.chain import NOTHING, Entry, Linked, Mark
from services.tips.keys import KeyDestroyed, KeyFolder
from shared import municipality

IBUURT = Path(__file__).parents[2] / "deploy/municipalities/ibuurt"
NAME = "2026-11-led-365"
ENTRY = Entry(
    uuid.UUID("6c3c7a5e-6b3e-4a55-9b1c-0d8a4e6f2a11"),
    "tip",
    datetime(2026, 11, 12, 13, tzinfo=UTC),
    "disclosure",
    "unit:zoë via webhook",
    "notify",
    "delivery",
    "unit:zoë",
)


@pytest.mark.parametrize(
    ("name", "end"),
    [
        (NAME, datetime(2027, 12, 1, tzinfo=UTC)),
        (f"{NAME}.12", datetime(2027, 12, 1, tzinfo=UTC)),
        ("2027-12-gdpr-1", datetime(2028, 1, 2, tzinfo=UTC)),
        ("2028-02-gdpr-1", datetime(2028, 3, 2, tzinfo=UTC)),
        ("hold-6c3c7a5e-6b3e-4a55-9b1c-0d8a4e6f2a11", None),
    ],
)
def test_a_keys_time_ends_its_days_after_the_end_of_its_month(name: str, end: datetime | None) -> None:
    """Whatever its generation; a hold's key ends with its hold."""
    assert keeping.last_moment(name) == end


def test_a_holds_key_ends_when_its_report_is_held_no_more() -> None:
    """And no other's hold keeps it."""
    held, other = uuid.uuid4(), uuid.uuid4()
    name = f"{keeping.hold_key_name(held)}.3"
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert not keeping.has_ended(name, now, {held, other})
    assert keeping.has_ended(name, now, {other})


def test_an_extended_report_stays_in_its_class() -> None:
    """A hold's key names none, so the category of today says which."""
    category = municipality.read(IBUURT).categories["street_light"]
    assert (category.regime, category.retention_days) == ("gdpr", 365)
    accepted, now = datetime(2026, 11, 12, tzinfo=UTC), datetime(2028, 3, 5, tzinfo=UTC)
    assert keeping.extended(f"{NAME}.2", category, accepted, now) == "2028-03-led-365"
    hold = keeping.hold_key_name(uuid.uuid4())
    assert keeping.extended(hold, category, accepted, now) == "2028-03-gdpr-365"
    assert keeping.extended(hold, None, accepted, now) == "2028-03-led-365"


@given(st.dates(date(2026, 1, 1), date(2030, 1, 1)), st.integers(1, 800))
def test_what_is_open_for_ever_is_extended_once(day: date, days: int) -> None:
    """When its month's time ends; the key that it comes under then is its last."""
    accepted = datetime(day.year, day.month, day.day, 23, 59, 59, tzinfo=UTC)
    name = f"{accepted:%Y-%m}-led-{days}"
    ends: list[datetime] = []
    while name and len(ends) < 3:
        end = keeping.last_moment(name)
        assert end
        ends.append(end)
        name = keeping.extended(name, None, accepted, end) or ""
    assert len(ends) == 2
    assert ends[1] - ends[0] <= timedelta(days=days + 31)


def test_the_month_after_is_also_found_in_december_and_january() -> None:
    """The first moment of it, UTC."""
    assert keeping.next_month(datetime(2026, 12, 31, 23, 59, tzinfo=UTC)) == datetime(2027, 1, 1, tzinfo=UTC)
    assert keeping.next_month(datetime(2027, 1, 31, tzinfo=UTC)) == datetime(2027, 2, 1, tzinfo=UTC)


def test_a_keys_file_tells_no_more_than_the_hour(tmp_path: Path) -> None:
    """It may be made by the first report of a month, which may be a tip."""
    KeyFolder(tmp_path).make("2026-11-led-365")
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mtime_ns % (3_600 * 10**9) == 0


def test_the_generation_of_a_key_is_told_by_the_folder(tmp_path: Path) -> None:
    """The one after what is destroyed or followed; another process sees it at once."""
    keys, others = KeyFolder(tmp_path), KeyFolder(tmp_path)
    assert keys.newest(NAME) == NAME
    keys.make(NAME)
    others.make(NAME)
    assert keys.newest(NAME) == NAME
    others.make(f"{NAME}.2")
    assert keys.newest(NAME) == f"{NAME}.2"
    others.destroy(NAME)
    with pytest.raises(KeyDestroyed):
        keys.make(NAME)
    others.destroy(f"{NAME}.2")
    assert keys.newest(NAME) == f"{NAME}.3"
    assert keys.names() == {NAME, f"{NAME}.2"}


def test_what_a_death_left_of_a_key_is_removed(tmp_path: Path) -> None:
    """The file of a key that is marked as destroyed, and the draft of one that was made."""
    keys = KeyFolder(tmp_path)
    keys.make(NAME)
    (tmp_path / "2026-10-led-365").write_bytes(bytes(32))
    (tmp_path / "2026-10-led-365.destroyed").touch()
    (tmp_path / f".{NAME}.0123456789abcdef").write_bytes(bytes(32))
    (tmp_path / ".2026-12-led-365.0123456789abcdef").write_bytes(bytes(32))
    keys.tidy()
    assert {file.name for file in tmp_path.iterdir()} == {
        NAME,
        "2026-10-led-365.destroyed",
        # Somebody may be about to make it.
        ".2026-12-led-365.0123456789abcdef",
    }


def test_words_open_under_another_key_and_no_longer_under_the_one_before() -> None:
    """What is wrapped again is the report's own key; its words and parts stay as they are."""
    report_id, old, new = uuid.uuid4(), bytes(32), bytes(range(32))
    sealed = sealing.seal(report_id, NAME, old, {"description": "x"})
    moved = sealing.rewrap(report_id, sealed, old, f"{NAME}.2", new)
    assert moved.sealed == sealed.sealed
    assert sealing.unseal(report_id, moved, new) == {"description": "x"}
    for name, key in ((f"{NAME}.2", old), (NAME, new)):
        with pytest.raises(sealing.Unreadable):
            sealing.unseal(report_id, replace(moved, key_name=name), key)


def test_a_link_is_the_same_for_ever() -> None:
    """Logs that were written are verified by programs that come later."""
    assert chain.link(Mark(0, NOTHING), ENTRY) == Mark(1, bytes.fromhex(GOLDEN))


GOLDEN = "b694857a897883775c6995425ee43d061d3ac88fdad07730581f012df457b124"
TEXT = st.text(max_size=4)
OTHERS = st.builds(
    Entry,
    st.sampled_from([uuid.UUID(int=1), uuid.UUID(int=2)]),
    st.sampled_from(chain.CHAINS),
    st.integers(0, 3).map(lambda number: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=number)),
    TEXT,
    TEXT,
    TEXT,
    TEXT,
    st.none() | TEXT,
)


@given(OTHERS, OTHERS, st.integers(0, 2), st.integers(0, 2))
def test_two_entries_never_have_the_same_link(one: Entry, other: Entry, here: int, there: int) -> None:
    """Whatever stands in their columns: a length goes before each."""
    same = (one, here) == (other, there)
    links = chain.link(Mark(here, NOTHING), one), chain.link(Mark(there, NOTHING), other)
    assert (links[0].hash == links[1].hash) == same


@pytest.mark.parametrize("before", [Mark(1, NOTHING), Mark(0, bytes(31) + b"x")])
def test_a_link_covers_its_number_and_the_link_before(before: Mark) -> None:
    """An entry that is moved to another place has another hash."""
    assert chain.link(before, ENTRY).hash.hex() != GOLDEN


def test_what_stood_elsewhere_is_not_taken_for_altered() -> None:
    """Only the entry that follows in the chain fits."""
    begin = Mark(0, NOTHING)
    first = Linked(ENTRY, chain.link(begin, ENTRY))
    other = replace(ENTRY, actor="unit:b")
    second = Linked(other, chain.link(first.mark, other))
    assert chain.fault(begin, first) is None
    assert chain.fault(first.mark, second) is None
    assert chain.fault(begin, second) == "missing"
    assert chain.fault(begin, Linked(second.entry, first.mark)) == "altered"
