"""The commands that only `tips` has: `disclosures`, `keys`, `retention`, `hold`, `restored`, `issues`."""

import argparse
import re
import sys
import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Any

from services.tips import auditing, holding, month_keys, recovery, retention, saying_again
from services.tips.core import keeping as rules
from services.tips.core.chain import CHAINS, Mark
from services.tips.keys import KeyFolder
from shared import municipality
from shared.command import Program, add_command, add_mending, on_database, say
from shared.mending.journal import kept_for, note

_HEAD = re.compile(rf"({'|'.join(CHAINS)}):([0-9]{{1,18}}):([0-9a-f]{{64}})", re.ASCII)
_REASON = re.compile(r"[a-z][a-z0-9_]{0,39}", re.ASCII)


def extend(commands: Any) -> None:
    """Add them to those that every service has."""
    log = commands.add_parser("disclosures", help="the log of what was done with words")
    _add_disclosures(log.add_subparsers(required=True))
    _add_keys(commands.add_parser("keys", help="the months' keys").add_subparsers(required=True))
    keeping = commands.add_parser("retention", help="what ends by itself").add_subparsers(required=True)
    add_mending(keeping, "run", "end now what has come to its end, as the service does hourly", _run)
    _add_hold(commands.add_parser("hold", help="what must stay").add_subparsers(required=True))
    add_mending(
        commands,
        "restored",
        "a backup was restored and Kafka is gone: forget what nobody can know",
        _restored,
    )
    public = commands.add_parser("issues", help="what is public").add_subparsers(required=True)
    add_mending(public, "say-again", "say every public issue again, for a topic made anew", _say_again)


def _add_disclosures(commands: Any) -> None:
    checking = add_command(commands, "verify", "walk both chains; 1 where one is broken", _verify)
    checking.add_argument(
        "--head",
        action="append",
        default=[],
        type=_head,
        metavar="CHAIN:NUMBER:HASH",
        help="what it said before, and must still be so; more than once for more",
    )
    giving = add_command(commands, "export", "entries as CSV, for an auditor", _export)
    giving.add_argument("--report-id", type=uuid.UUID, help="those of one report")
    giving.add_argument("--from", dest="first", type=date.fromisoformat, help="from this day on (UTC)")
    giving.add_argument("--to", dest="last", type=date.fromisoformat, help="up to this day, included (UTC)")


def _add_keys(commands: Any) -> None:
    add_command(commands, "list", "each key: its state, what is under it, when it ends", _list_keys)
    making = add_mending(commands, "make", "make next month's, to back them up before it begins", _make)
    making.add_argument("--this-month", action="store_true", help="this month's instead")
    turning = add_mending(commands, "rotate", "another key for all that is under one", _rotate)
    turning.add_argument("name", help="the key that somebody may know")
    ending = add_mending(commands, "destroy", "destroy a key that nothing is under", _destroy)
    ending.add_argument("name", help="the key")
    ending.add_argument("--even-so", action="store_true", help="erase the reports under it")


def _add_hold(commands: Any) -> None:
    add_command(commands, "list", "each hold: why and until when", _list_holds)
    placing = add_mending(commands, "place", "keep a report's words, or keep them longer", _place)
    placing.add_argument("report_id", type=uuid.UUID)
    placing.add_argument("--reason", type=_reason, required=True, help="a code such as court_order")
    placing.add_argument("--until", type=date.fromisoformat, required=True, help="its last day (UTC)")
    placing.add_argument(
        "--erase-after", action="store_true", help="its resident asked to erase it: nobody reads it meanwhile"
    )
    lifting = add_mending(commands, "lift", "end a hold before its time", _lift)
    lifting.add_argument("report_id", type=uuid.UUID)


def _verify(program: Program, given: argparse.Namespace) -> None:
    noted: dict[str, list[Mark]] = {}
    for chain, mark in given.head:
        noted.setdefault(chain, []).append(mark)
    on_database(program, lambda connection: auditing.verify(connection, noted, say))


