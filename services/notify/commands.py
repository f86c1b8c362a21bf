"""The commands that only `notify` has: `explain`, `simulate`, `bounce`, and `subscriptions`."""

import argparse
import os
import sys
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, TypeVar

from services.notify import bouncing, explaining, subscription_commands
from services.notify.core.bounces import read_bounce
from shared import municipality, postgres
from shared.command import Program, add_command, on_database, say
from shared.errors import Refusal
from shared.events import hour_of
from shared.municipality import SOURCES, Municipality

# A bounce with the whole of what came back; ours are a few kilobytes.
BOUNCE_BYTES = 1_048_576
# What describes a report that is not here.
_DESCRIBING = ("category", "area", "answer", "source", "language", "at")

# So that a year that is mistyped is no moment that no zone has.
_YEARS = range(1970, 3000)
_Written = TypeVar("_Written", date, datetime)


def extend(commands: Any) -> None:
    """Add them to those that every service has."""
    does = (
        "say which rule takes a report, and why those before do not; of one that is here, or a described one"
    )
    asking = add_command(commands, "explain", does, _explain)
    asking.add_argument("report_id", type=_report_id, nargs="?", help="a report that is here")
    asking.add_argument("--category", help="of a described one: its category")
    asking.add_argument(
        "--area", type=subscription_commands.pair, action="append", default=[], metavar="SET=AREA"
    )
    asking.add_argument(
        "--answer", type=subscription_commands.pair, action="append", default=[], metavar="QUESTION=OPTION"
    )
    asking.add_argument("--source", help=f"{SOURCES[0]} where none is given")
    asking.add_argument("--language", help="a language tag; the municipality's first where none is given")
    asking.add_argument(
        "--at", type=_moment, help="when it was sent, such as 2026-11-28T23:00; now by default"
    )
    _add_folder(asking)
    does = "ask changed rules about the reports of a period, and say what would go to another unit"
    trying = add_command(commands, "simulate", does, _simulate)
    trying.add_argument("--from", dest="first", type=_day, required=True, help="its first day")
    trying.add_argument("--to", dest="last", type=_day, help="its last day; today by default")
    _add_folder(trying, required=True)
    does = "take a delivery status notification from standard input: what came back is given up"
    add_command(commands, "bounce", does, _bounce)
    subscription_commands.extend(commands)


def _add_folder(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    parser.add_argument(
        "--folder", type=Path, required=required, help="the changed municipality's folder, not yet deployed"
    )


def _report_id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise argparse.ArgumentTypeError("take a report's id from its unit's message, or the log") from None


def _moment(text: str) -> datetime:
    moment = _read(datetime.fromisoformat, text)
    if moment is None:
        raise argparse.ArgumentTypeError("write a moment such as 2026-11-28T23:00")
    return moment


def _day(text: str) -> date:
    day = _read(date.fromisoformat, text)
    if day is None:
        raise argparse.ArgumentTypeError("write a day such as 2026-11-28")
    return day


def _read(read: Callable[[str], _Written], text: str) -> _Written | None:
    try:
        found = read(text)
    except ValueError:
        return None
    return found if found.year in _YEARS else None


def _explain(program: Program, given: argparse.Namespace) -> None:
    described = [f"--{name}" for name in _DESCRIBING if getattr(given, name)]
    if given.report_id and described:
        raise Refusal(
            f"a report that is here is explained as it is; leave out {', '.join(described)}, or the id"
        )
    town = municipality.read(given.folder) if given.folder else _town(program)
    if given.report_id:
        on_database(program, lambda connection: explaining.of_report(connection, given.report_id, town, say))
        return
    if given.category is None:
        raise Refusal("nothing is named to explain; give a report's id, or describe one with --category")
    at = given.at or datetime.now(UTC)
    facts = explaining.described(
        town,
        category_id=given.category,
        areas=_areas(given.area),
        answers=_grouped(given.answer),
        source=given.source or SOURCES[0],
        language=given.language or town.languages[0],
        hour=hour_of(at if at.tzinfo else at.replace(tzinfo=town.tz)),
    )
    explaining.explain(facts, town, say)


def _simulate(program: Program, given: argparse.Namespace) -> None:
    town, changed = _town(program), municipality.read(given.folder)
    last = given.last or datetime.now(town.tz).date()
    if given.first > last:
        raise Refusal(
            f"--from is {given.first}, after the last day, {last}; give an earlier one, or another --to"
        )
    first, end = _begin_of(given.first, town), _begin_of(last + timedelta(days=1), town)
    on_database(program, lambda connection: explaining.simulate(connection, town, changed, first, end, say))


def _bounce(program: Program, _given: argparse.Namespace) -> None:
    found = read_bounce(sys.stdin.buffer.read(BOUNCE_BYTES))
    while sys.stdin.buffer.read(BOUNCE_BYTES):
        pass  # a mail server that cannot write all of it takes the command for broken
    if found is None or found.delivery_id is None:
        raise Refusal(
            "this is no delivery status notification about an e-mail of ours; give one on standard input as "
            "the mail server has it"
        )
    delivery_id = found.delivery_id
    if not found.failed:
        say(f"{delivery_id}: still under way, or delivered; nothing is changed")
        return
    town = _town(program)

    async def give_up(connection: Any) -> None:
        async with connection.transaction():
            changed = await bouncing.bounce(connection, delivery_id, town, datetime.now(UTC))
        if changed is None:
            raise Refusal(f"there is no delivery {delivery_id} by e-mail here: look in its own deployment")
        say(f"{delivery_id}: {'given up' if changed else 'it was over already'}")

    try:
        on_database(program, give_up)
    except Exception as error:
        if not postgres.is_transient(error):
            raise
        # A mail server keeps what it pipes to a program that ends so, and tries again.
        say(f"{delivery_id}: the database is away; try again")
        sys.exit(os.EX_TEMPFAIL)


def _begin_of(day: date, town: Municipality) -> datetime:
    return datetime.combine(day, time(), town.tz).astimezone(UTC)


def _town(program: Program) -> Municipality:
    settings: Any = program.settings.read()
    return municipality.read(settings.municipality)


def _areas(pairs: list[tuple[str, str]]) -> dict[str, str]:
    areas = dict(pairs)
    if len(areas) < len(pairs):
        raise Refusal("a report lies in one area of each set; give --area once for each")
    return areas


def _grouped(pairs: list[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        found[name] = (*found.get(name, ()), value)
    return found
