"""A copy of a municipality's folder for this machine: its units' webhooks point here, and acknowledge."""

import base64
import re
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from shared.municipality import read

_CHANNEL = re.compile(r'^url = "[^"]*"$', re.MULTILINE)
_ACKNOWLEDGED = re.compile(r"^acknowledged_field = .*\n", re.MULTILINE)
_TIP = re.compile(r'^kind = "tip"$', re.MULTILINE)
_WAIT = re.compile(r"^delivery_wait_minutes = .*\n", re.MULTILINE)


def local_copy(municipality: Path, folder: Path, ports: Mapping[str, int], *, tips_wait: bool) -> Path:
    """Copy `municipality` to `folder`, each unit's webhook to its port of 127.0.0.1; returns the copy.

    With `tips_wait` False a tip is delivered at once: only for a trial, because the wait is what keeps a
    unit from telling when a tip was sent. Raises MunicipalityError where the folder or its copy is wrong.
    """
    original = read(municipality)
    copy = folder / original.slug
    shutil.copytree(municipality, copy)
    units = copy / "units.toml"
    places = iter(
        f'url = "http://127.0.0.1:{ports[unit.id]}/reports"\nacknowledged_field = "acknowledged"'
        for unit in original.units.values()
        for _ in unit.webhooks
    )
    text = _ACKNOWLEDGED.sub("", units.read_text("utf-8"))
    units.write_text(_CHANNEL.sub(lambda _: next(places), text), "utf-8")
    if not tips_wait:
        categories = copy / "categories.toml"
        text = _WAIT.sub("", categories.read_text("utf-8"))
        categories.write_text(_TIP.sub('kind = "tip"\ndelivery_wait_minutes = 0', text), "utf-8")
    read(copy)
    return copy


def webhook_secrets(municipality: Path, folder: Path) -> dict[str, str]:
    """Make a signing secret per unit, each in a file of that name; returns them."""
    folder.mkdir(mode=0o700)
    made = {
        unit: f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
        for unit in read(municipality).units
    }
    for unit, secret in made.items():
        path = folder / unit
        path.touch(mode=0o600)
        path.write_text(secret, "utf-8")
    return made
