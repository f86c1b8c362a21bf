"""PostgreSQL: a pool, forward-only migrations in plain SQL, and which errors pass by themselves."""

import asyncio
import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import asyncpg

from shared.errors import Refusal

SHARED_MIGRATIONS = Path(__file__).parent / "migrations"
CONNECT_TIMEOUT_SECONDS = 5
COMMAND_TIMEOUT_SECONDS = 30
STANDSTILL_SECONDS = 15
MIGRATION_LOCK = 0x1B_0001

# What no waiting mends: the address, the name or the password is wrong.
UNUSABLE: tuple[type[BaseException], ...] = (
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.ClientConfigurationError,
)
_TRANSIENT: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # What asyncpg raises for a rollback on a connection that is being taken away.
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.ObjectNotInPrerequisiteStateError,
)


def is_transient(error: BaseException) -> bool:
    """Whether it is worth trying again: the server is away, starting, stopping, failing over, or busy."""
    # Two faults of a program are InterfaceErrors too: an argument that cannot be encoded, and one too many.
    fault = isinstance(error, ValueError) or "the server expects" in "".join(map(str, error.args))
    return isinstance(error, _TRANSIENT) and not fault


def is_schema_fault(error: BaseException) -> bool:
    """Whether the database has not what this program expects (SQLSTATE class 42: a table, a right): no
    record's fault, so nothing is set aside for it."""
    return isinstance(error, asyncpg.SyntaxOrAccessError)


async def connect(dsn: str, application: str) -> Any:
    """One connection of its own, for what holds a lock or a session setting."""
    return await asyncpg.connect(
        dsn,
        timeout=CONNECT_TIMEOUT_SECONDS,
        command_timeout=COMMAND_TIMEOUT_SECONDS,
        server_settings={"application_name": application, "timezone": "UTC"},
    )


async def open_pool(dsn: str, application: str, *, size: int = 10) -> Any:
    """A pool that is made even while the database is away: connections are opened when first needed."""
    pool = asyncpg.create_pool(
        dsn,
        min_size=0,
        max_size=size,
        timeout=CONNECT_TIMEOUT_SECONDS,
        command_timeout=COMMAND_TIMEOUT_SECONDS,
        max_inactive_connection_lifetime=300,
        reset=_leave_as_it_is,
        server_settings={
            "application_name": application,
            "timezone": "UTC",
            # A process that stands still in a transaction may hold what all others need: it loses it.
            "idle_in_transaction_session_timeout": f"{STANDSTILL_SECONDS}s",
        },
    )
    return await pool


async def _leave_as_it_is(_connection: Any) -> None:
    """No query on release: nobody sets anything on a pooled session, and an open transaction is rolled back
    all the same."""


def arrays(types: Sequence[str], before: int = 0) -> str:
    """Parameters of a statement, after `before` others: an array of each of these types."""
    return ", ".join(f"${number}::{type_}[]" for number, type_ in enumerate(types, before + 1))


def columns(rows: Iterable[Sequence[Any]], types: Sequence[str]) -> Sequence[Sequence[Any]]:
    """What goes into `arrays(types)`: a column for each of the types, also where there are no rows."""
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in types]


async def migrate(dsn: str, folders: Sequence[Path]) -> list[str]:
    """Apply what is missing, in order, each file in a transaction of its own; returns the names applied.

    Raises Refusal where an applied file has changed or the database is newer than this program.
    """
    files = {f"{path.parent.parent.name}/{path.name}": path for folder in folders for path in _files(folder)}
    connection = await connect(dsn, "migrate")
    applied = []
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK)
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS migration (name text PRIMARY KEY, digest text NOT NULL,"
            " applied_at timestamptz NOT NULL DEFAULT now())"
        )
        done = {row["name"]: row["digest"] for row in await connection.fetch("SELECT * FROM migration")}
        _refuse_unknown(done, files)
        for name, path in files.items():
            if name not in done:
                async with connection.transaction():
                    await connection.execute(path.read_text(encoding="utf-8"))
                    await connection.execute(
                        "INSERT INTO migration (name, digest) VALUES ($1, $2)", name, _digest(path)
                    )
                applied.append(name)
    finally:
        await connection.close()
    return applied


async def check_migrated(dsn: str, folders: Sequence[Path]) -> None:
    """Raise Refusal unless the database is at exactly this program's migrations."""
    files = {f"{path.parent.parent.name}/{path.name}": path for folder in folders for path in _files(folder)}
    connection = await connect(dsn, "migrate")
    try:
        exists = await connection.fetchval("SELECT to_regclass('migration') IS NOT NULL")
        rows = await connection.fetch("SELECT * FROM migration") if exists else []
    finally:
        await connection.close()
    done = {row["name"]: row["digest"] for row in rows}
    _refuse_unknown(done, files)
    if missing := [name for name in files if name not in done]:
        raise Refusal(f"the database lacks {missing[0]}; run `docker compose up -d`, which migrates it first")


async def wait_until_up(dsn: str, *, attempts: int = 0) -> None:
    """Return when the database answers; `attempts` 0 means to wait as long as it takes."""
    tried = 0
    while True:
        try:
            await (await connect(dsn, "wait")).close()
        except Exception as error:
            tried += 1
            if not is_transient(error) or tried == attempts:
                raise
            await asyncio.sleep(min(0.1 * 2**tried, 2))
        else:
            return


def _files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.sql"))
    for number, path in enumerate(files, start=1):
        if not re.fullmatch(rf"{number:04d}_[a-z_]+\.sql", path.name):
            raise Refusal(f"migration {path.name} is out of order; name it {number:04d}_what_it_does.sql")
    return files


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _refuse_unknown(done: dict[str, str], files: dict[str, Path]) -> None:
    for name, digest in done.items():
        if name not in files:
            raise Refusal(
                f"the database has {name}, which this program does not know; deploy a newer program"
            )
        if _digest(files[name]) != digest:
            raise Refusal(f"{name} was applied with another content; restore the file, add a new migration")
