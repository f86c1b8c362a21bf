"""A deployment of docker-compose.yml for tests: under a name of its own, on free ports, gone afterwards."""

import io
import json
import os
import re
import socket
import subprocess
import sys
import tarfile
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from testcontainers.compose import DockerCompose

from deploy.local.processes import free_port
from deploy.local.town import local_copy
from deploy.reconcile import ON_THE_WAY, Away, fetch, reconcile
from shared.cluster import Cluster
from shared.municipality import read
from tests.containers import docker, name_project

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/operating.md").read_text("utf-8")
SERVICES = ("tips", "notify", "stats")
IMAGES = (*SERVICES, "operator")

# For what takes long even on a quiet machine.
long = pytest.mark.skipif(
    not os.environ.get("IBUURT_TEST_LONG"), reason="IBUURT_TEST_LONG=1 make test SUITES=compose:120 runs it"
)


def typed(deployment: "Deployment", command: str, **filled: str) -> tuple[str, str]:
    """Type a command of docs/operating.md; it with its placeholders filled in, and what it printed."""
    assert command in PAGE, f"docs/operating.md does not name `{command}`"
    for name, text in filled.items():
        command = re.sub(rf"\b{re.escape(name)}\b", text, command)
    return command, deployment.typed(command)


def workspace(factory: pytest.TempPathFactory, name: str) -> Path:
    """A folder for a deployment, which its containers can read. Skips where there is no engine."""
    try:
        docker()
    except LookupError as why:
        pytest.skip(str(why))
    folder = factory.mktemp(name)
    folder.chmod(0o755)
    return folder


