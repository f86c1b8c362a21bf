"""What was destroyed of a report, who had been sent its words, and what became of their copies."""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from services.tips.core.view import utc

# The purpose in the log of a text that was made public.
PUBLIC_TEXT = "public_text"
# How long a receipt leads to the certificate; after that nothing here connects the two.
CERTIFICATE_KEPT = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Erasure:
    """`destroyed` has a number for each sort of what there was. `at` is UTC, a tip's is a whole hour.
    `key_name` is the key that the words were under, None where there were none."""

    report_id: uuid.UUID
    at: datetime
    reason: str
    destroyed: Mapping[str, int]
    key_name: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """A line of the log about a report. `reader` is a code; `at` is UTC, a tip's is a whole hour."""

    at: datetime
    act: str
    reader: str
    service: str
    purpose: str


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What a destination says of its copy: it is gone, or it cannot be erased there."""

    state: Literal["confirmed", "cannot"]
    at: datetime


def reader_shown(actor: str) -> str:
    """A code of the log as a resident reads it: a unit is named, a person by what they are alone
    (`officer`)."""
    kind, _, _ = actor.partition(":")
    return actor if kind == "unit" else kind


def destinations(readings: Iterable[Reading]) -> dict[str, Reading]:
    """Those who were sent words, with the last time, in the order of the first. Whoever made a text public
    sent it to nobody who could confirm anything."""
    sent = (reading for reading in readings if reading.act == "disclosure")
    return {reading.reader: reading for reading in sent if reading.purpose != PUBLIC_TEXT}


def certificate(
    erasure: Erasure,
    readings: Iterable[Reading],
    confirmations: Mapping[str, Confirmation],
    backups_until: datetime | None,
) -> dict[str, Any]:
    """The certificate as JSON; whoever has not said anything yet is `waiting`. `backups_until` is what
    keeping.py says of it."""
    readings = list(readings)
    return {
        "erased_at": utc(erasure.at),
        "reason": erasure.reason,
        "destroyed": dict(erasure.destroyed),
        "backups_until": utc(backups_until),
        "sent_to": [
            {
                "reader": reader_shown(reader),
                "sent_at": utc(reading.at),
                "state": confirmations[reader].state if reader in confirmations else "waiting",
                "answered_at": utc(confirmations[reader].at) if reader in confirmations else None,
            }
            for reader, reading in destinations(readings).items()
        ],
        "read_by": [
            {"reader": reader_shown(reading.reader), "purpose": reading.purpose, "at": utc(reading.at)}
            for reading in readings
            if reading.act == "consultation"
        ],
        "made_public": [
            {"by": reader_shown(reading.reader), "at": utc(reading.at)}
            for reading in readings
            if reading.act == "disclosure" and reading.purpose == PUBLIC_TEXT
        ],
        "certificate_until": utc(erasure.at + CERTIFICATE_KEPT),
    }
