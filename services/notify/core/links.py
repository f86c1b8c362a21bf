"""Signed links: who holds one may answer one report for one unit, until it expires."""

import base64
import hmac
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

LINK_DAYS = 30


@dataclass(frozen=True, slots=True)
class Link:
    """What a signed link allows: this unit may answer this report until then."""

    report_id: uuid.UUID
    unit: str
    expires: datetime


def write_token(link: Link, secret: str) -> str:
    """base64url(payload).base64url(HMAC-SHA-256(secret, payload))."""
    payload = f"1.{link.report_id.hex}.{link.unit}.{int(link.expires.timestamp())}".encode()
    return _signed(payload, secret).decode()


def read_token(token: str, secret: str) -> Link | None:
    """The link that a token stands for, expired or not; None where it was not signed with the secret."""
    try:
        sent = token.encode("ascii")
        written = sent.partition(b".")[0]
        payload = base64.b64decode(written + b"=" * (-len(written) % 4), b"-_", validate=True)
    except ValueError:
        return None
    # Held against the whole token as it would be written: base64 has several spellings of the same bytes.
    if not hmac.compare_digest(sent, _signed(payload, secret)):
        return None
    _, report_id, unit, expires = payload.decode().split(".")
    return Link(uuid.UUID(report_id), unit, datetime.fromtimestamp(int(expires), UTC))


def _signed(payload: bytes, secret: str) -> bytes:
    signature = hmac.digest(secret.encode(), payload, "sha256")
    return b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (payload, signature))