class Deployment:
    """One project of compose, with a municipality whose units are on this machine; `files` come after the
    ordinary ones, `settings` besides what `.env` has here."""

    def __init__(
        self,
        folder: Path,
        files: Sequence[str] = (),
        municipality: str = "ibuurt",
        settings: Mapping[str, object] | None = None,
    ):
        self.name = f"ibuurt-test-{uuid.uuid4().hex[:8]}"
        self.folder = folder
        self.docker = docker()
        original = ROOT / "deploy/municipalities" / municipality
        self.unit_ports = {unit: free_port() for unit in read(original).units}
        self.subscriber_port = free_port()
        self.municipality = local_copy(original, folder, self.unit_ports, tips_wait=False)
        self.given = folder / "given"
        self.given.mkdir()
        self.tips_port, self.notify_port, self.prometheus_port = free_port(), free_port(), free_port()
        self.stats_port = free_port()
        brokers = 3 if "docker-compose.three-brokers.yml" in files else 1
        self.kafka_ports = [free_port() for _ in range(brokers)]
        environment = {
            "IBUURT_MUNICIPALITIES": folder,
            "IBUURT_MUNICIPALITY": self.municipality.name,
            "IBUURT_SECRETS_GIVEN": self.given,
            "IBUURT_KAFKA_PORT": self.kafka_ports[0],
            "IBUURT_TIPS_PORT": self.tips_port,
            "IBUURT_NOTIFY_PORT": self.notify_port,
            "IBUURT_STATS_PORT": self.stats_port,
            "IBUURT_PROMETHEUS_PORT": self.prometheus_port,
            # The tests play a whole town from one address.
            "IBUURT_UNLIMITED_NETWORKS": "0.0.0.0/0",
            # The units and a subscriber are on this machine, behind a forward inside the container.
            "IBUURT_PRIVATE_NETWORKS": "127.0.0.0/8",
            "IBUURT_TEST_PORTS": ",".join(map(str, [*self.unit_ports.values(), self.subscriber_port])),
        } | dict(settings or {})
        environment |= {
            f"IBUURT_KAFKA_PORT_{n}": port for n, port in enumerate(self.kafka_ports[1:], start=2)
        }
        self.files = ["docker-compose.yml", "tests/compose/override.yml", *files]
        env_file = folder / "compose.env"
        env_file.write_text("".join(f"{name}={value}\n" for name, value in environment.items()))
        self.compose = DockerCompose(
            ROOT,
            self.files,
            build=True,
            quiet_build=True,
            env_file=str(env_file),
            docker_command_path=self.docker,
            profiles=["operator"],
        )
        name_project(self.compose, self.name)

    def up(self) -> float:
        """Build, start and wait until all is healthy; the seconds from the start on. With its jobs run."""
        build = ["build", "--quiet", "--build-arg", f"REVISION={self.name}"]
        subprocess.run([*self.command, *build], cwd=ROOT, check=True, capture_output=True)
        began = time.monotonic()
        self.run("up", "--detach", "--wait", "--wait-timeout", "480", *self.ordinary)
        return time.monotonic() - began

    @cached_property
    def ordinary(self) -> list[str]:
        """The services that are not only for commands."""
        return [name for name in self.run("config", "--services").split() if name != "operator"]

    def down(self) -> None:
        """Stop and remove everything: data, secrets and images included."""
        self.run("down", "--volumes", "--timeout", "10", "--remove-orphans")
        (command,) = re.findall(r"`(docker image rm [^`]+)`", PAGE)
        self.typed(re.sub(r"ibuurt-\w+", rf"\g<0>:{self.name}", command))

    @property
    def command(self) -> list[str]:
        return self.compose.docker_compose_command()

    def run(self, *arguments: str) -> str:
        """A command of compose that must succeed; what it printed."""
        done = self.tried(*arguments)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def tried(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of compose that may fail."""
        return subprocess.run(
            [*self.command, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )

    def typed(self, command: str, *, check: bool = True) -> str:
        """Run a line of docs/operating.md in a shell, in the folder `typed`; what it printed, errors too."""
        folder = self.folder / "typed"
        folder.mkdir(exist_ok=True)
        programs = [Path(self.docker).parent, Path(sys.executable).parent, os.environ["PATH"]]
        environment = {
            "PATH": ":".join(map(str, programs)),
            "COMPOSE_ENV_FILES": str(self.folder / "compose.env"),
            "COMPOSE_PROJECT_NAME": self.name,
            "COMPOSE_FILE": ":".join(str(ROOT / file) for file in self.files),
            "PYTHONPATH": str(ROOT),
        }
        done = subprocess.run(
            ["sh", "-ec", command],
            cwd=folder,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0 or not check, f"{command}\n{done.stdout[-3000:]}"
        return done.stdout

    def two_of_stats(self) -> tuple[int, int]:
        """A second replica of stats, as the page says; the public ports of both. `up` ends it."""
        while True:
            first = free_port()
            with socket.socket() as probe, suppress(OSError):
                probe.bind(("127.0.0.1", first + 1))
                break
        command = "IBUURT_STATS_PORT=8003-8004 docker compose up -d --wait --scale stats=2"
        typed(self, command, **{"8003": str(first), "8004": str(first + 1)})
        return first, first + 1

    def agree(self, seconds: float = 300.0) -> dict[str, dict[str, Any]]:
        """Wait until the three services agree and nothing is on its way; their totals."""
        token = self.secrets()["operator_token"]
        end = time.monotonic() + seconds
        while True:
            try:
                found = {
                    name: fetch(name, f"http://127.0.0.1:{self.port(name, 9000)}", token) for name in SERVICES
                }
            except (Away, AssertionError) as away:
                # It may be starting, and have no port yet.
                wrong = [str(away)]
            else:
                wrong = [str(one) for one in reconcile(found)]
                wrong += [
                    f"{name} {figure}"
                    for name, one in found.items()
                    for figure in ON_THE_WAY
                    if one.get(figure)
                ]
            if not wrong:
                return found
            assert time.monotonic() < end, wrong
            time.sleep(1)

    def job(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a job or the operator once more, by itself; it may refuse."""
        return self.tried("run", "--rm", "--no-TTY", "--no-deps", name, *arguments)

    def shell(self, service: str, script: str) -> str:
        """Run a shell script in a container of its own with the service's volumes; its output."""
        return self.run(
            "run", "--rm", "--no-TTY", "--no-deps", "--entrypoint", "/bin/sh", service, "-c", script
        )

    def change_secret(self, path: str, text: str) -> None:
        """Write a file below the operator's /secrets."""
        self.shell("operator", f"rm -f /secrets/{path} && printf %s '{text}' >/secrets/{path}")

    def secrets(self) -> Mapping[str, str]:
        """Everything that the store holds."""
        arguments = ["run", "--rm", "--no-TTY", "--no-deps", "--entrypoint", "tar", "operator"]
        command = [*self.command, *arguments, "-C", "/secrets/store", "-c", "."]
        packed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            files = {entry.name[2:]: archive.extractfile(entry) for entry in archive if entry.isfile()}
            return {name: file.read().decode().strip() for name, file in files.items() if file}

    def states(self) -> dict[str, str]:
        """Each service's state and health, such as `running healthy`; of jobs their exit code."""
        lines = self.run("ps", "--all", "--format", "json").splitlines()
        found = [json.loads(line) for line in lines]
        return {
            entry["Service"]: f"exited {entry['ExitCode']}"
            if entry["State"] == "exited"
            else f"{entry['State']} {entry['Health']}".strip()
            for entry in found
        }

    def healthy(self, services: Sequence[str], seconds: float = 90.0) -> None:
        """Wait until these services are running and healthy."""
        end = time.monotonic() + seconds
        while wrong := {
            name: state
            for name, state in self.states().items()
            if name in services and state != "running healthy"
        }:
            assert time.monotonic() < end, wrong
            time.sleep(0.5)

    def refuses(self, service: str, seconds: float = 60.0) -> str:
        """Start a service anew and wait until it stops; the one line that it says."""
        since = self.run("exec", "-T", "postgres", "date", "-u", "+%Y-%m-%dT%H:%M:%S.%NZ").strip()
        self.run("restart", "--timeout", "10", "--no-deps", service)
        end = time.monotonic() + seconds
        while self.states()[service].startswith("running"):
            assert time.monotonic() < end, f"{service} does not stop"
            time.sleep(0.1)
        said = self.run("logs", "--no-log-prefix", "--no-color", "--since", since, service)
        # Besides its log, which ends there; it may have been started more than once since.
        lines = [line for line in said.splitlines() if line.startswith(f"{service}: ")]
        assert len(set(lines)) == 1, said
        return lines[0]

    def image(self, service: str) -> str:
        """The name of the image of a service or of the operator, here."""
        return f"ibuurt-{service}:{self.name}"

    def sizes(self) -> str:
        """The images' sizes, in a line."""
        asked = ["image", "inspect", "--format", "{{.Size}}", *map(self.image, IMAGES)]
        sizes = zip(IMAGES, self.engine(*asked).split(), strict=True)
        return ", ".join(f"{name} {int(size) / 1e6:.0f} MB" for name, size in sizes)

    def containers(self) -> dict[str, dict[str, Any]]:
        """What the engine says of each container, ended ones too, by its name."""
        ids = self.run("ps", "--all", "--quiet").split()
        return {one["Name"].removeprefix("/"): one for one in json.loads(self.engine("inspect", *ids))}

    def container(self, service: str) -> str:
        """The name of a service's only container."""
        return f"{self.name}-{service}-1"

    def engine(self, *arguments: str) -> str:
        """A command of docker that must succeed; what it printed."""
        done = subprocess.run([self.docker, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def admin(self) -> Cluster:
        """Kafka by its listeners for outsiders, as its administrator."""
        secrets = self.secrets()
        authority = self.folder / "ca.crt"
        authority.write_text(secrets["ca.crt"])
        brokers = ",".join(f"localhost:{port}" for port in self.kafka_ports)
        return Cluster(brokers, "admin", secrets["kafka_admin"], authority)

    def port(self, service: str, inside: int) -> int:
        """The port of 127.0.0.1 behind which a port of the service is."""
        return int(self.run("port", service, str(inside)).rpartition(":")[2])

    def gateway(self) -> str:
        """The address at which containers reach this machine."""
        found = self.run("exec", "-T", "notify", "getent", "hosts", "host.docker.internal")
        return found.split()[0]

    def left(self) -> list[str]:
        """Containers, volumes, networks and images that are left of this project."""
        found = self.engine("image", "ls", "--quiet", "--filter", f"reference=ibuurt-*:{self.name}").split()
        for kind in ("container", "volume", "network"):
            asked = [
                self.docker,
                kind,
                "ls",
                "-q",
                "--filter",
                f"label=com.docker.compose.project={self.name}",
            ]
            asked += ["--all"] if kind == "container" else []
            found += subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
        return found
