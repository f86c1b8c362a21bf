"""The half year of Boston: the city's clock as it was read, what a wrong export is refused with, and that no
explanation covers a mistake of ours."""

import csv
import dataclasses
import gzip
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.half_year.account import Account, account, written
from deploy.half_year.cases import COLUMNS, Announcing, Case, Export, read_cases, read_export
from deploy.half_year.playing import Played
from deploy.half_year.promises import BEGIN, END, Promise, read_promises, whole_days
from services.notify.core.responsible import Responsibility
from shared.errors import Refusal
from shared.municipality import Municipality, read

ROOT = Path(__file__).parents[2]
BOSTON = ROOT / "deploy/municipalities/boston"
SAMPLE = BOSTON / "sample.csv.gz"
WHOLE = ROOT.parent / "shared/data/boston/boston_311_2011H2.csv.gz"
MINUTE = timedelta(minutes=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("opened", "promise", "target"),
    [
        # Of the export: open_dt and target_dt of bulk items, street lights, trees and homes.
        ("2011-07-06 11:14:14", "2 working days", "2011-07-08 11:14:14"),
        ("2011-07-01 07:14:36", "2 working days", "2011-07-05 07:14:36"),  # no holiday on July 4
        ("2011-07-01 01:32:33", "10 working days", "2011-07-15 01:32:33"),
        ("2011-07-14 21:38:19", "10 working days", "2011-07-29 08:30:00"),
        ("2011-08-28 13:02:41", "1 working day", "2011-08-30 13:02:41"),
        ("2011-08-28 18:30:00", "1 working day", "2011-08-31 08:30:00"),
        ("2011-07-06 11:14:31", "120 days", "2011-11-03 11:14:31"),
    ],
)
def test_the_citys_clock_promises_what_the_city_did(opened: str, promise: str, target: str) -> None:
    """Weekends, evenings and holidays as the export has them."""
    read = read_promises({"type": promise})["type"]
    assert str(read) == promise
    assert read.due(at(opened)) == at(target)
    assert whole_days(at(opened), at(target), MINUTE) is not None


@given(opened=st.datetimes(at("2011-07-01"), at("2012-12-31")), days=st.integers(1, 60))
def test_working_days_end_on_weekdays_so_many_weekdays_later(opened: datetime, days: int) -> None:
    """However the weeks are counted, the weekdays between begin and end are those that were promised."""
    due = Promise(days, working=True).due(opened)
    assert due.weekday() < 5
    assert due.time() < END
    first = Promise(1, working=True).due(opened).date()
    between = [first + timedelta(days=number) for number in range((due.date() - first).days + 1)]
    assert sum(day.weekday() < 5 for day in between) == days
    assert due.time() in (opened.time(), BEGIN)
    assert whole_days(opened, due, timedelta()) is not None


def test_a_promise_that_cannot_be_read_is_refused() -> None:
    """It names the type and shows how to write one."""
    with pytest.raises(Refusal, match=r'Potholes: .* write "2 working days" or "30 days"'):
        read_promises({"Potholes": "two days"})


@pytest.fixture(scope="module")
def town() -> Municipality:
    return read(BOSTON)


@pytest.fixture(scope="module")
def export() -> Export:
    return read_export(BOSTON)


ROW = {
    "open_dt": "2011-07-06 11:14:14",
    "type": "Graffiti Removal",
    "department": "PROP",
    "ontime": "ONTIME",
    "closed_dt": "2011-07-07 11:14:14",
}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"type": "Potholes"}, "row 2: the type 'Potholes' is not in types.toml; add it there"),
        ({"department": "FIRE"}, "row 2: the department 'FIRE' is not in types.toml; add it there"),
        ({"ontime": "LATE"}, "row 2: ontime is 'LATE'; it must be ONTIME, OVERDUE or empty"),
        ({"open_dt": "July"}, "row 2: a time cannot be read; write them as 2011-07-01 01:32:33"),
        ({"closed_dt": "2011-07-05 11:14:14"}, "row 2: it was closed before it was opened"),
    ],
)
def test_a_row_that_is_wrong_is_named(
    changes: dict[str, str], says: str, tmp_path: Path, town: Municipality, export: Export
) -> None:
    """With its number and what to do."""
    file = tmp_path / "export.csv"
    with file.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows([ROW, ROW | changes])
    with pytest.raises(Refusal) as refused:
        read_cases(file, town, export)
    assert says in str(refused.value)


