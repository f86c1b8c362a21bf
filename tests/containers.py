"""Kafka and PostgreSQL for the tests in containers, from the images that docker-compose.yml names."""

import contextlib
import json
import secrets
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from testcontainers.compose import DockerCompose

from deploy.local import kafka, postgres
from deploy.local.processes import free_port, temporary_folder

START_SECONDS = 240.0
KAFKA_IMAGE = "apache/kafka:4.3.1"
POSTGRES_IMAGE = "postgres:18-trixie"
# Where a server of the local stack listens and keeps its sockets is the image's affair here.
OF_THE_MACHINE = ("listen_addresses", "unix_socket_directories", "dynamic_shared_memory_type")
INSTALL = (
    "this needs a Docker engine with compose 2.24.4 or newer, which this account may use: "
    "Debian/Ubuntu `sudo apt install docker.io docker-compose-v2`, Fedora `sudo dnf install docker-cli "
    "docker-compose moby-engine`, macOS or Windows Docker Desktop"
)


def docker() -> str:
    """The docker that reaches an engine and has compose. Raises LookupError that says how to get one."""
    for found in dict.fromkeys([shutil.which("docker"), "/usr/bin/docker"]):
        if found and Path(found).exists() and _works(found):
            return found
    raise LookupError(INSTALL)


def _works(program: str) -> bool:
    asked = (["info"], ["compose", "version"])
    return all(
        subprocess.run([program, *arguments], capture_output=True, check=False).returncode == 0
        for arguments in asked
    )


@dataclass(frozen=True)
class Container:
    """A server in a container, on a port of 127.0.0.1 that it keeps. Its data outlives `kill`."""

    port: int
    identity: str
    docker: str
    ready: Callable[[str], bool]

    @property
    def bootstrap(self) -> str:
        """Its host:port."""
        return f"127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        """Whether it is alive (also when paused)."""
        return self._ask("inspect", "--format", "{{.State.Running}}", self.identity) == "true"

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._ask("start", self.identity)
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until it answers."""
        end = time.monotonic() + START_SECONDS
        while not self.ready(self.identity):
            assert time.monotonic() < end, self._ask("logs", "--tail", "20", self.identity)
            time.sleep(0.1)

    def kill(self) -> None:
        """SIGKILL to all its processes; returns when they are dead."""
        self._ask("kill", self.identity)
        self._ask("wait", self.identity)

    def stop(self) -> None:
        """SIGTERM; returns when it has ended in its own order."""
        self._ask("stop", self.identity)

    def pause(self) -> None:
        """Connections stay open and nothing answers."""
        self._ask("pause", self.identity)

    def resume(self) -> None:
        """It goes on; no error when it was not paused."""
        if self._ask("inspect", "--format", "{{.State.Paused}}", self.identity) == "true":
            self._ask("unpause", self.identity)

    def _ask(self, *arguments: str) -> str:
        done = subprocess.run([self.docker, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return (done.stdout + done.stderr).strip()


@dataclass(frozen=True)
class ContainerServers:
    """Both servers, started."""

    kafka: Container
    postgres: Container
    admin_dsn: str

    @property
    def bootstrap(self) -> str:
        """Kafka's host:port."""
        return self.kafka.bootstrap


@contextlib.contextmanager
def container_servers() -> Iterator[ContainerServers]:
    """Both servers for as long as the block lasts, on free ports of 127.0.0.1, with the settings that they
    have in the local stack; nothing is left afterwards. LookupError: there is no Docker engine."""
    password = secrets.token_urlsafe(24)
    kafka_port, postgres_port = free_port(), free_port()
    services = {"kafka": _kafka(kafka_port), "postgres": _postgres(postgres_port, password)}
    with _composed(services) as (program, identities):
        found = ContainerServers(
            Container(kafka_port, identities["kafka"], program, _has_a_broker(kafka_port)),
            Container(postgres_port, identities["postgres"], program, _takes_connections(program)),
            f"postgresql://postgres:{password}@127.0.0.1:{postgres_port}/postgres",
        )
        found.postgres.wait_ready()
        found.kafka.wait_ready()
        yield found


@contextlib.contextmanager
def container_kafka() -> Iterator[Container]:
    """One more Kafka, by itself."""
    port = free_port()
    with _composed({"kafka": _kafka(port)}) as (program, identities):
        made = Container(port, identities["kafka"], program, _has_a_broker(port))
        made.wait_ready()
        yield made


@contextlib.contextmanager
def _composed(services: Mapping[str, object]) -> Iterator[tuple[str, dict[str, str]]]:
    """The services, up; yields the docker that has them, and by service the container's id."""
    program = docker()
    with temporary_folder() as folder:
        file = Path(folder) / "compose.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps({"services": services}))
        compose = DockerCompose(folder, file.name, docker_command_path=program)
        name_project(compose, f"ibuurt-servers-{uuid.uuid4().hex[:8]}")
        try:
            compose.start()
            yield program, {name: str(compose.get_container(name).ID) for name in services}
        finally:
            command = [*compose.docker_compose_command(), "down", "--volumes", "--timeout", "0"]
            subprocess.run(command, cwd=folder, check=True, capture_output=True)


def name_project(compose: DockerCompose, name: str) -> None:
    """Give the project its name, whatever COMPOSE_PROJECT_NAME says: that may be somebody's deployment, which
    the tests' `down --volumes` must not meet."""
    # The list is kept, so every later command has it too.
    compose.docker_compose_command()[2:2] = ["--project-name", name]


def _kafka(port: int) -> dict[str, object]:
    settings = kafka.SETTINGS | {
        "listeners": "PLAINTEXT://:9092,CONTROLLER://localhost:9093",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.quorum.voters": "1@localhost:9093",
        "log.dirs": "/var/lib/kafka/data/log",
    }
    environment = {f"KAFKA_{name.replace('.', '_').upper()}": value for name, value in settings.items()}
    return {
        "image": KAFKA_IMAGE,
        "environment": environment | {"KAFKA_HEAP_OPTS": "-Xms256m -Xmx512m"},
        "ports": [f"127.0.0.1:{port}:9092"],
    }


def _postgres(port: int, password: str) -> dict[str, object]:
    settings = [
        argument
        for name, value in postgres.SETTINGS.items()
        if name not in OF_THE_MACHINE
        for argument in ("-c", f"{name}={value}")
    ]
    return {
        "image": POSTGRES_IMAGE,
        "command": settings,
        "environment": {"POSTGRES_PASSWORD": password},
        "ports": [f"127.0.0.1:{port}:5432"],
        "shm_size": "256m",
    }


def _has_a_broker(port: int) -> Callable[[str], bool]:
    return lambda _identity: kafka.brokers(port) > 0


def _takes_connections(program: str) -> Callable[[str], bool]:
    """Whether the server does, by its own tool: while it makes its cluster it listens on a socket only."""

    def ask(identity: str) -> bool:
        asked = [program, "exec", identity, "pg_isready", "-q", "-h", "127.0.0.1", "-U", "postgres"]
        return subprocess.run(asked, capture_output=True, check=False).returncode == 0

    return ask
