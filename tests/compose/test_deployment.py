"""docker-compose.yml from nothing: green, without a secret on show, each part with no more than it needs."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError

from shared import kafka
from shared.cluster import Cluster
from shared.events import DISPATCHES, INCIDENTS, ISSUES, REPORTS, STATISTICS
from tests.compose.deployment import ROOT, SERVICES, Deployment

LOGGING = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "5"}}
# What installs or builds.
TOOLS = ("pip", "pip3", "gcc", "cc", "g++", "ld", "make")


def test_it_is_green_from_nothing(deployment: Deployment) -> None:
    """Every job ended with 0, everything else runs and is healthy."""
    states = deployment.states()
    jobs = {name for name, state in states.items() if state == "exited 0"}
    assert jobs == {"secrets", "databases", "topics", *(f"migrate-{name}" for name in SERVICES)}
    assert {state for name, state in states.items() if name not in jobs} == {"running healthy"}


def test_up_again_changes_nothing(deployment: Deployment) -> None:
    """No secret is made anew, no right is granted or taken away."""
    before = deployment.secrets()
    deployment.up()
    assert deployment.secrets() == before
    said = deployment.run("logs", "--no-log-prefix", "topics").splitlines()[-1]
    assert said.startswith("0 topics made")
    assert said.endswith("; 0 rights granted, 0 taken away")


def test_no_secret_is_on_show(deployment: Deployment) -> None:
    """Not in compose's configuration, not in what the engine tells of the containers, not in a log."""
    shown = deployment.run("config") + deployment.run("logs")
    ids = deployment.run("ps", "--all", "--quiet").split()
    asked = [deployment.docker, "inspect", *ids]
    shown += subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    secrets = {name: text for name, text in deployment.secrets().items() if not name.endswith(".crt")}
    assert len(secrets) > 25
    public = {"made", "kafka_cluster_id"}
    # By lines: what is shown as JSON has another form of a key's line breaks.
    lines = {name: [line for line in text.splitlines() if len(line) > 15] for name, text in secrets.items()}
    assert [name for name, own in lines.items() if name not in public and any(x in shown for x in own)] == []


def test_only_public_ports_are_published_and_only_here(deployment: Deployment) -> None:
    """Without the tests' additions: the residents', the units', Kafka's and Prometheus' own, on 127.0.0.1."""
    asked = [deployment.docker, "compose", "-f", "docker-compose.yml", "config", "--format", "json"]
    said = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    services = json.loads(said)["services"]
    ports = {name: entry["ports"] for name, entry in services.items() if entry.get("ports")}
    assert {name: [port["target"] for port in found] for name, found in ports.items()} == {
        "tips": [8000],
        "notify": [8000],
        "stats": [8000],
        "kafka": [9094],
        "prometheus": [9090],
    }
    assert {port["host_ip"] for found in ports.values() for port in found} == {"127.0.0.1"}


@pytest.mark.parametrize("service", [*SERVICES, "operator"])
def test_an_image_holds_one_service_and_no_tools(deployment: Deployment, service: str) -> None:
    """Its own code and what it needs; nothing that installs or builds."""
    looked = deployment.shell(
        service,
        "ls -I __pycache__ /app/services 2>/dev/null | tr '\\n' ' '; echo;"
        "ls /packages | grep -cx shapely;"
        f"for tool in {' '.join(TOOLS)}; do command -v $tool; done;"
        'for name in pip ensurepip; do python -c "import $name" 2>/dev/null && echo $name; done; true',
    ).splitlines()
    assert looked[0].split() == ([] if service == "operator" else ["__init__.py", service])
    assert looked[1] == str(int(service == "tips"))
    assert looked[2:] == []