def _gone(_file: Path) -> None:
    pass


def _empty(file: Path) -> None:
    file.write_bytes(gzip.compress(",".join(COLUMNS).encode()))


def _other(file: Path) -> None:
    file.write_bytes(gzip.compress(b"type,open_dt\n"))


def _cut(file: Path) -> None:
    file.write_bytes(SAMPLE.read_bytes()[:10_000])


def _plain(file: Path) -> None:
    file.write_bytes(gzip.decompress(SAMPLE.read_bytes()))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_gone, "is not there; name the city's export with --file, or leave --file out"),
        (_empty, "has no rows; give a CSV with a line of names"),
        (_other, "has no column closed_dt, department,"),
        (_cut, "cannot be read (EOFError); give a CSV, gzipped if its name ends with .gz"),
        (_plain, "cannot be read (BadGzipFile); give a CSV, gzipped if its name ends with .gz"),
    ],
)
def test_a_file_that_is_no_export_is_refused(
    make: Callable[[Path], None], says: str, tmp_path: Path, town: Municipality, export: Export
) -> None:
    """What is wrong with it and what to give instead."""
    file = tmp_path / "export.csv.gz"
    make(file)
    with pytest.raises(Refusal) as refused:
        read_cases(file, town, export)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"types": {"Potholes": "hole"}}, "types: Potholes: 'hole' is no category of the folder"),
        ({"subjects": {"Police": "bpd"}}, "subjects: Police: 'bpd' is no unit of the folder"),
    ],
)
def test_a_table_that_does_not_fit_the_folder_is_refused(
    wrong: dict[str, dict[str, str]], says: str, town: Municipality, export: Export
) -> None:
    """With the entry that is wrong."""
    with pytest.raises(Refusal) as refused:
        read_cases(SAMPLE, town, dataclasses.replace(export, **wrong))  # type: ignore[arg-type]
    assert says in str(refused.value)


def test_a_folder_without_an_export_is_refused(tmp_path: Path) -> None:
    """Another folder can be named; an incomplete table is named."""
    with pytest.raises(Refusal, match=r"types\.toml is not there.*--municipality"):
        read_export(tmp_path)
    (tmp_path / "types.toml").write_text("[types]\n[departments]\n[subjects]\n")
    with pytest.raises(Refusal, match=r"has no table \[promises\]"):
        read_export(tmp_path)


def test_of_the_hour_that_comes_twice_the_later_one_where_it_must_be(
    tmp_path: Path, town: Municipality, export: Export
) -> None:
    """On 2011-11-06 the clock was put back at 2:00: what was opened at 1:50 can be closed at 1:10."""
    file = tmp_path / "export.csv"
    row = ROW | {"open_dt": "2011-11-06 01:50:00", "closed_dt": "2011-11-06 01:10:00"}
    with file.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, COLUMNS, restval="")
        writer.writeheader()
        writer.writerow(row)
    (case,) = read_cases(file, town, export)
    assert case.opened == datetime(2011, 11, 6, 5, 50, tzinfo=UTC)
    assert case.closed == datetime(2011, 11, 6, 6, 10, tzinfo=UTC)


@pytest.fixture(scope="module")
def cases(town: Municipality, export: Export) -> list[Case]:
    return read_cases(SAMPLE, town, export, 1_000)


@pytest.fixture(scope="module")
def played(cases: list[Case], town: Municipality, export: Export) -> list[Played]:
    """What notify's own decisions make of a thousand requests, without the database."""
    responsibility, announcing = Responsibility(town), Announcing(town, export)
    made = []
    for case in cases:
        envelope = announcing.accepted(case)
        first = last = responsibility.first(envelope.event, envelope.time)
        if first.unit != case.unit:
            last = responsibility.handed(case.unit, case.category, envelope.time)
        in_time = case.closed <= last.resolve_by if case.closed else None
        turn = 1 if last is first else 2
        made.append(
            Played(case, first.unit, first.rule, last.unit, turn, "resolved", last.resolve_by, in_time)
        )
    return made


