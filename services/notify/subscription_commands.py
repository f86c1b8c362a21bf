"""`subscriptions add`, `list`, `rotate`, `disable`, `enable`, `remove`: who is told of what by webhook.

Whoever changes something is in the journal (table mending). A secret is shown once, when it is made.
"""

import argparse
import re
import uuid
from collections.abc import Callable, Coroutine, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from pydantic import ValidationError

from services.notify import queries_subscriptions as queries
from services.notify.core.subscriptions import TYPES, Filter, secret
from services.notify.queries_subscriptions import Added, Listed
from shared import municipality
from shared.command import Program, add_command, add_mending, on_database, say
from shared.errors import Refusal
from shared.events import Status
from shared.mending.journal import kept_for, note
from shared.municipality import Municipality, Webhook

PREVIOUS_DAYS = 7.0
STATUSES: tuple[str, ...] = get_args(Status)
_NAME = re.compile(r"[a-z][a-z0-9-]{1,30}")
_CONTACT = re.compile(r"[!-~]+@[!-~]+\.[!-~]+")
# What a command does to a subscription; the generation of a secret that it made.
Work = Callable[[Any, Listed, argparse.Namespace], Coroutine[Any, Any, int | None]]


def extend(commands: Any) -> None:
    """Add them to the commands of `notify`."""
    does = "who is told of public events by webhook"
    parsers = commands.add_parser("subscriptions", help=does, description=does).add_subparsers(required=True)
    _add_adding(parsers)
    add_command(parsers, "list", "say who is told what, what waits for whom, and who is not called", _list)
    does = "make another secret; the one before is valid for some days more"
    rotating = _add_changing(parsers, "rotate", does, _rotate)
    rotating.add_argument(
        "--previous-days",
        type=float,
        default=PREVIOUS_DAYS,
        metavar="DAYS",
        help=f"so long the one before signs too ({PREVIOUS_DAYS:g}); 0 where somebody else knows it",
    )
    _add_changing(parsers, "disable", "call it no more; what happens is kept for it", _disable)
    does = "call it again; what waits for it goes, in order, and what was set aside is tried again"
    _add_changing(parsers, "enable", does, _enable)
    _add_changing(parsers, "remove", "forget it, and what waits for it", _remove)


def _add_adding(parsers: Any) -> None:
    adding = add_mending(
        parsers, "add", "tell somebody of public events from now on; prints the secret, once", _add
    )
    adding.add_argument("--name", required=True, help="such as parks-gis")
    adding.add_argument("--contact", required=True, metavar="ADDRESS", help="an e-mail address that is read")
    adding.add_argument("--url", required=True, help="what is called: https, or http to localhost")
    adding.add_argument("--type", required=True, choices=TYPES)
    adding.add_argument("--category", action="append", default=[], help="only issues of it; may be repeated")
    adding.add_argument(
        "--area",
        type=pair,
        action="append",
        default=[],
        metavar="SET=AREA",
        help="only issues in it; may be repeated: one area of each set that is named must fit",
    )
    adding.add_argument(
        "--status", action="append", default=[], choices=STATUSES, help="only issues that have it"
    )


def _add_changing(parsers: Any, name: str, does: str, work: Work) -> argparse.ArgumentParser:
    parser = add_mending(parsers, name, does, _changing(name, work))
    parser.add_argument("subscription", metavar="ID", help="the subscription's id, or its name")
    return parser


def _changing(name: str, work: Work) -> Callable[[Program, argparse.Namespace], None]:
    def run(program: Program, given: argparse.Namespace) -> None:
        settings: Any = program.settings.read()
        master = settings.subscription_secret.get_secret_value()

        async def change(connection: Any) -> None:
            async with kept_for(connection, given.by):
                found = await _found(connection, given.subscription)
                made = await work(connection, found, given)
                await _noted(connection, given, name, {"id": str(found.id), "name": found.name})
            if made and given.by is not None:
                _show_secret(master, found.id, made)

        on_database(program, change)

    return run