@pytest.mark.parametrize("service", [*SERVICES, "operator"])
def test_an_image_says_what_it_is(deployment: Deployment, service: str) -> None:
    """By the labels of OCI, with the revision that the build was given; its account; its signal to stop."""
    (image,) = json.loads(deployment.engine("image", "inspect", deployment.image(service)))
    said = image["Config"]
    about = {name.removeprefix("org.opencontainers.image."): text for name, text in said["Labels"].items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert about["title"] == f"IBuurt: {service}"
    assert about["description"]
    assert about["licenses"] == "Apache-2.0"
    assert about["version"] == project["version"]
    assert about["revision"] == deployment.name
    assert said["User"] == "10001:10001"
    assert said["StopSignal"] == "SIGTERM"


def test_each_container_has_no_more_than_it_needs(deployment: Deployment) -> None:
    """Limits of memory, processor and processes; a log that does not fill the disk; no rights of the kernel;
    what runs has a while to start in before it is unhealthy; and what residents wait for goes first."""
    found = deployment.containers()
    assert len(found) == 12
    for name, container in found.items():
        given = container["HostConfig"]
        assert 0 < given["Memory"] <= 2**30, name
        assert 0 < given["NanoCpus"] <= 10**9, name
        assert 0 < given["PidsLimit"] <= 512, name
        assert given["LogConfig"] == LOGGING, name
        assert given["CapDrop"] == ["ALL"], name
        assert not given["CapAdd"], name
        assert not given["Privileged"], name
        assert given["SecurityOpt"] == ["no-new-privileges:true"], name
        assert given["ReadonlyRootfs"], name
        if container["State"]["Running"]:
            # In nanoseconds.
            assert container["Config"]["Healthcheck"]["StartPeriod"] >= 120 * 10**9, name
    first = {deployment.container(name) for name in ("tips", "postgres")}
    shares = {name: found[name]["HostConfig"]["CpuShares"] for name in found}
    assert {name for name in found if shares[name] >= 8 * 1024} == first
    assert all(shares[name] in (0, 1024) for name in found.keys() - first)
    # Which PostgreSQL takes for: end what runs, and stop.
    assert found[deployment.container("postgres")]["Config"]["StopSignal"] == "SIGINT"


def test_what_runs_is_nobody_and_writes_into_its_volumes_alone(deployment: Deployment) -> None:
    """Not even the owner of / may write there: the file system says no, not a file's rights."""
    for name, container in deployment.containers().items():
        if not container["State"]["Running"]:
            continue
        assert deployment.engine("exec", name, "id", "-u") != "0", name
        as_owner = ["exec", "--user", "0:0", name, "sh", "-c", "stat -c %u:%a / && touch /x 2>&1 || true"]
        owner, said = deployment.engine(*as_owner).splitlines()
        assert owner.startswith("0:7"), name
        assert "Read-only file system" in said, name


@pytest.mark.parametrize("service", SERVICES)
def test_a_services_role_changes_rows_and_nothing_else(deployment: Deployment, service: str) -> None:
    """No table, no other service's database, no other password in its hands."""
    script = f"""
import asyncio, asyncpg, pathlib
async def main():
    dsn = pathlib.Path("/run/secrets/ibuurt_database_url").read_text().strip()
    connection = await asyncpg.connect(dsn)
    await connection.execute("DELETE FROM outbox WHERE false")
    for statement in ("CREATE TABLE x (y int)", "DROP TABLE outbox", "CREATE SCHEMA z", "CREATE ROLE r"):
        try:
            await connection.execute(statement)
        except asyncpg.InsufficientPrivilegeError:
            print("refused")
    for other in {set(SERVICES) - {service}!r}:
        try:
            await asyncpg.connect(dsn.rpartition("/")[0] + "/" + other)
        except asyncpg.InsufficientPrivilegeError:
            print("refused")
asyncio.run(main())
"""
    assert deployment.shell(service, f"python - <<'END'\n{script}\nEND").split() == ["refused"] * 6


async def test_an_outsider_reads_what_is_public_and_nothing_else(
    deployment: Deployment, tmp_path: Path
) -> None:
    """With the files of one command, over TLS; removed, it is out at once."""
    parks = tmp_path / "parks"
    subscriber(deployment, "add", "parks", "--contact", "gis@parks.example", str(parks))
    found = dict(line.split("=", 1) for line in (parks / "kcat.conf").read_text().splitlines() if "=" in line)
    where = Cluster(
        found["bootstrap.servers"], found["sasl.username"], found["sasl.password"], parks / "ca.crt"
    )
    await kafka.check_access(where)
    reader = kafka.reader(where, "parks")
    await reader.start()
    assert await reader.topics() == {ISSUES.name, STATISTICS.name}
    reader.assign([])
    await reader.stop()
    await _group(where, "parks.map", ISSUES.name)
    with pytest.raises(GroupAuthorizationFailedError):
        await _group(where, "tips", ISSUES.name)
    with pytest.raises(TopicAuthorizationFailedError):
        await _group(where, "parks.map", REPORTS.name)
    producer = AIOKafkaProducer(**where.settings(), acks="all")
    await producer.start()
    for topic in (ISSUES, STATISTICS, REPORTS, INCIDENTS):
        with pytest.raises(TopicAuthorizationFailedError):
            await producer.send_and_wait(topic.name, b"x")
    await kafka.abandon(producer)
    assert subscriber(deployment, "list").split() == ["parks", "gis@parks.example"]
    subscriber(deployment, "contact", "parks", "--contact", "maps@parks.example")
    assert subscriber(deployment, "list").split() == ["parks", "maps@parks.example"]
    subscriber(deployment, "remove", "parks")
    assert subscriber(deployment, "list").split() == ["there", "are", "none"]


def test_a_subscribers_files_are_no_repositorys(deployment: Deployment, tmp_path: Path) -> None:
    """They hold a password, and are written into the folder where the operator is."""
    git = ["git", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subscriber(deployment, "add", "parks", "--contact", "gis@parks.example", str(tmp_path / "parks"))
    subscriber(deployment, "remove", "parks")
    assert (tmp_path / "parks" / "kcat.conf").exists()
    seen = [*git, "status", "--porcelain", "--untracked-files=all"]
    assert subprocess.run(seen, capture_output=True, text=True, check=True).stdout == ""


def test_a_restart_of_kafka_after_a_removal_lets_everybody_in(deployment: Deployment, tmp_path: Path) -> None:
    """Kafka 4.3.1 loses all users at its start where one was deleted, of some names: nobody is deleted."""
    for name in ("roads", "parks", "a-map"):
        subscriber(deployment, "add", name, "--contact", "gis@parks.example", str(tmp_path / name))
        subscriber(deployment, "remove", name)
    assert subscriber(deployment, "list").split() == ["there", "are", "none"]
    deployment.run("restart", "--no-deps", "kafka")
    deployment.healthy(["kafka"])
    assert deployment.job("topics").returncode == 0
    deployment.agree()


async def test_each_topic_has_one_writer(deployment: Deployment, tmp_path: Path) -> None:
    """tips, with its own password, writes its topics and not another's."""
    secrets = deployment.secrets()
    (tmp_path / "ca.crt").write_text(secrets["ca.crt"])
    where = Cluster(
        f"localhost:{deployment.kafka_ports[0]}", "tips", secrets["kafka_tips"], tmp_path / "ca.crt"
    )
    producer = kafka.producer(where, "test")
    await producer.start()
    await producer.send_and_wait(DISPATCHES.dead_letters("tips"), b"x", partition=0)
    for topic in (DISPATCHES, STATISTICS, INCIDENTS):
        with pytest.raises(TopicAuthorizationFailedError):
            await producer.send_and_wait(topic.name, b"x")
    await kafka.abandon(producer)


def test_prometheus_scrapes_the_three_services(deployment: Deployment) -> None:
    """By their internal ports."""
    asked = ["exec", "-T", "prometheus", "promtool", "query", "instant", "http://127.0.0.1:9090", "sum(up)"]
    assert "=> 3 @" in deployment.run(*asked)


def test_the_trace_from_a_resident_to_a_unit_and_into_the_counts(
    deployment: Deployment, tmp_path: Path
) -> None:
    """The end-to-end tests, on this deployment."""
    secrets = deployment.secrets()
    for unit in deployment.unit_ports:
        (tmp_path / unit).write_text(secrets[f"webhook_{unit}"])
    (tmp_path / "ca.crt").write_text(secrets["ca.crt"])
    urls = [f"http://127.0.0.1:{deployment.port(service, 9000)}" for service in SERVICES]
    named = {
        "IBUURT_E2E_TIPS_URL": f"http://127.0.0.1:{deployment.tips_port}",
        "IBUURT_E2E_MUNICIPALITY": str(deployment.municipality),
        "IBUURT_E2E_LISTEN": deployment.gateway(),
        "IBUURT_E2E_WEBHOOK_SECRETS": str(tmp_path),
        "IBUURT_E2E_INTERNAL_URLS": ",".join(urls),
        "IBUURT_OPERATOR_TOKEN": secrets["operator_token"],
        "IBUURT_E2E_LOGS": " ".join([*deployment.command, "logs", "--no-log-prefix", "{service}"]),
        "IBUURT_KAFKA_BOOTSTRAP": f"localhost:{deployment.kafka_ports[0]}",
        "IBUURT_KAFKA_USER": "admin",
        "IBUURT_KAFKA_PASSWORD": secrets["kafka_admin"],
        "IBUURT_KAFKA_CA": str(tmp_path / "ca.crt"),
    }
    # The canary reads the files of the servers that it starts itself.
    suite = ["tests/e2e", "--ignore", "tests/e2e/test_canary.py"]
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *suite],
        cwd=ROOT,
        env=os.environ | named,
        capture_output=True,
        text=True,
        check=False,
    )
    assert tested.returncode == 0, tested.stdout[-4000:]
    assert "skipped" not in tested.stdout


async def _group(where: Cluster, group: str, topic: str) -> None:
    """Read the topic in a group for a moment."""
    consumer = AIOKafkaConsumer(
        topic, **where.settings(), group_id=group, enable_auto_commit=False, request_timeout_ms=10_000
    )
    try:
        await consumer.start()
        await consumer.getmany(timeout_ms=3_000)
    finally:
        await kafka.stop_quietly(consumer)


def subscriber(deployment: Deployment, *arguments: str) -> str:
    script = str(ROOT / "deploy" / "kafka" / "subscriber")
    env_file = deployment.compose.env_file
    assert env_file
    environment = os.environ | {
        "PATH": f"{Path(deployment.docker).parent}:{os.environ['PATH']}",
        "COMPOSE_ENV_FILES": env_file[0],
        "COMPOSE_PROJECT_NAME": deployment.name,
        # With the names that this deployment's images have.
        "COMPOSE_FILE": ":".join(str(ROOT / file) for file in deployment.files),
    }
    done = subprocess.run([script, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
