"""Keep the public issues of a municipality in SQLite, and know that no change was missed.

    pip install aiokafka
    python subscribe.py kcat.conf issues.db

kcat.conf and the ca.crt beside it come from the municipality's operator.
"""

import argparse
import asyncio
import sqlite3
import sys
import time
from pathlib import Path

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.helpers import create_ssl_context

TOPIC = "ibuurt.issues.v1"
# A number that was skipped comes again behind the missing one. When that has not come by then, it is lost.
PATIENCE_SECONDS = 60
# Compaction takes nothing younger than 7 days; an hour is left for clocks that differ.
UNCOMPACTED_SECONDS = 7 * 86_400 - 3_600


class GapError(Exception):
    """Numbers of a partition are missing, and compaction cannot have taken them."""


class Issues:
    """The issues, and for each partition how far they go: both change in one transaction."""

    def __init__(self, path, accept_gaps=False):
        self.accept_gaps = accept_gaps
        self.waiting = {}  # partition: (since, first missing number, first number behind it)
        self.applied = self.repeats = 0
        self.db = sqlite3.connect(path)
        self.db.executescript(
            """CREATE TABLE IF NOT EXISTS issue (id TEXT PRIMARY KEY, number INT, state TEXT);
               CREATE TABLE IF NOT EXISTS position (
                   part INT PRIMARY KEY, number INT, next_offset INT, written REAL)"""
        )

    def positions(self):
        """For each partition the last number, the offset to read on from, and when the last was written."""
        return {part: tuple(rest) for part, *rest in self.db.execute("SELECT * FROM position")}

    def take_all(self, records, now):
        """Apply a batch of one partition: all of it, or where this program dies, nothing."""
        with self.db:
            for record in records:
                self.take(record, now)

    def take(self, record, now):
        """Apply the record, unless one that belongs before it may still come."""
        part, number = record.partition, int(dict(record.headers)["ce_sequence"])
        last, _, written = self.positions().get(part, (number - 1, 0, now))
        if number <= last:
            self.repeats += 1
            self.apply(record, number)
            return
        if number > last + 1:
            if now - written < UNCOMPACTED_SECONDS and not self.accept_gaps:
                self.waiting.setdefault(part, (now, last + 1, number - 1))
                return
            why = "accepted" if self.accept_gaps else "compacted or lost, which cannot be told apart"
            print(f"partition {part}: numbers {last + 1} to {number - 1} are not there: {why}")
        self.waiting.pop(part, None)
        self.apply(record, number)
        self.db.execute(
            "INSERT OR REPLACE INTO position VALUES (?, ?, ?, ?)",
            (part, number, record.offset + 1, record.timestamp / 1000),
        )
        self.applied += 1

    def apply(self, record, number):
        """Keep the state, once: what is no newer than what is here changes nothing."""
        if record.value is None:  # a tombstone: the issue is erased, or no longer public
            state = None  # the row stays, so that a repeat does not bring the issue back
        elif dict(record.headers)["ce_type"] == b"ibuurt.IssueChanged.v1":
            state = record.value.decode()
        else:
            return  # a type that is newer than this program
        self.db.execute(
            """INSERT INTO issue VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE
               SET number = excluded.number, state = excluded.state WHERE excluded.number > issue.number""",
            (record.key.decode(), number, state),
        )

    def raise_alarm(self, now):
        """Raise GapError where what is missing did not come in time."""
        for part, (since, first, last) in self.waiting.items():
            if now - since > PATIENCE_SECONDS:
                raise GapError(f"partition {part}: numbers {first} to {last} are missing")


def connection(path):
    """What aiokafka needs, from a file of lines name=value and the ca.crt beside it; without a user it is a
    plain connection."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    told = dict(line.strip().split("=", 1) for line in lines if "=" in line)
    settings = {"bootstrap_servers": told["bootstrap.servers"]}
    if "sasl.username" in told:
        settings |= {
            "security_protocol": told["security.protocol"],
            "sasl_mechanism": told["sasl.mechanism"],
            "sasl_plain_username": told["sasl.username"],
            "sasl_plain_password": told["sasl.password"],
            "ssl_context": create_ssl_context(cafile=Path(path).parent / told["ssl.ca.location"]),
        }
    return settings


async def follow(settings, issues, once=False, again=False):
    """Read on from where `issues` stands. Raises GapError."""
    # No group: the position is kept with the issues, so that the two can never differ.
    consumer = AIOKafkaConsumer(
        TOPIC, group_id=None, enable_auto_commit=False, auto_offset_reset="earliest", **settings
    )
    try:
        await consumer.start()
        places = sorted(consumer.assignment())
        ends = await consumer.end_offsets(places)
        known = {} if again else issues.positions()
        for place in places:
            if place.partition in known:
                consumer.seek(place, known[place.partition][1])
            else:
                await consumer.seek_to_beginning(place)
        while True:
            read = await consumer.getmany(timeout_ms=500, max_records=1000)
            for records in read.values():
                issues.take_all(records, time.time())
            issues.raise_alarm(time.time())
            reached = [await consumer.position(place) >= ends[place] for place in places]
            if once and all(reached) and not issues.waiting:
                return
    finally:
        await consumer.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("settings", help="kcat.conf, from the operator")
    parser.add_argument("database", help="made where there is none")
    parser.add_argument("--once", action="store_true", help="read what there is, then stop")
    parser.add_argument("--again", action="store_true", help="look from the beginning for what is missing")
    parser.add_argument("--accept-gaps", action="store_true", help="go on without what is missing")
    given = parser.parse_args()
    issues = Issues(given.database, given.accept_gaps)
    try:
        asyncio.run(follow(connection(given.settings), issues, given.once, given.again))
    except FileNotFoundError as error:
        sys.exit(f"{error}: kcat.conf and the ca.crt beside it come from the municipality's operator")
    except KafkaError as error:
        sys.exit(f"{error!r}: are address, user, password and ca.crt those that the operator gave you?")
    except GapError as gap:
        sys.exit(f"GAP: {gap}; see 'On an alarm' in docs/subscribing.md")
    except KeyboardInterrupt:
        pass
    finally:
        print(f"{issues.applied} applied, {issues.repeats} repeats, up to", end="")
        print("".join(f" {part}:{last}" for part, (last, *_) in sorted(issues.positions().items())))


if __name__ == "__main__":
    main()
