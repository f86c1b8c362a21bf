"""The command line of a service: run it, migrate its database, or mend what broke."""

import argparse
import asyncio
import gc
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import uvloop
from aiokafka.errors import KafkaError

from shared import cores, kafka, logs, postgres
from shared.consumer import Apply
from shared.errors import Refusal
from shared.mending.again import read_again
from shared.mending.gaps import accept_gap
from shared.mending.recover import Recover, recover
from shared.mending.replay import Filter, replay
from shared.mending.resend import resend
from shared.service import EXIT_STUCK, Service
from shared.settings import DatabaseSettings, MendingSettings, ServiceSettings
from shared.watchdog import Stuck

EXIT_REFUSED, EXIT_INTERRUPTED, EXIT_UNREAD = 1, 130, 141
REPLAY_RATE = 50.0
GC_THRESHOLDS = (50_000, 20, 50)

log = structlog.get_logger()


@dataclass(frozen=True)
class Program:
    """What a service brings: `serve` runs it, `applying` makes what it does with others' events, `recovering`
    what it takes back from its own, `extend` adds commands of its own (see `add_mending`)."""

    name: str
    settings: type[ServiceSettings]
    migrations: Path
    serve: Callable[[Any, Service], Awaitable[None]]
    applying: Callable[[Any], Apply]
    recovering: Callable[[Any], Recover]
    # Adds commands that only this service has to those of its parser.
    extend: Callable[[Any], None] = lambda _commands: None

    @property
    def folders(self) -> Sequence[Path]:
        return [postgres.SHARED_MIGRATIONS, self.migrations]


def main(program: Program) -> int:
    """Do what the command line says. Returns the exit code: 0, 1 refused, 70 stuck or crashed, 130.
    Exits with 141 where nobody reads what it says any more."""
    cores.leave_none()
    arguments = _parser(program).parse_args()
    # Before anything can fail: the default would print local variables, and with them a password.
    logs.configure(program.name)
    try:
        arguments.run(program, arguments)
    except Refusal as refusal:
        _say_no(program, str(refusal))
        return EXIT_REFUSED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Stuck as stuck:
        log.error("stuck", reason=str(stuck))
        return EXIT_STUCK
    except KafkaError as error:
        _say_no(program, f"Kafka does not answer as it must ({type(error).__name__}); is it up?")
        return EXIT_REFUSED
    except Exception as error:
        # A service that runs waits for its database or is started anew; a command is run again by a person.
        away = arguments.run is not _run and postgres.is_transient(error)
        if away or isinstance(error, postgres.UNUSABLE):
            why = f"the database cannot be used ({type(error).__name__}); check IBUURT_DATABASE_URL"
            _say_no(program, why)
            return EXIT_REFUSED
        log.error("crashed", exc_info=error)
        return EXIT_STUCK
    return 0


def _say_no(program: Program, why: str) -> None:
    print(f"{program.name}: {why}", file=sys.stderr)


def say(line: str) -> None:
    """A line of a command's answer. Raises SystemExit where whoever reads it has gone, such as `head`."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        # What is left goes nowhere, or Python would complain when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_UNREAD)


def _run(program: Program, _arguments: argparse.Namespace) -> None:
    settings = program.settings.read()
    logs.configure(program.name, settings.log_level)
    collect_rarely()
    uvloop.run(_serve(program, settings))


def collect_rarely() -> None:
    """Have Python look for cycles rarely. Batches of thousands of records live here at once, with no cycle
    among them: by its defaults the collector walks through all of them again and again."""
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


async def _serve(program: Program, settings: ServiceSettings) -> None:
    dsn = settings.database_url.get_secret_value()
    await postgres.wait_until_up(dsn)
    await postgres.check_migrated(dsn, program.folders)
    await kafka.check_access(settings.kafka)
    pool = await postgres.open_pool(dsn, program.name)
    await program.serve(settings, Service(program.name, settings, pool))


def _migrate(program: Program, _arguments: argparse.Namespace) -> None:
    dsn = DatabaseSettings.read().database_url.get_secret_value()
    applied = asyncio.run(postgres.migrate(dsn, program.folders))
    say(f"{program.name}: {len(applied)} migrations applied {' '.join(applied)}".rstrip())


def _mend(program: Program, work: Callable[[str, Any], Coroutine[Any, Any, None]]) -> None:
    """Run `work` on this service's database and Kafka, with only its progress on the screen."""
    settings = MendingSettings.read()
    dsn = settings.database_url.get_secret_value()

    async def checked() -> None:
        await postgres.check_migrated(dsn, program.folders)
        await kafka.check_access(settings.kafka)
        await work(dsn, settings.kafka)

    asyncio.run(checked())


