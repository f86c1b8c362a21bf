"""A `tips` of its own for a bench, as it is deployed, on the bench's servers."""

import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.local.infrastructure import LocalInfrastructure
from deploy.local.processes import Child, free_port
from deploy.local.stack import ROOT, ServiceProcess
from shared import postgres

TOWN = ROOT / "deploy" / "municipalities" / "ibuurt"
MIGRATIONS = [postgres.SHARED_MIGRATIONS, ROOT / "services" / "tips" / "migrations"]


def tips_settings(infrastructure: LocalInfrastructure, **more: str) -> dict[str, str]:
    """What every `tips` of a bench is told, and `more`: settings by their names in lower case."""
    keys, photos = infrastructure.folder / "keys", infrastructure.folder / "photos"
    for folder in (keys, photos):
        folder.mkdir(mode=0o700)
    settings = {
        "municipality": str(TOWN),
        "kafka_bootstrap": infrastructure.bootstrap,
        "key_folder": str(keys),
        "photo_store": str(photos),
        **{
            name: secrets.token_urlsafe(32)
            for name in ("operator_token", "receipt_pepper", "lookup_pepper", "notify_token")
        },
    } | more
    return {f"IBUURT_{name.upper()}": value for name, value in settings.items()}


def tips_process(
    infrastructure: LocalInfrastructure, name: str, settings: Mapping[str, str]
) -> ServiceProcess:
    """One that is not started yet; its database, of that name, is to be made and migrated first."""
    http_port, internal_port = free_port(), free_port()
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
        [sys.executable, "-m", "services.tips"],
        log=infrastructure.folder / f"{name}.log",
        env=inherited | dict(settings) | own,
        cwd=Path(ROOT),
    )
    return ServiceProcess("tips", child, http_port, internal_port, dsn)
