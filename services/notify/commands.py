"""The commands that only `notify` has: `explain`, `simulate`, and `subscriptions`."""

import argparse
import uuid
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from services.notify import explaining, subscription_commands
from shared import municipality
from shared.command import Program, add_command, on_database, say
from shared.events import hour_of
from shared.municipality import Municipality


def extend(commands: Any) -> None:
    """Add them to those that every service has."""
    does = (
        "say which rule takes a report, and why those before do not; of one that is here, or a described one"
    )
    asking = add_command(commands, "explain", does, _explain)
    asking.add_argument("report_id", type=uuid.UUID, nargs="?", help="a report that is here")
    asking.add_argument("--category", help="of a described one: its category")
    asking.add_argument("--area", type=_pair, action="append", default=[], metavar="SET=AREA")
    asking.add_argument("--answer", type=_pair, action="append", default=[], metavar="QUESTION=OPTION")
    asking.add_argument("--source", default="web")
    asking.add_argument("--language", help="a language tag; the municipality's first where none is given")
    asking.add_argument(
        "--at", type=datetime.fromisoformat, help="when it was sent, such as 2026-11-28T23:00; now by default"
    )
    _add_folder(asking)
    does = "ask changed rules about the reports of a period, and say what would go to another unit"
    trying = add_command(commands, "simulate", does, _simulate)
    trying.add_argument("--from", dest="first", type=date.fromisoformat, required=True, help="its first day")
    trying.add_argument("--to", dest="last", type=date.fromisoformat, help="its last day; today by default")
    _add_folder(trying, required=True)
    subscription_commands.extend(commands)


def _add_folder(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    parser.add_argument(
        "--folder", type=Path, required=required, help="the changed municipality's folder, not yet deployed"
    )


def _explain(program: Program, given: argparse.Namespace) -> None:
    town = municipality.read(given.folder) if given.folder else _town(program)
    if given.report_id:
        on_database(program, lambda connection: explaining.of_report(connection, given.report_id, town, say))
        return
    at = given.at or datetime.now(UTC)
    facts = explaining.described(
        town,
        category_id=given.category,
        areas=dict(given.area),
        answers=_grouped(given.answer),
        source=given.source,
        language=given.language or town.languages[0],
        hour=hour_of(at if at.tzinfo else at.replace(tzinfo=town.tz)),
    )
    explaining.explain(facts, town, say)


def _simulate(program: Program, given: argparse.Namespace) -> None:
    town, changed = _town(program), municipality.read(given.folder)
    last = given.last or datetime.now(town.tz).date()
    first, end = _begin_of(given.first, town), _begin_of(last + timedelta(days=1), town)
    on_database(program, lambda connection: explaining.simulate(connection, town, changed, first, end, say))


def _begin_of(day: date, town: Municipality) -> datetime:
    return datetime.combine(day, time(), town.tz).astimezone(UTC)


def _town(program: Program) -> Municipality:
    settings: Any = program.settings.read()
    return municipality.read(settings.municipality)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError("write NAME=VALUE, such as district=centre")
    return name, value


def _grouped(pairs: list[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        found[name] = (*found.get(name, ()), value)
    return found