def on_database(program: Program, work: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
    """Run `work` with a connection to this service's database, which is migrated; Kafka may be away."""
    dsn = DatabaseSettings.read().database_url.get_secret_value()

    async def checked() -> None:
        await postgres.check_migrated(dsn, program.folders)
        connection = await postgres.connect(dsn, f"{program.name}-command")
        try:
            await work(connection)
        finally:
            await connection.close()

    asyncio.run(checked())


def on_both(program: Program, work: Callable[[Any, Any], Coroutine[Any, Any, None]]) -> None:
    """Run `work` with a connection to this service's database and with its Kafka."""

    async def connected(dsn: str, where: Any) -> None:
        connection = await postgres.connect(dsn, f"{program.name}-command")
        try:
            await work(connection, where)
        finally:
            await connection.close()

    _mend(program, connected)


def _resend(program: Program, given: argparse.Namespace) -> None:
    _mend(
        program,
        lambda dsn, where: resend(
            dsn,
            where,
            program.name,
            topic=given.topic,
            partition=given.partition,
            from_number=given.from_number,
            who=given.by,
            say=say,
        ),
    )


def _recover(program: Program, given: argparse.Namespace) -> None:
    take_back = program.recovering(program.settings.read())
    _mend(
        program,
        lambda dsn, where: recover(
            dsn,
            where,
            program.name,
            take_back,
            deliver_again=given.deliver_again,
            first_counts=given.first_counts,
            who=given.by,
            say=say,
        ),
    )


def _accept_gap(program: Program, given: argparse.Namespace) -> None:
    _mend(
        program,
        lambda dsn, where: accept_gap(
            dsn, where, program.name, given.topic, given.partition, who=given.by, say=say
        ),
    )


def _read_again(program: Program, given: argparse.Namespace) -> None:
    _mend(
        program,
        lambda dsn, where: read_again(dsn, where, program.name, given.topic, who=given.by, say=say),
    )


def _replay(program: Program, given: argparse.Namespace) -> None:
    apply = program.applying(program.settings.read())
    chosen = Filter(given.topic, given.reason, given.event)
    _mend(
        program,
        lambda dsn, where: replay(
            dsn, where, program.name, apply, chosen, rate=given.rate, who=given.by, say=say
        ),
    )


def _parser(program: Program) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m services.{program.name}",
        epilog="Settings come from environment variables: "
        + "; ".join(
            f"IBUURT_{key.upper()}: {field.description}"
            for key, field in program.settings.model_fields.items()
        ),
    )
    parser.set_defaults(run=_run)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", help="run, where none is named")
    commands.add_parser("run", help="run the service").set_defaults(run=_run)
    commands.add_parser("migrate", help="migrate its database").set_defaults(run=_migrate)

    outbox = commands.add_parser("outbox", help="what this service sends").add_subparsers(required=True)
    sending = add_mending(outbox, "resend", "send again what a topic lost, under the numbers it had", _resend)
    sending.add_argument("--topic", help="only this topic")
    sending.add_argument("--partition", type=int, help="only this partition of each topic")
    sending.add_argument(
        "--from-number", type=int, help="everything from this number on, whatever the topic holds"
    )

    back = add_mending(
        outbox, "recover", "after a backup was restored: take back what the topics know", _recover
    )
    back.add_argument(
        "--deliver-again", action="store_true", help="what no event says arrived may go to its unit again"
    )
    back.add_argument(
        "--first-counts",
        action="store_true",
        help="where another writer was: take the first record under each number, as every reader did",
    )

    consumer = commands.add_parser("consumer", help="what this service reads").add_subparsers(required=True)
    gap = add_mending(consumer, "accept-gap", "go on without numbers that will never come", _accept_gap)
    gap.add_argument("--topic", required=True)
    gap.add_argument("--partition", type=int, required=True)

    anew = add_mending(
        consumer, "read-again", "read a topic whole that holds other events than were applied", _read_again
    )
    anew.add_argument("--topic", required=True)

    letters = commands.add_parser("dead-letters", help="what it could not read").add_subparsers(required=True)
    again = add_mending(letters, "replay", "apply in this service's database what can be read now", _replay)
    again.add_argument("--topic", help="only what stood on this topic")
    again.add_argument("--reason", help="only what was set aside for this reason, such as unknown_category")
    again.add_argument("--event", help="only the event of this id (ce_id)")
    again.add_argument(
        "--rate", type=float, default=REPLAY_RATE, help=f"at most so many a second ({REPLAY_RATE:g})"
    )
    program.extend(commands)
    return parser


Run = Callable[[Program, argparse.Namespace], None]


def add_command(commands: Any, name: str, does: str, run: Run) -> argparse.ArgumentParser:
    """A command that changes nothing, or that asks nobody's name."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=does, description=does)
    parser.set_defaults(run=run)
    return parser


def add_mending(commands: Any, name: str, does: str, run: Run) -> argparse.ArgumentParser:
    """A command that says what it would do, or does it in somebody's name."""
    parser = add_command(commands, name, does, run)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--dry-run", action="store_true", help="only say what would be done")
    by = "do it; NAME goes into the journal (table mending)"
    which.add_argument("--by", metavar="NAME", type=_name, help=by)
    return parser


def _name(text: str) -> str:
    """Of a person; a variable that is not set is nobody's."""
    if not text.strip() or not text.isprintable():
        raise argparse.ArgumentTypeError("write who does it, such as --by jansen")
    return text
