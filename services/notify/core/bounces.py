"""What a delivery status notification (RFC 3464) says: which e-mail did not arrive, and whether that is for
good. Anybody may send one, so nothing in it is believed but an id that only whoever got the e-mail knows."""

import email
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.policy import compat32

from services.notify.core.letters import delivery_of


@dataclass(frozen=True, slots=True)
class Bounce:
    """`delivery_id` is that of the e-mail that it is about, None where that is none of ours; `failed` is
    false while somebody still tries, or where it arrived after all."""

    delivery_id: uuid.UUID | None
    failed: bool


def read_bounce(content: bytes) -> Bounce | None:
    """What an e-mail says as a delivery status notification; None where it is none."""
    try:
        return _read(content)
    except RecursionError:
        # Parts in parts without end: nobody's mail server writes so.
        return None


def _read(content: bytes) -> Bounce | None:
    message = email.message_from_bytes(content, policy=compat32)
    if message.get_content_type() != "multipart/report":
        return None
    parts = list(message.walk())
    actions = [
        action
        for part in parts
        if part.get_content_type() == "message/delivery-status"
        for action in _actions(part)
    ]
    if not actions:
        return None
    ids = (delivery_of(one) for part in parts for one in _ids(part, message))
    return Bounce(next((one for one in ids if one), None), "failed" in actions)


def _actions(part: Message) -> Iterator[str]:
    """What became of each recipient."""
    fields = part.get_payload()
    for one in fields if isinstance(fields, list) else ():
        if isinstance(one, Message) and (action := one.get("Action")):
            yield str(action).strip().lower()


def _ids(part: Message, whole: Message) -> Iterator[str]:
    """The Message-ID of what comes back: whole, or only its headers; or what it is said to be in reply to."""
    if part is whole:
        yield str(part.get("In-Reply-To") or "")
    elif part.get_content_type() == "text/rfc822-headers":
        headers = part.get_payload(decode=True)
        if isinstance(headers, bytes):
            yield str(email.message_from_bytes(headers, policy=compat32).get("Message-ID") or "")
    else:
        yield str(part.get("Message-ID") or "")
