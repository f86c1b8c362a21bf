"""Signed links: who holds one may answer one report for one unit, or see its digest, until it expires."""

import base64
import hmac
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

# From when it went, and from when the report was to be solved.
LINK_DAYS = 30
DIGEST_DAYS = 2
_REPORT, _DIGEST = "1", "d1"


@dataclass(frozen=True, slots=True)
class Link:
    """What a signed link allows: this unit may answer this report, at least until then."""

    report_id: uuid.UUID
    unit: str
    expires: datetime


@dataclass(frozen=True, slots=True)
class DigestLink:
    """What a signed link to a digest allows: to see this unit's until then."""

    unit: str
    expires: datetime


def works_until(link: Link, resolve_by: datetime) -> datetime:
    """When a link ends whose report is to be solved by then. That is not in the token, which everybody can
    read: when a tip is to be solved does not leave by e-mail."""
    return max(link.expires, resolve_by + timedelta(days=LINK_DAYS))


def write_token(link: Link, secret: str) -> str:
    """base64url(payload).base64url(HMAC-SHA-256(secret, payload))."""
    fields = _REPORT, link.report_id.hex, link.unit, str(int(link.expires.timestamp()))
    return _signed(".".join(fields).encode(), secret).decode()


def write_digest_token(link: DigestLink, secret: str) -> str:
    """As `write_token`; neither is ever the other."""
    fields = _DIGEST, link.unit, str(int(link.expires.timestamp()))
    return _signed(".".join(fields).encode(), secret).decode()


def read_token(token: str, secret: str) -> Link | None:
    """The link that a token stands for, expired or not; None where it was not signed with the secret, or
    stands for a digest."""
    fields = _fields(token, secret)
    if fields is None or fields[0] != _REPORT:
        return None
    _, report_id, unit, expires = fields
    return Link(uuid.UUID(report_id), unit, datetime.fromtimestamp(int(expires), UTC))


def read_digest_token(token: str, secret: str) -> DigestLink | None:
    """As `read_token`, of a digest."""
    fields = _fields(token, secret)
    if fields is None or fields[0] != _DIGEST:
        return None
    _, unit, expires = fields
    return DigestLink(unit, datetime.fromtimestamp(int(expires), UTC))


def _fields(token: str, secret: str) -> list[str] | None:
    try:
        sent = token.encode("ascii")
        written = sent.partition(b".")[0]
        payload = base64.b64decode(written + b"=" * (-len(written) % 4), b"-_", validate=True)
    except ValueError:
        return None
    # Held against the whole token as it would be written: base64 has several spellings of the same bytes.
    if not hmac.compare_digest(sent, _signed(payload, secret)):
        return None
    return payload.decode().split(".")


def _signed(payload: bytes, secret: str) -> bytes:
    signature = hmac.digest(secret.encode(), payload, "sha256")
    return b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (payload, signature))
