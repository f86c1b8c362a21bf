"""Plants a mark, and a moment, in each kind of place of a running stack.

What the search does not find there, it would never find.
"""

import base64
import gzip
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
from aiokafka import AIOKafkaProducer

from deploy.local.stack import ROOT, Stack
from shared.events import REPORTS
from tests.canary.marks import Person
from tests.telling_times import Window

SHOWN_SECONDS = 1.5


class Planted(Person):
    """Marks by the place that each was put into."""

    def __init__(self) -> None:
        super().__init__("planted")
        self.needles.clear()

    def in_(self, place: str) -> str:
        return self.text(place)


@contextmanager
def planted(stack: Stack, temporary: Path, window: Window, plants: Planted) -> Iterator[None]:
    """Plant all that is in files; what lies in the working folder is taken away at the end."""
    folder, moment = stack.folder, window.begin + 1
    core = ROOT / f"core.{uuid.uuid4().hex}"
    core.write_bytes(b"\x7fELF" + plants.in_("working folder").encode("utf-16-le"))
    (temporary / "spool.gz").write_bytes(gzip.compress(plants.in_("temporary folder").encode()))
    sealed = base64.b64encode(b"?" + plants.in_("photos").encode())
    (folder / "photos" / "planted").write_bytes(sealed)
    key = folder / "keys" / "planted"
    key.write_bytes(plants.in_("keys").encode().hex().encode())
    with stack.services["tips"].child.log.open("a") as log:
        at = datetime.fromtimestamp(moment, UTC).isoformat()
        log.write(f'{{"event": "planted", "at": "{at}", "who": "{plants.in_("logs")}"}}\n')
    os.utime(key, (moment, moment))
    try:
        yield
    finally:
        core.unlink()


async def plant(stack: Stack, window: Window, plants: Planted) -> None:
    """Plant all that is in the servers and in processes; takes as long as a process must be seen."""
    moment = window.begin + 1
    with _process(plants):
        await _in_postgres(stack, moment, plants)
        await _in_kafka(stack.infrastructure.bootstrap, moment, plants)


@contextmanager
def _process(plants: Planted) -> Iterator[None]:
    sleeping = [sys.executable, "-c", "import time; time.sleep(60)", plants.in_("processes")]
    began = time.monotonic()
    process = subprocess.Popen(sleeping)
    try:
        yield
        time.sleep(max(0.0, SHOWN_SECONDS - (time.monotonic() - began)))
    finally:
        process.kill()
        process.wait()


async def _in_postgres(stack: Stack, moment: float, plants: Planted) -> None:
    connection = await asyncpg.connect(stack.services["tips"].dsn)
    try:
        await connection.execute("CREATE TABLE planted (value text, packed bytea, at timestamptz, id uuid)")
        # Large enough to be compressed, so that nobody finds it in the file.
        value = f"{'x' * 5_000}{plants.in_('tables of tips')}{'y' * 5_000}"
        at = datetime.fromtimestamp(moment, UTC)
        ids = uuid.UUID(int=int(moment * 1000) << 80 | 7 << 76 | 1 << 63 | 73)
        await connection.execute("INSERT INTO planted VALUES ($1, NULL, $2, $3)", value, at, ids)
        dead = plants.in_("files of tips").encode()
        await connection.execute("INSERT INTO planted (packed) VALUES ($1)", dead)
        await connection.execute("DELETE FROM planted WHERE packed IS NOT NULL")
        await connection.execute(
            "SELECT pg_logical_emit_message(true, 'planted', $1)", plants.in_("write-ahead log")
        )
        logged = plants.in_("servers' logs")
        await connection.execute(f"DO $$ BEGIN RAISE LOG '{logged}'; END $$")
        await connection.execute(f"SELECT pg_sleep({SHOWN_SECONDS}) /* {plants.in_('statements')} */")
    finally:
        await connection.close()


async def _in_kafka(bootstrap: str, moment: float, plants: Planted) -> None:
    topic = REPORTS.dead_letters("notify")
    for compression, place in (("gzip", "records"), (None, "Kafka's files")):
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap, compression_type=compression)
        await producer.start()
        try:
            header = [("planted", plants.in_(place).encode())]
            await producer.send_and_wait(
                topic, b"x" * 500, b"key", timestamp_ms=int(moment * 1000), headers=header
            )
        finally:
            await producer.stop()