def test_every_difference_has_its_explanation(
    cases: list[Case], played: list[Played], town: Municipality, export: Export
) -> None:
    """And each kind that was found is printed with its text."""
    book = account(cases, played, town, export)
    assert book.right
    assert book.unexplained == 0
    assert sum(book.moved.values()) == book.rows - book.agreed
    text = "\n".join(written(book, town))
    for kind in [*book.moved, *(due.kind for due in book.due), *(kind for kind, _ in book.on_time_kinds)]:
        assert f"  {kind}: " in text


def _days_later(one: Played) -> Played:
    return one._replace(resolve_by=one.resolve_by + timedelta(days=9))


def _days_earlier(one: Played) -> Played:
    return one._replace(resolve_by=one.resolve_by - timedelta(days=9))


def _other_answer(one: Played) -> Played:
    return one._replace(in_time=not one.in_time) if one.in_time is not None else one


@pytest.mark.parametrize("wrong", [_days_later, _days_earlier])
def test_a_due_time_that_does_not_follow_from_the_target_is_not_explained_away(
    wrong: Callable[[Played], Played],
    cases: list[Case],
    played: Sequence[Played],
    town: Municipality,
    export: Export,
) -> None:
    """Whatever the city's own target was: a clock of notify that is wrong is found in each."""
    book = account(cases, [wrong(one) for one in played], town, export)
    assert not book.right
    kinds = _kinds(book)
    assert kinds["unexplained"] > 0.95 * kinds.total()


def test_an_answer_that_does_not_follow_from_the_due_times_is_not_explained_away(
    cases: list[Case], played: list[Played], town: Municipality, export: Export
) -> None:
    """In time where it was late, and the other way round: what the city says otherwise is then no wonder."""
    book = account(cases, [_other_answer(one) for one in played], town, export)
    told = sum(
        one.case.closed is not None and one.case.target is not None and one.case.on_time is not None
        for one in played
    )
    unexplained = sum(count for (kind, _), count in book.on_time_kinds.items() if kind == "unexplained")
    assert unexplained > 0.9 * told


def test_a_department_that_no_rule_of_the_city_leads_to_is_not_explained_away(
    cases: list[Case], played: list[Played], town: Municipality, export: Export
) -> None:
    """A rule that sends what belongs to another department's types to the water commission is found."""
    wrong = [one._replace(first_unit="water", rule="water") for one in played]
    book = account(cases, wrong, town, export)
    assert book.moved["unexplained"] > 0.9 * len(played)


def test_a_request_that_is_lost_is_noticed(
    cases: list[Case], played: list[Played], town: Municipality, export: Export
) -> None:
    """All that were read must be routed."""
    book = account(cases, played[1:], town, export)
    assert (book.rows - book.routed, book.right) == (1, False)


def _kinds(book: Account) -> Counter[str]:
    kinds: Counter[str] = Counter()
    for due, count in book.due.items():
        kinds[due.kind] += count
    return kinds


def test_every_target_of_the_folder_is_what_the_city_promised_most_of_the_group(town: Municipality) -> None:
    """The folder was not made to fit row by row: a target is one promise of one of its types."""
    if not WHOLE.exists():
        pytest.skip("../shared/data/boston is not here: all requests of the city are needed to count them")
    export = read_export(BOSTON)
    cases = read_cases(WHOLE, town, export)
    promised: dict[str, Counter[Promise]] = {}
    for case in cases:
        if case.target and case.type in export.promises:
            promised.setdefault(case.category, Counter())[export.promises[case.type]] += 1
    rules = {
        category: rule.unit
        for rule in reversed(town.rules)
        if rule.when and not rule.when.area
        for category in rule.when.category or ()
    }
    for category, counts in promised.items():
        ((most, _),) = counts.most_common(1)
        unit = town.units[rules.get(category, town.rules[-1].unit)]
        assert town.categories[category].targets.resolve_hours == most.hours(opening_hours=bool(unit.hours))


def test_the_promises_are_those_that_the_city_kept(town: Municipality) -> None:
    """99 of 100 targets follow from the one promise of their type, by the city's clock, within an hour."""
    if not WHOLE.exists():
        pytest.skip("../shared/data/boston is not here: all requests of the city are needed to count them")
    export = read_export(BOSTON)
    cases = [one for one in read_cases(WHOLE, town, export) if one.wall_target]
    kept = sum(
        one.type in export.promises
        and abs(export.promises[one.type].due(one.wall) - (one.wall_target or one.wall)) <= timedelta(hours=1)
        for one in cases
    )
    assert kept > 0.99 * len(cases)
