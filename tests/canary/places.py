"""Where something could be left: every file, row and record of a running stack, and where it works."""

import io
import os
import re
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import asyncpg
from aiokafka import TopicPartition

from deploy.local.stack import ROOT, SERVICES, Stack
from shared import kafka

# What tools keep below the working folder.
_TOOLS = frozenset({".git", ".venv", ".cache", "__pycache__", "node_modules", ".hypothesis"})
# Of PostgreSQL's catalogues only those that hold values; the others are searched as files.
_RELATIONS = """SELECT format('%I.%I', nspname, relname)
                FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
                WHERE relkind IN ('r', 'p', 'm', 'S') AND nspname <> 'information_schema'
                  AND (nspname <> 'pg_catalog' OR relname IN ('pg_statistic', 'pg_statistic_ext_data',
                       'pg_largeobject', 'pg_description', 'pg_shdescription', 'pg_seclabel'))
                ORDER BY 1"""
ZEROS = 64
_BYTEA = re.compile(rb"\\x((?:[0-9a-f]{2})+)")
Known = Mapping[Path, tuple[int, int]]


class Piece(NamedTuple):
    """Bytes from somewhere. `place` is the kind of place, `name` the very one; `changed` is the time of a
    file's last change, None for what is no file."""

    place: str
    name: str
    data: bytes
    changed: float | None = None


async def everything(stack: Stack, before: Known, since: float, temporary: Path) -> AsyncIterator[Piece]:
    """All that the stack holds, of files those that have changed since then."""
    async for piece in _tables(stack):
        yield piece
    async for piece in _records(stack.infrastructure.bootstrap):
        yield piece
    databases = await written_down(stack)
    for path, state in known(stack.folder).items():
        if before.get(path) != state:
            with suppress(FileNotFoundError):
                yield _file(_kind(stack.folder, path, databases), path)
    for place, folder, first in (
        ("working folder", ROOT, since),
        ("temporary folder", temporary, 0.0),
        ("the system's temporary folder", Path(tempfile.gettempdir()), since),
    ):
        for path in _below(folder, deep=place != "the system's temporary folder"):
            with suppress(OSError):
                if path.is_file() and path.stat().st_mtime >= first:
                    yield _file(place, path)


async def database_files(stack: Stack) -> list[Piece]:
    """The files of the services' databases."""
    databases = await written_down(stack)
    folder = stack.folder / "postgres" / "data" / "base"
    return [
        _file(f"files of {name}", path) for oid, name in databases.items() for path in known(folder / oid)
    ]


async def written_down(stack: Stack) -> dict[str, str]:
    """Have PostgreSQL write all to its files; the names of the services' databases by their folders'."""
    connection = await asyncpg.connect(stack.infrastructure.admin_dsn)
    try:
        await connection.execute("CHECKPOINT")
        rows = await connection.fetch("SELECT oid::text, datname FROM pg_database")
        return {row["oid"]: row["datname"] for row in rows if row["datname"] in SERVICES}
    finally:
        await connection.close()


def known(folder: Path) -> Known:
    """Each file below a folder, with its size and when it was last changed."""
    found = {}
    for path in _below(folder):
        with suppress(OSError):
            if path.is_file():
                found[path] = path.stat().st_size, path.stat().st_mtime_ns
    return found


def read(path: Path) -> bytes:
    """A file without its holes, and with no more than ZEROS zeros at its end."""
    pieces, at = [], 0
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        while at < size:
            try:
                begin = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:  # nothing but a hole is left
                break
            at = os.lseek(file.fileno(), begin, os.SEEK_HOLE)
            # Some stay: they may belong to what is before them, such as a length.
            pieces.append(os.pread(file.fileno(), at - begin, begin).rstrip(b"\0") + bytes(ZEROS))
    return b"".join(pieces)


def _file(place: str, path: Path) -> Piece:
    return Piece(place, str(path), read(path), path.stat().st_mtime)


def _below(folder: Path, *, deep: bool = True) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = [one for one in folders if deep and one not in _TOOLS and not one.endswith("_cache")]
        yield from (path for name in names if not (path := Path(root) / name).is_symlink())


def _kind(home: Path, path: Path, databases: Mapping[str, str]) -> str:
    match path.relative_to(home).parts:
        case ("postgres", "data", "base", number, *_):
            return f"files of {databases.get(number, 'other databases')}"
        case ("postgres", "data", "pg_wal", *_):
            return "write-ahead log"
        case ("postgres", "data", *_):
            return "PostgreSQL's own files"
        case ("postgres" | "kafka", name) if name.endswith(".log"):
            return "servers' logs"
        case ("kafka", "data", folder, _) if folder.startswith("__cluster_metadata"):
            return "Kafka's own files"
        case ("kafka", "data", *_):
            return "Kafka's files"
        case ("photos" | "keys" as folder, *_):
            return folder
    return "logs" if path.suffix == ".log" else "other files of the stack"


async def _tables(stack: Stack) -> AsyncIterator[Piece]:
    """Every row of each service's database: as text, and what is bytes as bytes too."""
    for service in SERVICES:
        connection = await asyncpg.connect(stack.services[service].dsn)
        try:
            for (relation,) in await connection.fetch(_RELATIONS):
                copy = io.BytesIO()
                await connection.copy_from_query(f"SELECT * FROM {relation}", output=copy)
                text = copy.getvalue()
                data = b"\n".join([text, *(bytes.fromhex(one.decode()) for one in _BYTEA.findall(text))])
                yield Piece(f"tables of {service}", relation, data)
        finally:
            await connection.close()


async def _records(bootstrap: str) -> AsyncIterator[Piece]:
    """Every record of every topic, Kafka's own too, unpacked: key, value, headers, and its timestamp."""
    consumer = kafka.reader(bootstrap, "canary")
    await consumer.start()
    try:
        cluster = await consumer._client.fetch_all_metadata()
        for topic in sorted(cluster.topics(exclude_internal_topics=False)):
            places = [TopicPartition(topic, number) for number in cluster.partitions_for_topic(topic) or ()]
            await consumer._client.set_topics([topic])
            data = []
            for place, end in (await consumer.end_offsets(places)).items():
                async for record in kafka.records(consumer, (place.topic, place.partition), 0, end):
                    headers = [part for name, value in record.headers for part in (name.encode(), value)]
                    parts = [record.key, record.value, *headers, str(record.timestamp).encode()]
                    data.append(b"\n".join(part or b"" for part in parts))
            yield Piece("records", topic, b"\n\n".join(data))
    finally:
        await kafka.stop_quietly(consumer)
