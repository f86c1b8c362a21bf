"""Mistakes in when units work, in holidays, in rules that read hour or day, and in clocks."""

from pathlib import Path

from tests.unit.municipality.edits import C, Edit, M, Planted, R, U, swap

UNIT = '[[units]]\nid = "neighbourhood_police_north"\n'


def hours(lines: str) -> Edit:
    return swap(U, UNIT, f"{UNIT}hours = [{lines}]\n")


def both(one: Edit, other: Edit) -> Edit:
    def edit(folder: Path) -> None:
        one(folder)
        other(folder)

    return edit


def days(keys: str) -> Edit:
    return swap(M, 'holidays = { country = "NL" }', f"holidays = {{ {keys} }}")


def when(condition: str) -> Edit:
    return swap(R, 'category = ["fraud"]', f'category = ["fraud"]\n{condition}')


def _hours(lines: str, problem: str, mend: str) -> Planted:
    return Planted(hours(lines), U, "units[6].hours[0]", problem, mend)


HOURS: dict[str, Planted] = {
    "hours in other words": _hours('"Monday 9 to 5"', "'Monday 9 to 5' are no hours", '"mon-fri 08:00-12:30'),
    "hours without a day": _hours('"08:00-17:00"', "are no hours", "mon-fri"),
    "hours that end before they begin": _hours(
        '"mon 17:00-08:00"', "ends before it begins", "write a night as"
    ),
    "hours of no length": _hours('"mon 08:00-08:00"', "ends before it begins", "write a night as"),
    "an hour that no day has": _hours('"mon 08:00-24:30"', "a time that no day has", "00:00 to 24:00"),
    "a minute that no hour has": _hours('"mon 08:75-17:00"', "a time that no day has", "00:00 to 24:00"),
    "days that end before they begin": _hours('"sat-mon 08:00-17:00"', "ends before it begins", "with mon"),
    "hours that overlap": Planted(
        hours('"mon-fri 08:00-12:30", "wed 12:00-17:00"'),
        U,
        "units[6].hours",
        "hours of wed overlap",
        "once",
    ),
    "hours that are a text": Planted(
        swap(U, UNIT, f'{UNIT}hours = "mon-fri 08:00-17:00"\n'),
        U,
        "units[6].hours",
        "this is no list",
        "a list such as",
    ),
    "holidays of no country": Planted(
        days('country = "XX"'), M, "holidays.country", "'XX' are not known", "ISO"
    ),
    "holidays of a country by its name": Planted(
        days('country = "Nederland"'), M, "holidays.country", "not written", '"NL"'
    ),
    "holidays of a part that there is not": Planted(
        days('country = "US", subdivision = "Boston"'), M, "holidays.subdivision", "no part 'Boston'", "MA"
    ),
    "a day that there is not": Planted(
        days('country = "NL", closed = ["2026-02-30"]'),
        M,
        "holidays.closed[0]",
        "2026-02-30",
        "a list of days",
    ),
    "a key that holidays have not": Planted(
        days('country = "NL", open = []'), M, "holidays.open", "unknown", "country"
    ),
    "a day of the week in other words": Planted(
        when('day = ["monday"]'), R, "rules[3].when.day[0]", "'monday'", '"mon" to "sun"'
    ),
    "a source that there is not": Planted(
        when('source = ["pigeon"]'), R, "rules[3].when.source[0]", "'pigeon'", '"api"'
    ),
    "an hour of the day in other words": Planted(
        when('hour = ["9-17"]'), R, "rules[3].when.hour[0]", "'9-17' are no hours", '"08-17"'
    ),
    "hours over midnight": Planted(
        when('hour = ["22-06"]'), R, "rules[3].when.hour[0]", "'22-06' are no hours", '"22-24", "00-06"'
    ),
    # clocks
    "a reminder after the end": Planted(
        swap(M, "remind_at = 0.75", "remind_at = 1.5"), M, "clocks.remind_at", "less than 1: 1.5", "0.75"
    ),
    "a level before the one before": Planted(
        swap(M, "after_hours = 9", "after_hours = 0"), M, "clocks.levels", "no later", "more after_hours"
    ),
    "a level before the end": Planted(
        swap(M, "after_hours = 9", "after_hours = -9"),
        M,
        "clocks.levels[1].after_hours",
        "too small: -9",
        "from 0 on",
    ),
    "a level that tells nobody": Planted(
        swap(M, 'after_hours = 9, unit = "front_desk"', 'after_hours = 9, unit = "mayor"'),
        M,
        "clocks.levels[1].unit",
        'unknown unit "mayor"',
        "front_desk",
    ),
    "a target beyond every plan": Planted(
        swap(C, "resolve_hours = 120", "resolve_hours = 1000000"),
        C,
        "categories[0].targets.resolve_hours",
        "too large: 1000000",
        "up to 20000",
    ),
    "a target that a unit's hours do not reach": Planted(
        both(hours('"sat 10:00-12:00"'), swap(C, "resolve_hours = 120", "resolve_hours = 2160")),
        C,
        "categories[0].targets.resolve_hours",
        "2160 hours are more than ten years of work of neighbourhood_police_north",
        "give the unit more hours",
    ),
    "a level that a unit's hours do not reach": Planted(
        both(hours('"sat 10:00-12:00"'), swap(M, "after_hours = 27", "after_hours = 1041")),
        M,
        "clocks.levels[2].after_hours",
        "1041 hours are more than ten years of work of neighbourhood_police_north",
        "write fewer",
    ),
    "an answer later than all": Planted(
        swap(C, "resolve_hours = 120", "resolve_hours = 120, answer_hours = 200"),
        C,
        "categories[0].targets.answer_hours",
        "longer than the time to resolve",
        "at most as many hours",
    ),
}
