"""What the local stack (deploy/local) promises to whoever starts it."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import NewTopic
from aiokafka.errors import KafkaError

from deploy.local import kafka_jars
from deploy.local.infrastructure import local_infrastructure
from deploy.local.kafka import Kafka, prepare
from deploy.local.postgres import Postgres
from deploy.local.processes import Child, ChildFailed, free_port
from shared import kafka
from shared.errors import Refusal
from tests.conftest import Infrastructure, MakeDatabase, Server

ROOT = Path(__file__).parents[2]
KEEP_STACK = """
import time
from deploy.local.infrastructure import local_infrastructure
with local_infrastructure(progress=lambda line: None) as servers:
    print(servers.folder, servers.kafka.pid, servers.postgres.pid, flush=True)
    time.sleep({seconds})
    raise RuntimeError("something else went wrong")
"""


@pytest.fixture
def local_kafka(local_kafka: Server) -> Kafka:
    """The session's Kafka as a process of this machine."""
    if not isinstance(local_kafka, Kafka):
        pytest.skip("is about a process of deploy/local, and this session's Kafka is in a container")
    return local_kafka


@pytest.fixture
def local_postgres(local_postgres: Server) -> Postgres:
    """The session's PostgreSQL as a process of this machine."""
    if not isinstance(local_postgres, Postgres):
        pytest.skip("is about a process of deploy/local, and this session's PostgreSQL is in a container")
    return local_postgres


async def _send(bootstrap: str, topic: str, value: bytes) -> None:
    async with kafka.admin(bootstrap) as admin:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True) as producer:
        await producer.send_and_wait(topic, value)


async def _read(bootstrap: str, topic: str) -> bytes:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    async with consumer:
        value = (await asyncio.wait_for(consumer.getone(), 10)).value
    assert value is not None
    return bytes(value)


