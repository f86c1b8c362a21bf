"""What a delivery status notification says; anybody may send one, so that anything may come."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notify.core.bounces import Bounce, read_bounce

OURS = uuid.UUID("6f1c1f3e-58a0-5b0e-9d5e-0a6a3e0b7c11")


def notification(
    action: str = "failed",
    back: str = "message/rfc822",
    message_id: str = f"<{OURS}@town.example>",
    more: str = "",
) -> bytes:
    """As Postfix writes one."""
    return f"""From: MAILER-DAEMON@mail.example
To: units@town.example
Subject: Undelivered Mail Returned to Sender
{more}MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b1"

--b1
Content-Type: text/plain

This is the mail system at host mail.example.

--b1
Content-Type: message/delivery-status

Reporting-MTA: dns; mail.example
Arrival-Date: Thu, 26 Nov 2026 10:00:00 +0100

Final-Recipient: rfc822; team@unit.example
Action: {action}
Status: 5.1.1
Diagnostic-Code: smtp; 550 no such user

--b1
Content-Type: {back}

From: units@town.example
To: team@unit.example
Message-ID: {message_id}
Subject: iBuurt

text
--b1--
""".replace("\n", "\r\n").encode()


@pytest.mark.parametrize("back", ["message/rfc822", "text/rfc822-headers"])
def test_what_failed_is_found_by_its_message_id(back: str) -> None:
    """In the e-mail that comes back, whole or as headers."""
    assert read_bounce(notification(back=back)) == Bounce(OURS, failed=True)


@pytest.mark.parametrize("action", ["delayed", "delivered", "relayed", "expanded"])
def test_what_is_still_tried_has_not_failed(action: str) -> None:
    """RFC 3464's other actions."""
    assert read_bounce(notification(action)) == Bounce(OURS, failed=False)


def test_a_server_that_sends_nothing_back_says_what_it_is_in_reply_to() -> None:
    """Some do, in the header."""
    said = notification(back="text/plain", message_id="-", more=f"In-Reply-To: <{OURS}@town.example>\n")
    assert read_bounce(said) == Bounce(OURS, failed=True)


def test_another_message_is_none() -> None:
    """An answer by a person, an out-of-office notice, a report of another sort, nothing, or about others."""
    person = b"From: a@b.example\r\nMessage-ID: <x@y>\r\n\r\nhello\r\n"
    assert read_bounce(person) is None
    assert read_bounce(b"") is None
    assert read_bounce(notification().replace(b"message/delivery-status", b"text/plain")) is None
    assert read_bounce(notification().replace(b"multipart/report", b"multipart/mixed")) is None
    assert read_bounce(notification(message_id="<other@elsewhere.example>")) == Bounce(None, failed=True)


def test_parts_in_parts_without_end_are_no_notification() -> None:
    """A megabyte of them."""
    begin = b'Content-Type: multipart/report; boundary="b%d"\r\n\r\n--b%d\r\n'
    assert read_bounce(b"".join(begin % (number, number) for number in range(15_000))) is None
    nested = b"Content-Type: message/rfc822\r\n\r\n" * 30_000
    head = notification().split(b"--b1\r\nContent-Type: message/rfc822")[0]
    assert read_bounce(head + b"--b1\r\n" + nested) in (None, Bounce(None, failed=True))


@given(st.binary(max_size=400), st.integers(0, 900))
def test_no_notification_is_an_error(noise: bytes, place: int) -> None:
    """Whatever is put into one, wherever."""
    whole = notification()
    place %= len(whole)
    for text in (noise, whole[:place] + noise + whole[place:], whole[:place] + noise, whole[place:]):
        found = read_bounce(text)
        assert found is None or isinstance(found, Bounce)