async def _noted(connection: Any, given: argparse.Namespace, name: str, detail: dict[str, Any]) -> None:
    if given.by is None:
        say("dry run: nothing was changed; with --by NAME it is")
    else:
        await note(connection, given.by, f"subscriptions {name}", detail)


async def _found(connection: Any, which: str) -> Listed:
    found = await queries.listed(connection, which)
    if not found:
        names = ", ".join(one.name for one in await queries.listed(connection)) or "none"
        raise Refusal(f"there is no subscription {which}; they are {names}")
    return found[0]


def _add(program: Program, given: argparse.Namespace) -> None:
    settings: Any = program.settings.read()
    town = municipality.read(settings.municipality)
    _check(given, town)
    areas: dict[str, frozenset[str]] = {}
    for area_set, area in given.area:
        areas[area_set] = areas.get(area_set, frozenset()) | {area}
    wanted = Filter(frozenset(given.category), areas, frozenset(given.status))
    added = Added(uuid.uuid4(), given.name, given.contact, given.url, given.type, wanted)
    master = settings.subscription_secret.get_secret_value()

    async def add(connection: Any) -> None:
        async with kept_for(connection, given.by):
            if not await queries.insert_subscription(connection, added):
                raise Refusal(
                    f"there is a subscription {added.name}; give another --name, or `subscriptions remove` it"
                )
            say(f"{added.name} is told of {' '.join(_wants(added.type, wanted))}, from now on")
            detail = {"id": str(added.id), "name": added.name, "type": added.type}
            await _noted(connection, given, "add", detail)
        if given.by is not None:
            say(f"id      {added.id}")
            _show_secret(master, added.id, 1)

    on_database(program, add)


def _show_secret(master: str, subscription_id: uuid.UUID, generation: int) -> None:
    """After the commit: a secret that is shown is one that signs."""
    say(f"secret  {secret(master, subscription_id, generation)}")
    say("it is not shown again; give it to the subscriber by a way that keeps secrets")


def _check(given: argparse.Namespace, town: Municipality) -> None:
    """Raise Refusal for what would never work."""
    if not _NAME.fullmatch(given.name):
        raise Refusal("a subscription's name is 2 to 31 of a-z, 0-9 and -, a letter first, such as parks-gis")
    if not (
        _CONTACT.fullmatch(given.contact) and given.contact.count("@") == 1 and len(given.contact) <= 254
    ):
        raise Refusal(
            "a subscription's contact is one e-mail address in ASCII, where it is asked why its system does "
            "not answer; give --contact and an address that is read, such as gis@parks.example"
        )
    try:
        Webhook(kind="webhook", url=given.url)
    except ValidationError as error:
        told = error.errors()[0].get("ctx", {})
        problem, mend = told.get("problem", "this is no address"), told.get("mend", "write https://…")
        raise Refusal(f"--url cannot be called: {problem}; {mend}") from None
    if given.type != "IssueChanged" and (given.category or given.area or given.status):
        raise Refusal(
            f"{given.type} has no --category, --area or --status: a release is one signed whole; "
            "leave them out"
        )
    public = [one.id for one in town.categories.values() if one.public]
    for category in given.category:
        if category not in public:
            raise Refusal(f"there is no public category {category}; they are {', '.join(public)}")
    for area_set, area in given.area:
        if area_set not in town.area_sets:
            raise Refusal(f"there is no area set {area_set}; they are {', '.join(town.area_sets)}")
        if area not in town.area_sets[area_set].areas:
            areas = ", ".join(town.area_sets[area_set].areas)
            raise Refusal(f"there is no area {area} in {area_set}; they are {areas}")


