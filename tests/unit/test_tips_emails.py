"""E-mails about issues, before they are sent."""

import email
import email.policy
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.tips.body import EmailAddress
from services.tips.core import emails
from services.tips.core.emails import CONFIRM, Sender

SENDER = Sender("Town", "Town <news@town.example>", "https://town.example")
PATTERN = EmailAddress.model_json_schema()["properties"]["address"]["pattern"]
ODD = st.text(max_size=40).map(lambda text: f"{text}@c.example")
ADDRESSES = st.from_regex(PATTERN, fullmatch=True) | ODD


@given(ADDRESSES)
def test_whatever_address_is_taken_can_be_written_to_and_is_the_only_one(text: str) -> None:
    """An address that a mail program reads otherwise than we do would end the worker, or go to others."""
    try:
        address = EmailAddress(address=text).address
    except ValidationError:
        return
    now = datetime(2026, 11, 12, 13, 37, tzinfo=UTC)
    said = emails.texts("nl", ("nl",))
    made = emails.compose(CONFIRM, address, "a-name", "/v1/email/x/y", SENDER, said, now)
    read = email.message_from_bytes(made.as_bytes(), policy=email.policy.default)
    assert [one.addr_spec for one in read["To"].addresses] == [address]
