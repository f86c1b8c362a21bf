"""The whole system on this machine: Kafka, PostgreSQL and the three services as processes of their own."""

import asyncio
import contextlib
import os
import secrets
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.local import ledger
from deploy.local.infrastructure import LocalInfrastructure, local_infrastructure
from deploy.local.postgres import create_database
from deploy.local.processes import BEHIND, Child, free_port
from deploy.local.progress import Progress, to_stderr
from deploy.local.town import local_copy, webhook_secrets
from shared import kafka, postgres
from shared.municipality import read

SERVICES = ("tips", "notify", "stats")
ROOT = Path(__file__).parents[2]
READY_SECONDS = 30.0


@dataclass(frozen=True)
class ServiceProcess:
    """One service: its process, its ports on 127.0.0.1, and its database."""

    name: str
    child: Child
    http_port: int
    internal_port: int
    dsn: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def internal_url(self) -> str:
        return f"http://127.0.0.1:{self.internal_port}"

    def start(self) -> float:
        """Start it and wait until it is ready; returns the seconds that took. Raises ChildFailed."""
        started = time.monotonic()
        self.child.start()
        self.child.wait_until(self.ready, READY_SECONDS)
        return time.monotonic() - started

    def ready(self) -> bool:
        return answers(f"{self.internal_url}/ready")


@dataclass(frozen=True)
class Stack:
    """Everything that runs, and what one needs to talk to it."""

    infrastructure: LocalInfrastructure
    services: Mapping[str, ServiceProcess]
    municipality: Path
    operator_token: str
    desk_token: str
    webhook_secrets: Mapping[str, str]
    # Seconds from the start of all three to the readiness of each.
    ready_after: Mapping[str, float]

    @property
    def folder(self) -> Path:
        return self.infrastructure.folder

    def processes(self) -> dict[str, Child]:
        """Every process by name, Kafka and PostgreSQL too."""
        infrastructure = self.infrastructure
        return {
            **{name: service.child for name, service in self.services.items()},
            "kafka": infrastructure.kafka.child,
            "postgres": infrastructure.postgres.child,
        }

    def totals(self) -> dict[str, dict[str, Any]]:
        """What each service says it has, by service. Raises Away where one does not answer."""
        urls = {name: service.internal_url for name, service in self.services.items()}
        return ledger.totals(urls, self.operator_token)


@contextlib.contextmanager
def local_stack(
    municipality: Path,
    unit_ports: Mapping[str, int],
    *,
    tips_wait: bool = True,
    environment: Mapping[str, str] | None = None,
    progress: Progress = to_stderr,
) -> Iterator[Stack]:
    """Start all, yield it, stop and remove all: also after an exception, Ctrl-C or SIGTERM.

    `environment` adds to the services' settings. Raises Refusal where something must be installed first or
    the folder is wrong, ChildFailed where a process does not come up.
    """
    slug = read(municipality).slug
    with local_infrastructure(progress=progress) as infrastructure, contextlib.ExitStack() as started:
        copy = local_copy(municipality, infrastructure.folder, unit_ports, tips_wait=tips_wait)
        signing = webhook_secrets(copy, infrastructure.folder / "webhook-secrets")
        token = secrets.token_urlsafe(32)
        settings = _settings(infrastructure, copy, token) | dict(environment or {})
        services = _service_processes(infrastructure, settings)
        databases = asyncio.run(_prepare(infrastructure, services))
        progress(f"topics and {databases} databases of {slug} made")
        for service in services.values():
            started.callback(service.child.stop)
            service.child.start()
        begun = time.monotonic()
        ready_after = {}
        for service in services.values():
            service.child.wait_until(service.ready, READY_SECONDS)
            took = ready_after[service.name] = time.monotonic() - begun
            progress(f"{service.name} at {service.url}, internal {service.internal_url} ({took:.1f} s)")
        yield Stack(
            infrastructure, services, copy, token, settings["IBUURT_DESK_TOKEN"], signing, ready_after
        )