def pair(text: str) -> tuple[str, str]:
    """What is written as NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError("write NAME=VALUE, such as district=centre")
    return name, value


def _list(program: Program, _given: argparse.Namespace) -> None:
    async def show(connection: Any) -> None:
        found = await queries.listed(connection)
        for line in lines(found, datetime.now(UTC)):
            say(line)

    on_database(program, show)


def lines(found: Sequence[Listed], now: datetime) -> list[str]:
    """What `list` says."""
    if not found:
        return ["there are no subscriptions; `subscriptions add` makes one"]
    return [line for one in found for line in _told(one, now)]


def _told(one: Listed, now: datetime) -> Iterator[str]:
    yield f"{one.name}   {one.id}"
    yield f"    {' '.join(_wants(one.type, one.filter))}"
    yield f"    to {one.url}, contact {one.contact}"
    failure = f", last failure {one.last_failure}" if one.last_failure else ""
    if one.disabled_at:
        why = "for days it did nothing but fail" if one.disabled_why == "failing" else "by command"
        yield f"    DISABLED since {_day(one.disabled_at)}, {why}{failure}; `subscriptions enable {one.name}`"
    elif one.failing_since:
        yield f"    failing since {_day(one.failing_since)}{failure}"
    else:
        yield "    enabled"
    waits = f", the oldest since {_day(one.since)}" if one.since else ""
    waits += f" ({one.why})" if one.why else ""
    yield f"    {one.open} waiting{waits}"
    if one.set_aside:
        since = f" since {_day(one.set_aside_since)}" if one.set_aside_since else ""
        yield (
            f"    {one.set_aside} SET ASIDE{since}, which it refused ({one.refusal}); "
            f"`subscriptions enable {one.name}` sends them again"
        )
    if one.previous_until and now < one.previous_until:
        yield f"    secret {one.generation}; the one before signs too until {_day(one.previous_until)}"


def _wants(type_: str, wanted: Filter) -> Iterator[str]:
    yield type_
    yield from (f"category={category}" for category in sorted(wanted.categories))
    for area_set, areas in sorted(wanted.areas.items()):
        yield from (f"{area_set}={area}" for area in sorted(areas))
    yield from (f"status={status}" for status in sorted(wanted.statuses))


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


async def _rotate(connection: Any, found: Listed, given: argparse.Namespace) -> int:
    now = datetime.now(UTC)
    if not 0 <= given.previous_days <= 365:
        raise Refusal("--previous-days must be from 0 to 365")
    if found.previous_until and now < found.previous_until and given.previous_days:
        raise Refusal(
            f"{found.name} was given another secret already, and the one before signs until "
            f"{_day(found.previous_until)}; wait until then, or end it at once with --previous-days 0"
        )
    until = now + timedelta(days=given.previous_days)
    generation = await queries.next_generation(connection, found.id, until)
    say(f"{found.name} has secret {generation}; the one before signs too until {_day(until)}")
    return generation


async def _disable(connection: Any, found: Listed, _given: argparse.Namespace) -> None:
    if found.disabled_at:
        raise Refusal(f"{found.name} is disabled already, since {_day(found.disabled_at)}; nothing is to do")
    await queries.disable(connection, found.id, datetime.now(UTC))
    say(f"{found.name} is called no more; what happens is kept for it until `subscriptions enable`")


async def _enable(connection: Any, found: Listed, _given: argparse.Namespace) -> None:
    if not found.disabled_at and not found.set_aside:
        raise Refusal(f"{found.name} is enabled already; what waits for it is tried again by itself")
    await queries.enable(connection, found.id, datetime.now(UTC))
    say(f"{found.name} is called again; {found.open} waiting events go, in order")
    if found.set_aside:
        say(f"{found.set_aside} that were set aside go too, after what came later and has gone meanwhile")


async def _remove(connection: Any, found: Listed, _given: argparse.Namespace) -> None:
    await queries.remove(connection, found.id)
    say(f"{found.name} is removed, and {found.open + found.set_aside} events that waited for it")
