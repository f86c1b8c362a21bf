"""The commands that only `stats` has: `releases`, `ledger`, `verify`, `privacy`, `spec`,
`close-history`, `say-again`, `disown-key` and `import-incidents`."""

import argparse
import asyncio
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from services.stats import importing, queries_releases, saying_again, verifying
from services.stats.config import ImportSettings
from services.stats.core.export import read_mapping
from services.stats.core.facts import facts
from services.stats.core.spec import SUBJECTS, spec_of
from services.stats.disowning import disown
from services.stats.history import close_history
from shared import municipality
from shared.command import Program, add_command, add_mending, on_both, on_database, say
from shared.errors import Refusal


def extend(commands: Any) -> None:
    """Add them to a parser's commands."""
    add_command(commands, "releases", "say what was released, and which periods wait for what", _releases)
    add_command(commands, "ledger", "say what releases have spent of each report and incident", _ledger)
    does = "hold the topic of releases against chain, signatures, database, ledger and budget"
    verify = add_command(commands, "verify", does, _verify)
    left = "so many records of the topic, looked at before, are no release; all else must agree"
    verify.add_argument("--left", type=int, default=0, metavar="N", help=left)
    add_command(commands, "privacy", "say what is published and what it spends, as Markdown", _privacy)
    keeps = (
        "print the folder's spec as one line of JSON, to be kept in statistics-former before it is changed"
    )
    add_command(commands, "spec", keeps, _spec).add_argument(
        "--folder", type=Path, help="another than the municipality's, such as that folder as it was"
    )
    closing = add_mending(
        commands, "close-history", "release the past, once all of it is imported", _close_history
    )
    closing.add_argument("--subject", required=True, choices=SUBJECTS, help="whose past is complete")
    closing.add_argument(
        "--until", type=date.fromisoformat, metavar="YYYY-MM-DD", help="the last day that its past knows of"
    )
    lost = "send the releases again that their topic lost and `outbox resend` cannot"
    add_mending(commands, "say-again", lost, _say_again)
    strange = "leave releases by a key that was never yours where they are on the topic"
    disowning = add_mending(commands, "disown-key", strange, _disown_key)
    disowning.add_argument("key", help="the key, as stats' refusal names it")
    importing_ = add_command(
        commands, "import-incidents", "publish a police export, as the police's user of Kafka", _import
    )
    importing_.add_argument("file", type=Path, help="CSV, or JSON lines (.jsonl); may be packed (.gz)")
    importing_.add_argument("--mapping", type=Path, required=True, help="a TOML file: what its columns mean")


def _import(_program: Program, given: argparse.Namespace) -> None:
    try:
        settings = ImportSettings.read()
        by = read_mapping(given.mapping.read_text(encoding="utf-8"))
        town = municipality.read(settings.municipality)
        fates = asyncio.run(importing.import_file(settings.kafka, given.file, by, town))
    except (OSError, UnicodeDecodeError) as error:
        raise Refusal(f"a file cannot be used: {error}") from error
    for fate, count in fates.most_common():
        say(f"{count} {fate}")
    importing.check_fates(given.file.name, fates)


# What each state of a period that is not released waits for.
_WAITS = {
    "history": "waits for close-history, once its past is imported",
    "open": "closes then",
    "closed": "waits until everything is applied that was written by then",
    "frozen": "is released next",
}


def _releases(program: Program, _given: argparse.Namespace) -> None:
    async def listing(connection: Any) -> None:
        for number, one in (await queries_releases.kept(connection)).items():
            shown = "" if one.shown else ", on its way to the topic"
            at = f"{one.released_at:%Y-%m-%dT%H:%MZ}"
            say(f"{number} {one.table} {one.period} {one.edition}: {one.state} at {at}{shown}")
        for period in await queries_releases.waiting(connection, datetime.now(UTC)):
            say(f"- {period.table} {period.name}: {period.closes_at:%Y-%m-%dT%H:%MZ}, {_WAITS[period.state]}")

    on_database(program, listing)


def _ledger(program: Program, _given: argparse.Namespace) -> None:
    async def listing(connection: Any) -> None:
        debits = await queries_releases.spent(connection)
        for line in verifying.lines_of_ledger(debits.values()):
            say(line)
        if not debits:
            say("nothing was released, so nothing is spent")

    on_database(program, listing)


def _privacy(program: Program, _given: argparse.Namespace) -> None:
    for line in facts(spec_of(municipality.read(program.settings.read().municipality))):
        say(line)


def _spec(program: Program, given: argparse.Namespace) -> None:
    say(spec_of(municipality.read(given.folder or program.settings.read().municipality)).model_dump_json())


def _verify(program: Program, given: argparse.Namespace) -> None:
    on_both(program, lambda connection, where: verifying.verify(connection, where, say, given.left))


def _say_again(program: Program, given: argparse.Namespace) -> None:
    source = f"/{municipality.read(program.settings.read().municipality).slug}/stats"
    on_both(
        program, lambda connection, where: saying_again.say_again(connection, where, source, given.by, say)
    )


def _disown_key(program: Program, given: argparse.Namespace) -> None:
    on_database(program, lambda connection: disown(connection, given.key, given.by, say))


def _close_history(program: Program, given: argparse.Namespace) -> None:
    today = datetime.now(UTC).date()
    on_database(
        program,
        lambda connection: close_history(connection, given.subject, given.until, given.by, today, say),
    )