async def _run(dsn: str, *statements: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            rows: list[asyncpg.Record] = await connection.fetch(statement)
        return rows
    finally:
        await connection.close()


def _ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _soon(condition: Callable[[], bool], seconds: float = 15.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


async def test_a_killed_kafka_has_what_it_acknowledged(local_kafka: Kafka) -> None:
    """A record that Kafka acknowledged before SIGKILL is read after its restart, at the same address."""
    bootstrap, topic = local_kafka.bootstrap, f"test-{time.monotonic_ns()}"
    await _send(bootstrap, topic, b"kept")
    local_kafka.kill()
    assert not local_kafka.running
    local_kafka.start()
    assert local_kafka.bootstrap == bootstrap
    assert await _read(bootstrap, topic) == b"kept"


async def test_a_topic_is_never_made_by_using_it(infrastructure: Infrastructure) -> None:
    """The broker makes no topic because somebody writes to it: topics are the deployment's."""
    producer = AIOKafkaProducer(bootstrap_servers=infrastructure.bootstrap, request_timeout_ms=1000)
    async with producer:
        with pytest.raises((TimeoutError, KafkaError)):
            await asyncio.wait_for(producer.send_and_wait("never-made", b"x"), 3)
    async with kafka.admin(infrastructure.bootstrap) as admin:
        assert "never-made" not in await admin.list_topics()


async def test_a_killed_postgresql_has_what_was_committed_and_nothing_else(
    local_postgres: Postgres, database: MakeDatabase
) -> None:
    """SIGKILL in the middle of a transaction: the committed row is there after the restart, the open one is
    not, and no backend has outlived the postmaster."""
    dsn = await database()
    assert await _run(dsn, "SHOW fsync") == [("on",)]
    await _run(dsn, "CREATE TABLE kept (value int)", "INSERT INTO kept VALUES (1)")
    half = await asyncpg.connect(dsn)
    await half.execute("BEGIN")
    await half.execute("INSERT INTO kept VALUES (2)")
    backend = half.get_server_pid()
    local_postgres.kill()
    assert _ended(backend)
    half.terminate()
    local_postgres.start()
    assert await _run(dsn, "SELECT value FROM kept") == [(1,)]


async def test_a_paused_postgresql_answers_nobody_until_it_is_resumed(
    local_postgres: Postgres, database: MakeDatabase
) -> None:
    """A pause reaches the backends of open connections too; after it the waiting query is answered."""
    connection = await asyncpg.connect(await database())
    try:
        local_postgres.pause()
        waiting = asyncio.ensure_future(connection.fetchval("SELECT 7"))
        done, _ = await asyncio.wait([waiting], timeout=0.3)
        assert not done
        local_postgres.resume()
        assert await asyncio.wait_for(waiting, 5) == 7
    finally:
        local_postgres.resume()
        await connection.close()


async def test_a_backup_is_of_one_moment_and_restores_whole(
    local_postgres: Postgres, database: MakeDatabase, tmp_path: Path
) -> None:
    """A dump is taken while the database is in use; what comes later is not in it."""
    original, copy = await database(), await database()
    await _run(original, "CREATE TABLE kept (value int)", "INSERT INTO kept VALUES (1)")
    local_postgres.dump(original.rsplit("/", 1)[1], tmp_path / "backup")
    await _run(original, "INSERT INTO kept VALUES (2)")
    local_postgres.restore(tmp_path / "backup", copy.rsplit("/", 1)[1])
    assert await _run(copy, "SELECT value FROM kept") == [(1,)]


async def test_each_database_of_a_test_is_its_own(database: MakeDatabase) -> None:
    """Two databases of one test share nothing, and a copy has what its template had."""
    first, second = await database(), await database()
    await _run(first, "CREATE TABLE only_here ()")
    assert await _run(second, "SELECT to_regclass('only_here')") == [(None,)]
    copy = await database(template=first.rsplit("/", 1)[1])
    assert await _run(copy, "SELECT to_regclass('only_here')::text") == [("only_here",)]


async def test_two_stacks_at_once_never_meet() -> None:
    """Two stacks in parallel have their own ports, folders and data, and leave none of it."""
    with local_infrastructure() as one, local_infrastructure() as other:
        assert one.folder != other.folder
        ports = {stack.bootstrap for stack in (one, other)} | {stack.postgres.port for stack in (one, other)}
        assert len(ports) == 4
        await _send(one.bootstrap, "same-name", b"one")
        await _send(other.bootstrap, "same-name", b"other")
        assert await _read(one.bootstrap, "same-name") == b"one"
        assert await _read(other.bootstrap, "same-name") == b"other"
        await _run(one.admin_dsn, "CREATE TABLE only_here ()")
        assert await _run(other.admin_dsn, "SELECT to_regclass('only_here')") == [(None,)]
        pids = [stack.kafka.pid for stack in (one, other)] + [stack.postgres.pid for stack in (one, other)]
    assert all(_ended(pid) for pid in pids)
    assert not one.folder.exists()
    assert not other.folder.exists()


@pytest.mark.parametrize("end", ["SIGKILL", "SIGINT", "SIGTERM", "exception"])
def test_nothing_is_left_however_the_parent_ends(end: str) -> None:
    """Kafka, PostgreSQL and the temporary folder are gone after Ctrl-C, SIGTERM, an exception in the block,
    and when the parent itself is killed and can clear up nothing."""
    script = KEEP_STACK.format(seconds=0 if end == "exception" else 60)
    parent = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout is not None
        folder, *pids = parent.stdout.readline().split()
        assert len(pids) == 2
        if end != "exception":
            parent.send_signal(signal.Signals[end])
        # The pipes end only with the last process that holds them, the guard.
        error = parent.communicate(timeout=30)[1]
    assert parent.returncode != 0
    assert ("something else" in error) == (end == "exception")
    assert _soon(lambda: all(_ended(int(pid)) for pid in pids))
    assert _soon(lambda: not Path(folder).exists())


def test_a_killed_child_takes_its_own_children_along(tmp_path: Path) -> None:
    """Killing a child ends what it has started too, in whatever session that runs."""
    child = Child("shell", ["sh", "-c", "setsid sleep 60 & echo $!; wait"], log=tmp_path / "log")
    child.start()
    child.wait_until(lambda: child.log_tail().strip().isdigit(), 5)
    grandchild = int(child.log_tail())
    assert child.rss_bytes() > 0
    child.kill()
    assert not child.running
    assert _ended(grandchild)


def test_what_nobody_waits_for_stands_behind(tmp_path: Path) -> None:
    """A child that is to stand behind others does, with what it starts, also where Linux weighs sessions."""
    for niceness in (0, 10):
        child = Child(
            "shell", ["sh", "-c", "echo up; sleep 60"], log=tmp_path / f"{niceness}", niceness=niceness
        )
        child.start()
        try:
            child.wait_until(lambda: bool(child.log_tail()), 5)  # noqa: B023 - called in this turn
            assert os.getpriority(os.PRIO_PROCESS, child.pid) == niceness
            weighed = Path(f"/proc/{child.pid}/autogroup")
            if weighed.exists() and (found := weighed.read_text()):
                assert found.split()[-1] == str(niceness)
        finally:
            child.kill()


def test_a_server_that_cannot_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    """A child that ends before it is ready is an error that carries what it wrote last."""
    child = Child("failing", ["sh", "-c", "echo the disk is full; exit 3"], log=tmp_path / "log")
    child.start()
    with pytest.raises(ChildFailed, match=r"(?s)ended with 3.*the disk is full"):
        child.wait_until(lambda: False, 5)


def test_no_port_is_given_twice() -> None:
    """A port that was given is given to nobody else, in this process or another, while nobody listens yet."""
    ours = {free_port() for _ in range(50)}
    assert len(ours) == 50
    script = (
        "import deploy.local.processes as p\n"
        f"p.PORTS = range({min(ours)}, {min(ours) + 1})\n"
        "try: print(p.free_port())\n"
        "except p.ChildFailed: print('none')\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "none"


@pytest.fixture
def bare_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """PATH is this one empty folder, there is no JAVA_HOME, and the cache has no Kafka."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(kafka_jars, "CACHE", tmp_path / "cache")
    return programs


@pytest.fixture
def java() -> str:
    """This machine's Java, found while PATH is still the usual one."""
    return kafka_jars.java()


@pytest.fixture
def path_with_java(java: str, bare_path: Path) -> Path:
    """The same with this machine's Java in it."""
    (bare_path / "java").symlink_to(java)
    return bare_path


def _refused() -> str:
    with pytest.raises(Refusal) as refusal, local_infrastructure():
        pass
    return str(refusal.value)


def test_missing_java_is_said_in_one_line_with_the_mend(bare_path: Path) -> None:
    """Without Java nothing is started, and one line says what to install."""
    message = _refused()
    assert "no `java` in PATH" in message
    assert "apt install" in message
    assert "\n" not in message


def test_an_old_java_is_said_in_one_line(bare_path: Path) -> None:
    """A Java older than Kafka's needs is named with its version."""
    java = bare_path / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
    java.chmod(0o755)
    message = _refused()
    assert "Java 17 or newer, and this one is Java 11" in message
    assert "\n" not in message


def test_missing_maven_is_said_in_one_line(path_with_java: Path) -> None:
    """Maven is asked for while Kafka is not in the cache."""
    message = _refused()
    assert "no `mvn` in PATH" in message
    assert "\n" not in message


def test_a_failed_fetch_leaves_no_half_kafka(path_with_java: Path) -> None:
    """When Maven fails, the mend is named and the next start fetches anew."""
    (path_with_java / "mvn").symlink_to("/bin/false")
    with pytest.raises(Refusal, match="check the network"):
        prepare()
    assert [path.name for path in kafka_jars.CACHE.iterdir()] == ["kafka.lock"]


def test_another_deployment_is_used_and_never_killed(infrastructure: Infrastructure) -> None:
    """With both variables set the tests run on that deployment and start nothing; those that kill servers
    skip and say why. With one of them only, the session ends with what to set."""
    both = {
        "IBUURT_TEST_KAFKA_BOOTSTRAP": infrastructure.bootstrap,
        "IBUURT_TEST_POSTGRES_DSN": infrastructure.admin_dsn,
    }
    chosen = "killed_postgresql or is_its_own"
    answer = _pytest(both, chosen)
    assert "1 passed, 1 skipped" in answer
    assert "names one that is not ours" in answer
    assert "Kafka at" not in answer
    assert "set both of" in _pytest({"IBUURT_TEST_KAFKA_BOOTSTRAP": infrastructure.bootstrap}, chosen)


def _pytest(environment: dict[str, str], chosen: str) -> str:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("IBUURT_TEST")}
    answer = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", chosen, __file__],
        cwd=ROOT,
        env=plain | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout + answer.stderr


def test_whoever_runs_it_is_told_how_to_be_the_desk() -> None:
    """The line that it prints is all that the first command of docs/units.md needs."""
    asking = re.search(r"^curl .*/units/.*", (ROOT / "docs/units.md").read_text("utf-8"), re.MULTILINE)
    assert asking
    command = [sys.executable, "-u", "-m", "deploy.local", "run"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout
        try:
            told = next(line for line in running.stdout if line.startswith("  export IBUURT_DESK_TOKEN="))
            answer = subprocess.check_output(["sh", "-c", f"{told}{asking[0]}"], text=True)
        finally:
            running.send_signal(signal.SIGINT)
            running.stdout.read()
    assert json.loads(answer) == {"reports": [], "after": None}
    assert running.returncode == 0
