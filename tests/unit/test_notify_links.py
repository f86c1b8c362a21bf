"""Signed links: what was not signed here opens nothing."""

import base64
import uuid
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from services.notify.core.links import Link, read_token, write_token

SECRET = "s" * 32
LINK = Link(uuid.UUID(int=5), "neighbourhood_police_north", datetime(2026, 12, 2, 9, tzinfo=UTC))


@given(
    st.uuids(),
    st.from_regex(r"\A[a-z][a-z0-9_]{0,39}\Z"),
    st.integers(1_577_836_800, 4_102_444_800),
)
def test_a_token_holds_report_unit_and_expiry(report_id: uuid.UUID, unit: str, expires: int) -> None:
    """To the second; and it needs no escaping in an address."""
    link = Link(report_id, unit, datetime.fromtimestamp(expires, UTC))
    token = write_token(link, SECRET)
    assert read_token(token, SECRET) == link
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


def test_every_altered_character_is_noticed() -> None:
    """Also in the last one, where base64 has several spellings of the same bytes."""
    token = write_token(LINK, SECRET)
    for place, letter in enumerate(token):
        for other in "AQgw-_.":
            if other != letter:
                altered = token[:place] + other + token[place + 1 :]
                assert read_token(altered, SECRET) is None, place


def test_a_foreign_secret_signs_nothing() -> None:
    """The right content under another secret is refused."""
    assert read_token(write_token(LINK, "t" * 32), SECRET) is None


def test_a_signature_of_another_link_is_refused() -> None:
    """Payload of one, signature of the other."""
    other = write_token(Link(uuid.UUID(int=6), LINK.unit, LINK.expires), SECRET)
    mixed = f"{write_token(LINK, SECRET).split('.')[0]}.{other.split('.')[1]}"
    assert read_token(mixed, SECRET) is None


@given(st.text(max_size=300))
def test_anything_else_is_refused_and_never_raises(token: str) -> None:
    """Whatever stands in the address."""
    assert read_token(token, SECRET) is None


def test_a_token_is_what_the_documents_say() -> None:
    """base64url(payload).base64url(HMAC-SHA-256), without padding."""
    payload, signature = write_token(LINK, SECRET).split(".")
    assert "=" not in payload + signature
    assert base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)).startswith(b"1.")
    assert len(base64.urlsafe_b64decode(signature + "=")) == 32