def _settings(infrastructure: LocalInfrastructure, municipality: Path, token: str) -> dict[str, str]:
    folder = infrastructure.folder
    for own in ("keys", "photos"):
        (folder / own).mkdir(mode=0o700)
    shared_token = secrets.token_urlsafe(32)
    return {
        "IBUURT_MUNICIPALITY": str(municipality),
        "IBUURT_KAFKA_BOOTSTRAP": infrastructure.bootstrap,
        "IBUURT_OPERATOR_TOKEN": token,
        # Whoever plays the residents is one address.
        "IBUURT_UNLIMITED_NETWORKS": "127.0.0.0/8",
        # The units' systems are on this machine.
        "IBUURT_PRIVATE_NETWORKS": "127.0.0.0/8,::1/128",
        "IBUURT_RECEIPT_PEPPER": secrets.token_urlsafe(32),
        "IBUURT_LOOKUP_PEPPER": secrets.token_urlsafe(32),
        "IBUURT_KEY_FOLDER": str(folder / "keys"),
        "IBUURT_PHOTO_STORE": str(folder / "photos"),
        "IBUURT_NOTIFY_TOKEN": shared_token,
        "IBUURT_TIPS_TOKEN": shared_token,
        "IBUURT_LINK_SECRET": secrets.token_urlsafe(32),
        "IBUURT_DESK_TOKEN": secrets.token_urlsafe(32),
        "IBUURT_SIGNING_KEY": secrets.token_urlsafe(32),
        "IBUURT_SUBSCRIPTION_SECRET": secrets.token_urlsafe(32),
        "IBUURT_WEBHOOK_SECRETS": str(folder / "webhook-secrets"),
    }


def _service_processes(
    infrastructure: LocalInfrastructure, settings: dict[str, str]
) -> dict[str, ServiceProcess]:
    ports = {name: (free_port(), free_port()) for name in SERVICES}
    places = {
        "IBUURT_TIPS_URL": f"http://127.0.0.1:{ports['tips'][1]}",
    }
    return {
        name: service_process(infrastructure, name, settings | places, ports=ports[name]) for name in SERVICES
    }


def service_process(
    infrastructure: LocalInfrastructure,
    service: str,
    settings: Mapping[str, str],
    *,
    name: str | None = None,
    ports: tuple[int, int] | None = None,
) -> ServiceProcess:
    """A service's process, not started yet. Its log and its database, which is to be made and migrated first,
    have its `name`, the service's unless it is given; `ports` are the public and the internal one."""
    name = name or service
    http_port, internal_port = ports or (free_port(), free_port())
    dsn = infrastructure.postgres.dsn(name)
    own = {
        "IBUURT_DATABASE_URL": dsn,
        "IBUURT_HTTP_PORT": str(http_port),
        "IBUURT_INTERNAL_PORT": str(internal_port),
        "IBUURT_PUBLIC_URL": f"http://127.0.0.1:{http_port}",
    }
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("IBUURT_")}
    child = Child(
        name,
        [sys.executable, "-m", f"services.{service}"],
        log=infrastructure.folder / f"{name}.log",
        env=inherited | dict(settings) | own,
        cwd=ROOT,
        niceness=0 if service == "tips" else BEHIND,
    )
    return ServiceProcess(service, child, http_port, internal_port, dsn)


async def _prepare(infrastructure: LocalInfrastructure, services: Mapping[str, ServiceProcess]) -> int:
    await kafka.create_topics(infrastructure.bootstrap)
    for name, service in services.items():
        await create_database(infrastructure.admin_dsn, name)
        folder = ROOT / "services" / name / "migrations"
        await postgres.migrate(service.dsn, [postgres.SHARED_MIGRATIONS, folder])
    return len(services)


def answers(url: str) -> bool:
    """Whether an HTTP GET of this machine's `url` is answered with success."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