def _export(program: Program, given: argparse.Namespace) -> None:
    first = _midnight(given.first or date(1970, 1, 1))
    end = _midnight(given.last) + timedelta(days=1) if given.last else datetime.max.replace(tzinfo=UTC)

    async def work(connection: Any) -> None:
        async with connection.transaction(readonly=True):
            entries = auditing.entries_of(connection, given.report_id, first, end)
            await auditing.export(entries, sys.stdout)

    on_database(program, work)


def _list_keys(program: Program, _given: argparse.Namespace) -> None:
    keys, _ = _surroundings(program)
    on_database(program, lambda connection: month_keys.show(connection, keys, say))


def _make(program: Program, given: argparse.Namespace) -> None:
    keys, town = _surroundings(program)
    month = _now() if given.this_month else rules.next_month(_now())
    names = rules.month_names(town.categories.values(), month)
    on_database(program, lambda connection: month_keys.make(connection, keys, names, given.by, say))


def _rotate(program: Program, given: argparse.Namespace) -> None:
    keys, _ = _surroundings(program)
    on_database(program, lambda connection: month_keys.rotate(connection, keys, given.name, given.by, say))


def _destroy(program: Program, given: argparse.Namespace) -> None:
    keys, town = _surroundings(program)
    on_database(
        program,
        lambda connection: month_keys.destroy(
            connection,
            keys,
            given.name,
            _now(),
            given.by,
            say,
            even_so=given.even_so,
            source=_source(town),
        ),
    )


def _run(program: Program, given: argparse.Namespace) -> None:
    keys, town = _surroundings(program)

    async def work(connection: Any) -> None:
        if given.by is None:
            await retention.plan(connection, keys, town, _now(), say)
            say("dry run: nothing was changed; with --by NAME it is")
        else:
            await retention.run(connection, keys, town, _now(), given.by, say)

    on_database(program, work)


def _restored(program: Program, given: argparse.Namespace) -> None:
    async def work(connection: Any) -> None:
        async with kept_for(connection, given.by):
            for line in await recovery.doubt(connection, _now()):
                say(line)
            if given.by is not None:
                await note(connection, given.by, "restored", {})
        if given.by is None:
            say("dry run: nothing was changed; with --by NAME it is")

    on_database(program, work)


def _list_holds(program: Program, _given: argparse.Namespace) -> None:
    on_database(program, lambda connection: holding.show(connection, say))


def _place(program: Program, given: argparse.Namespace) -> None:
    _, town = _surroundings(program)
    on_database(
        program,
        lambda connection: holding.place(
            connection,
            given.report_id,
            given.reason,
            given.until,
            _now(),
            given.by,
            say,
            erase_after=given.erase_after,
            source=_source(town),
        ),
    )


def _lift(program: Program, given: argparse.Namespace) -> None:
    _, town = _surroundings(program)
    on_database(
        program,
        lambda connection: holding.lift(connection, given.report_id, _now(), given.by, say, _source(town)),
    )


def _say_again(program: Program, given: argparse.Namespace) -> None:
    _, town = _surroundings(program)
    categories = [one.id for one in town.categories.values() if one.public]
    on_database(
        program,
        lambda connection: saying_again.say_again(
            connection, categories, _source(town), _now(), given.by, say
        ),
    )


def _surroundings(program: Program) -> tuple[KeyFolder, municipality.Municipality]:
    settings: Any = program.settings.read()
    return KeyFolder(settings.key_folder), municipality.read(settings.municipality)


def _source(town: municipality.Municipality) -> str:
    return f"/{town.slug}/tips"


def _head(text: str) -> tuple[str, Mark]:
    found = _HEAD.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError("give what `disclosures verify` said: CHAIN:NUMBER:HASH")
    return found[1], Mark(int(found[2]), bytes.fromhex(found[3]))


def _reason(text: str) -> str:
    if not _REASON.fullmatch(text):
        raise argparse.ArgumentTypeError("a code of a-z 0-9 _, such as court_order: nobody's sentences")
    return text


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _now() -> datetime:
    return datetime.now(UTC)
