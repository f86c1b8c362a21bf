"""Lives of a `stats` that end by SIGKILL at a boundary: `python -m tests.privacy.dying DSN KAFKA`.

Each line of its input is a list of lives, as JSON; they are lived at the same time, each in a child that has
everything imported, and the answer says how they ended. A boundary is before and after each statement about
periods and releases, each commit, and each time that something is sent. Lives do what app.serve does for
releases, until nothing is left to do; but what was sent is read back as at a start, and not in a consumer's
group, which would wait ten seconds for every dead member.
"""

import asyncio
import functools
import inspect
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from datetime import datetime
from fractions import Fraction
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from asyncpg.transaction import Transaction

from services.stats import noise, queries_releases, reading
from services.stats.closing import Closing
from services.stats.core.release import noisy, unsigned
from services.stats.core.spec import tally
from shared import kafka, outbox
from shared.cloudevents import Envelope, derived_id, to_record, to_value
from shared.events import StatisticsReleased
from shared.relay import Relay
from tests.integration.stats_harness import Stats, stats_of
from tests.privacy.stepping import run_until_done

PUBLISHED = "after a figure was published"


class Life(NamedTuple):
    """When it is, by its clock (ISO); before how many boundaries it dies, 0 for never, and of which name,
    any where that is empty; and whether it draws, publishes and records, in this order and nothing else."""

    now: str
    hits: int = 0
    point: str = ""
    records_last: bool = False


class End(NamedTuple):
    """How a life ended: its exit code, the boundary where it died, and how many it had passed."""

    code: int
    point: str
    passed: int


class Fuse:
    """Counts the boundaries of this process, and ends it."""

    def __init__(self, life: Life, out: int) -> None:
        self._life, self._out = life, out
        self.passed = 0

    def reached(self, point: str) -> None:
        if self._life.point not in ("", point):
            return
        self.passed += 1
        if self.passed == self._life.hits:
            self.tell(point)
            os.kill(os.getpid(), signal.SIGKILL)

    def tell(self, point: str) -> None:
        os.write(self._out, json.dumps([point, self.passed]).encode())


def lay(fuse: Fuse) -> None:
    """Have every boundary of this process reach the fuse."""
    for module, names in (
        (queries_releases, None),
        (reading, ("take",)),
        (outbox, ("append", "claim", "unsent_batches", "mark_sent")),
        (Transaction, ("start", "_Transaction__commit")),
        (AIOKafkaProducer, ("send_batch",)),
        (Relay, ("send",)),
    ):
        for name, function in list(vars(module).items()):
            if inspect.iscoroutinefunction(function) and (names is None or name in names):
                setattr(module, name, _between(fuse, name.removeprefix("_Transaction__"), function))


def _between(fuse: Fuse, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    # The relay asks again and again whether there is anything to claim.
    idles = name == "claim"

    @functools.wraps(function)
    async def called(*args: Any, **kwargs: Any) -> Any:
        if not idles:
            fuse.reached(f"before {name}")
        result = await function(*args, **kwargs)
        if result or not idles:
            fuse.reached(f"after {name}")
        return result

    return called


async def live(bootstrap: str, dsn: str, life: Life, fuse: Fuse) -> None:
    """One life, to its own end."""
    async with stats_of(bootstrap, dsn, now=datetime.fromisoformat(life.now)) as stats:
        if life.records_last:
            await _record_last(stats, fuse)
            return
        await run_until_done(stats)


async def _record_last(stats: Stats, fuse: Fuse) -> None:
    """A planted bug: count and draw when it is due, publish, and only then write down that it was done."""
    producer = kafka.producer(stats.bootstrap, "planted")
    await producer.start()

    async def released(closing: Closing, connection: Any, one: Mapping[str, Any]) -> None:
        spec = closing._specs[one["spec"]]
        table = spec.table(one["table_id"])
        now = stats.now
        row = await connection.fetchrow(
            "SELECT begins, ends FROM period WHERE table_id = $1 AND name = $2", table.id, one["name"]
        )
        asked = queries_releases.report_groups
        if table.subject == "incidents":
            asked = queries_releases.incident_groups
        counts = tally(table, await asked(connection, row["begins"], row["ends"]))
        after = await queries_releases.last_link(connection)
        cells = noisy(table, counts, noise.draw(table.scale, len(counts)))
        signed = closing._signer.sign(unsigned(spec, table, one["name"], after, cells))
        event_id = derived_id(signed.release_id, StatisticsReleased)
        sent = to_record(Envelope.of(signed, id=event_id, source="/town/stats", now=now))
        await producer.send_and_wait(sent.topic, sent.value, sent.key, 0, sent.timestamp, list(sent.headers))
        fuse.reached(PUBLISHED)
        await queries_releases.debit(
            connection, table.id, one["name"], one["begins"], Fraction(1, table.scale)
        )
        await queries_releases.insert_release(connection, signed, to_value(signed) or b"", now, now)

    setattr(Closing, "_release", released)  # noqa: B010 - mypy refuses the plain assignment
    try:
        await stats.closing.freeze()
        await stats.closing.release()
    finally:
        await producer.stop()


def _fork(bootstrap: str, dsn: str, life: Life) -> tuple[int, int]:
    """The child, and where it says how it ended."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # its log is no answer
        fuse = Fuse(life, write)
        lay(fuse)
        try:
            asyncio.run(live(bootstrap, dsn, life, fuse))
        except Exception:  # noqa: BLE001 - whatever it is, the child must not go on as its parent
            traceback.print_exc()
            os._exit(1)
        fuse.tell("")
        os._exit(0)
    os.close(write)
    return child, read


def _end(child: int, read: int) -> End:
    with os.fdopen(read) as told:
        point, passed = json.loads(told.read() or '["", 0]')
    return End(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), point, passed)


def main() -> None:
    _, dsn, bootstrap = sys.argv
    for line in sys.stdin:
        children = [_fork(bootstrap, dsn, Life(*one)) for one in json.loads(line)]
        print(json.dumps([_end(*child) for child in children]), flush=True)


if __name__ == "__main__":
    main()
