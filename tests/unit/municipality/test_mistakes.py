"""A municipality's folder is read whole or refused whole, with every mistake named."""

from pathlib import Path

import pytest

from shared.municipality import read
from tests.unit.municipality.edits import CENTRE, C, G, M, R, S, U, W, mistakes_of, swap
from tests.unit.municipality.planted_areas import AREAS
from tests.unit.municipality.planted_channels import CHANNELS
from tests.unit.municipality.planted_entries import ENTRIES
from tests.unit.municipality.planted_files import FILES
from tests.unit.municipality.planted_hours import HOURS, hours, when
from tests.unit.municipality.planted_sending import SENDING
from tests.unit.municipality.planted_statistics import STATISTICS

MISTAKES = FILES | ENTRIES | AREAS | SENDING | HOURS | CHANNELS | STATISTICS
# A renamed id or key is missing under its old name; nothing else may make a second mistake of one.
WITH_MORE = {
    "no reasons",
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
        "fallback of another kind",
        "words of a tip by e-mail",
        "no noise",
    )
    for name in names:
        MISTAKES[name].edit(folder)
    found = {(mistake.file, mistake.path) for mistake in mistakes_of(folder)}
    assert {(MISTAKES[name].file, MISTAKES[name].path) for name in names} <= found
    assert {file for file, _ in found} == {M, C, U, R, W, G, S}


def test_every_line_of_hours_that_is_wrong_is_named(folder: Path) -> None:
    """Of a unit, and of a rule; where each line is right, every day on which two overlap."""
    hours('"mon-fri 25:00-22:00", "fry 1-2", "sat 10:00-12:00"')(folder)
    when('hour = ["9-17", "17-24", "22-06"]')(folder)
    assert [(one.path, one.problem) for one in mistakes_of(folder)] == [
        ("units[6].hours[0]", "'mon-fri 25:00-22:00' has a time that no day has"),
        ("units[6].hours[1]", "'fry 1-2' are no hours"),
        ("rules[3].when.hour[0]", "'9-17' are no hours of a day"),
        ("rules[3].when.hour[2]", "'22-06' are no hours of a day"),
    ]
    swap(U, '"mon-fri 25:00-22:00", "fry 1-2"', '"mon-fri 08:00-12:00", "tue-wed 10:00-11:00"')(folder)
    assert mistakes_of(folder)[0].problem == "two of the hours of tue, wed overlap"


def test_every_target_that_a_unit_does_not_reach_is_named(folder: Path) -> None:
    """Of each category, in one reading; what takes ten years to the hour is none of them."""
    hours('"sat 10:00-12:00"')(folder)
    swap(C, "resolve_hours = 120", "resolve_hours = 1040")(folder)
    read(folder)
    for number in (1041, 1042):
        swap(C, "resolve_hours = 168", f"resolve_hours = {number}")(folder)
    found = mistakes_of(folder)
    assert len(found) == 2
    assert all(one.path.endswith(".targets.resolve_hours") for one in found)


def test_a_mistake_beside_the_areas_hides_none_in_them(folder: Path) -> None:
    """Neither an unknown key of the area set nor a language of the wrong form keeps the areas, what refers to
    them, or the texts from being looked at."""
    for name in ("ring is not closed", "id of an area", "language missing"):
        MISTAKES[name].edit(folder)
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
        MISTAKES[name].edit(folder)
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
