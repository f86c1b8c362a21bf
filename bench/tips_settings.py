"""What a `tips` of its own is told that a bench starts on its servers (deploy/local/stack.py)."""

import secrets

from deploy.local.infrastructure import LocalInfrastructure
from deploy.local.stack import ROOT
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
