"""What the end-to-end tests run against: the local stack, or any deployment that the environment names.

A deployment is named by IBUURT_E2E_TIPS_URL. Its units' webhooks must reach this machine: the tests listen
where the municipality's folder says that its units are.
"""

import contextlib
import os
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from deploy.local.ledger import totals
from deploy.local.stack import ROOT, local_stack
from deploy.local.units import Units
from shared.cluster import Where
from shared.municipality import read
from shared.settings import KafkaSettings

SERVICES = ("tips", "notify", "stats")
IBUURT = ROOT / "deploy" / "municipalities" / "ibuurt"
MEANT = {
    "IBUURT_E2E_TIPS_URL": "tips' public port",
    "IBUURT_E2E_MUNICIPALITY": "folder of the municipality that it runs, each of whose units has a port here",
    "IBUURT_E2E_LISTEN": "address of this machine that the units' webhooks reach",
    "IBUURT_E2E_WEBHOOK_SECRETS": "folder with each unit's signing secret",
    "IBUURT_E2E_INTERNAL_URLS": "internal ports of tips, notify and stats, by commas; or nothing",
    "IBUURT_OPERATOR_TOKEN": "what opens their totals",
    "IBUURT_E2E_LOGS": "command that prints the log of the service {service}; or nothing",
    "IBUURT_KAFKA_BOOTSTRAP": "Kafka, as IBUURT_KAFKA_USER with …_PASSWORD and …_CA; or nothing",
}


@dataclass(frozen=True)
class Target:
    """One deployment, as a test meets it; what is None cannot be looked at there."""

    tips_url: str
    municipality: Path
    units: Units
    totals: Callable[[], dict[str, dict[str, Any]]] | None
    kafka: Where | None
    log: Callable[[str], str] | None


@contextlib.contextmanager
def target() -> Iterator[Target]:
    """The deployment that the environment names, or else a local stack for as long as the block lasts."""
    if os.environ.get("IBUURT_E2E_TIPS_URL"):
        yield _named(os.environ)
        return
    units = Units(read(IBUURT).units)
    with local_stack(IBUURT, units.ports, tips_wait=False) as stack:
        units.secrets = stack.webhook_secrets
        yield Target(
            stack.services["tips"].url,
            IBUURT,
            units,
            stack.totals,
            stack.infrastructure.bootstrap,
            lambda service: stack.services[service].child.log.read_text("utf-8"),
        )


def _named(environment: Mapping[str, str]) -> Target:
    missing = [f"{name} ({MEANT[name]})" for name in list(MEANT)[:4] if not environment.get(name)]
    assert not missing, f"set {', '.join(missing)}"
    folder = Path(environment["IBUURT_E2E_MUNICIPALITY"])
    town = read(folder)
    ports = {unit.id: urlsplit(unit.webhooks[0].url).port or 80 for unit in town.units.values()}
    given = Path(environment["IBUURT_E2E_WEBHOOK_SECRETS"])
    secrets = {unit: (given / unit).read_text("ascii").split()[0] for unit in town.units}
    units = Units(town.units, host=environment["IBUURT_E2E_LISTEN"], secrets=secrets, ports=ports)
    urls = dict(zip(SERVICES, environment.get("IBUURT_E2E_INTERNAL_URLS", "").split(","), strict=False))
    logs = environment.get("IBUURT_E2E_LOGS")
    return Target(
        environment["IBUURT_E2E_TIPS_URL"],
        folder,
        units,
        (lambda: totals(urls, environment["IBUURT_OPERATOR_TOKEN"])) if len(urls) == len(SERVICES) else None,
        KafkaSettings.read().kafka if environment.get("IBUURT_KAFKA_BOOTSTRAP") else None,
        (lambda service: _printed(logs.replace("{service}", service))) if logs else None,
    )


def _printed(command: str) -> str:
    return subprocess.run(shlex.split(command), capture_output=True, text=True, check=True).stdout
