"""What every service's command line promises, shown with `stats`: one line that names the mend, no secret."""

import json
import subprocess
from urllib.parse import urlsplit

import asyncpg
import pytest

from deploy.local.processes import free_port
from tests.conftest import Infrastructure, MakeDatabase
from tests.integration.service_process import ROOT, ended, environment

PASSWORD = "S3cret.that-nobody_may.read"


def _ends(dsn: str, *command: str) -> "subprocess.CompletedProcess[str]":
    nowhere = f"127.0.0.1:{free_port()}"
    env = environment(dsn, nowhere, ROOT / "deploy/municipalities/ibuurt", signing_key="k" * 32)
    return ended("stats", env, *command)


@pytest.mark.parametrize(
    ("command", "changes"),
    [
        ("migrate", {"path": "/no_such_database"}),
        ("migrate", {"user": "nobody"}),
        ("migrate", {"port": 1}),
        ("migrate", {"scheme": "mysql"}),
        ("run", {"path": "/no_such_database"}),
        ("run", {"user": "nobody"}),
        ("run", {"scheme": "mysql"}),
    ],
)
def test_a_database_that_cannot_be_used_is_named_without_its_password(
    infrastructure: Infrastructure, command: str, changes: dict[str, str]
) -> None:
    """Exit code 1 and one line that says which setting to check; never the password."""
    there = urlsplit(infrastructure.admin_dsn)
    given = {"scheme": "postgresql", "user": there.username, "port": there.port, "path": there.path} | changes
    dsn = f"{given['scheme']}://{given['user']}:{PASSWORD}@{there.hostname}:{given['port']}{given['path']}"
    answer = _ends(dsn, command)
    assert answer.returncode == 1, answer.stdout + answer.stderr
    (line,) = answer.stderr.strip().splitlines()
    assert line.startswith("stats: ")
    assert "IBUURT_DATABASE_URL" in line
    assert PASSWORD not in answer.stdout + answer.stderr


@pytest.mark.parametrize("command", [("migrate",), ("outbox", "resend", "--dry-run"), ("run",)])
async def test_a_fault_of_the_program_is_not_called_the_databases(
    database: MakeDatabase, command: tuple[str, ...]
) -> None:
    """A table that is not as the program expects it: exit code 70 and the place of the fault in the log, for
    whoever mends it; the address of the database is right and need not be checked."""
    dsn = await database()
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE TABLE migration (name text); INSERT INTO migration VALUES ('a.sql')")
    await connection.close()
    answer = _ends(dsn, *command)
    assert (answer.returncode, answer.stderr) == (70, "")
    (line,) = map(json.loads, answer.stdout.strip().splitlines())
    assert (line["event"], line["level"], line["exception"]) == ("crashed", "error", "KeyError")
    assert any("shared/postgres.py" in place for place in line["trace"])
