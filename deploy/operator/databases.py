"""A database for each service, and two roles: the owner, which migrates it, and the one that works in it."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import asyncpg

from shared import postgres
from shared.access import SERVICES
from shared.errors import Refusal


def superuser_dsn(password: str, where: str, database: str = "postgres") -> str:
    """The address of a database as its server's superuser; `where` is host:port."""
    return f"postgresql://postgres:{quote(password, safe='')}@{where}/{database}"


async def prepare(password: str, where: str, passwords: Mapping[str, str]) -> None:
    """Make what is missing and give every role its password and its rights: repeating it changes nothing.

    Raises Refusal where the superuser's password is refused.
    """
    connection = await _connect(password, where, "postgres")
    try:
        for role, secret in passwords.items():
            await _make_role(connection, role, secret)
        for service in SERVICES:
            if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", service):
                await connection.execute(f'CREATE DATABASE "{service}" OWNER "{service}_owner"')
            await connection.execute(f'REVOKE ALL ON DATABASE "{service}" FROM PUBLIC')
            await connection.execute(f'GRANT CONNECT ON DATABASE "{service}" TO "{service}"')
        await connection.execute("REVOKE ALL ON DATABASE postgres FROM PUBLIC")
    finally:
        await connection.close()
    for service in SERVICES:
        await _grant(password, where, service)


async def set_password(password: str, where: str, role: str, secret: str) -> None:
    """Give the role another password; the superuser's own too."""
    connection = await _connect(password, where, "postgres")
    try:
        await _make_role(connection, role, secret)
    finally:
        await connection.close()


async def _connect(password: str, where: str, database: str) -> Any:
    dsn = superuser_dsn(password, where, database)
    try:
        await postgres.wait_until_up(dsn, attempts=20)
        return await postgres.connect(dsn, "operator")
    except asyncpg.InvalidAuthorizationSpecificationError:
        raise Refusal(
            "PostgreSQL refuses the password of its superuser; restore the secret `postgres` that its data "
            "was made with, or run `rotate postgres` again where that was interrupted"
        ) from None


async def _make_role(connection: Any, role: str, secret: str) -> None:
    if not await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role):
        await connection.execute(f'CREATE ROLE "{role}" LOGIN')
    await connection.execute("SET password_encryption = 'scram-sha-256'")
    await connection.execute(
        await connection.fetchval(
            "SELECT format('ALTER ROLE %I PASSWORD %L', $1::text, $2::text)", role, secret
        )
    )


async def _grant(password: str, where: str, service: str) -> None:
    connection = await _connect(password, where, service)
    try:
        await connection.execute(rights(service))
    finally:
        await connection.close()


def rights(service: str) -> str:
    """The SQL by which the service reads and writes its rows and changes no table, what the owner makes later
    included. It may have a table written anew (MAINTAIN), which stats destroys noise by; never emptied."""
    return f"""
        ALTER SCHEMA public OWNER TO "{service}_owner";
        REVOKE ALL ON SCHEMA public FROM PUBLIC;
        GRANT USAGE ON SCHEMA public TO "{service}";
        GRANT SELECT, INSERT, UPDATE, DELETE, MAINTAIN ON ALL TABLES IN SCHEMA public TO "{service}";
        GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO "{service}";
        ALTER DEFAULT PRIVILEGES FOR ROLE "{service}_owner" IN SCHEMA public
            GRANT SELECT, INSERT, UPDATE, DELETE, MAINTAIN ON TABLES TO "{service}";
        ALTER DEFAULT PRIVILEGES FOR ROLE "{service}_owner" IN SCHEMA public
            GRANT USAGE, SELECT ON SEQUENCES TO "{service}";
    """
