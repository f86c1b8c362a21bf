"""docs/operating.md, Install: a mail server, which is another machine's: nothing goes there without TLS and
the account, whose password is a file."""

import re
import secrets
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from email.message import EmailMessage

import pytest

from tests.compose.deployment import ROOT, Deployment, typed
from tests.compose.town import Town
from tests.integration.mail_server import Mailbox, authority, mailbox

HAND_OUT = "docker compose run --rm secrets"
UP = "docker compose up -d --wait"
MAIL = ROOT / "tests/compose/mail.yml"
HOST, USER, PASSWORD = "host.docker.internal", "ibuurt", secrets.token_urlsafe(24)
SENDER, UNIT, RESIDENT = "meldingen@ibuurt.example", "parking@ibuurt.example", "someone@residents.example"
SECONDS = 90.0


@pytest.fixture
def box(deployment: Deployment) -> Iterator[Mailbox]:
    """A mail server on this machine, which the deployment is told of; by it the unit that is called about
    parked cars gets its reports. Afterwards both are as they were."""
    settings, units = deployment.folder / "compose.env", deployment.municipality / "units.toml"
    before = {path: path.read_text("utf-8") for path in (settings, units)}
    password = deployment.given / "smtp_password"
    context, ca = authority(deployment.folder, [HOST])
    webhook = (
        f'kind = "webhook"\nurl = "http://127.0.0.1:{deployment.unit_ports["parking"]}/reports"\n'
        'acknowledged_field = "acknowledged"\n'
    )
    assert webhook in before[units]
    try:
        with mailbox(context, deployment.gateway(), (USER, PASSWORD)) as made:
            told = {"HOST": HOST, "PORT": made.port, "USER": USER}
            lines = [*(f"IBUURT_SMTP_{name}={text}\n" for name, text in told.items())]
            settings.write_text("".join([before[settings], *lines, f"IBUURT_EMAIL_FROM={SENDER}\n"]))
            units.write_text(before[units].replace(webhook, f'kind = "email"\naddress = "{UNIT}"\n'))
            password.write_text(f"{PASSWORD}\n")
            typed(deployment, HAND_OUT)
            deployment.typed(f"COMPOSE_FILE=$COMPOSE_FILE:{MAIL} IBUURT_TEST_MAIL_CA={ca} {UP}")
            yield made
    finally:
        for path, text in before.items():
            path.write_text(text, "utf-8")
        password.unlink(missing_ok=True)
        typed(deployment, HAND_OUT)
        typed(deployment, UP)


def test_units_and_residents_get_e_mail_by_tls_and_the_account(
    deployment: Deployment, town: Town, box: Mailbox
) -> None:
    """The unit answers by the link in it, of which the resident hears, who confirmed before. Neither the
    password nor an address is on show."""
    receipt = town.report("wrong_parking")
    to_unit = _until(box, lambda one: one["To"] == UNIT)
    town.asks_for_email(receipt)
    asks = _until(box, lambda one: one["To"] == RESIDENT)
    _press(_link(asks, deployment.tips_port, "/confirm"))
    _press(_link(to_unit, deployment.notify_port), action="acknowledge")
    news = _until(box, lambda one: one["To"] == RESIDENT and one["Message-ID"] != asks["Message-ID"])
    assert town.status(receipt) == "acknowledged"
    assert {one["From"] for one in (to_unit, asks, news)} == {SENDER}
    assert set(box.encrypted) == {True}
    # As long as the municipality lets no words leave by e-mail.
    assert "marker-0123456789abcdef" not in "".join(map(_text, box.taken))
    shown = deployment.run("logs") + deployment.engine("inspect", deployment.container("notify"))
    assert [one for one in (PASSWORD, UNIT, RESIDENT) if one in shown] == []
    deployment.agree()


def _until(box: Mailbox, wanted: Callable[[EmailMessage], bool]) -> EmailMessage:
    """The first such e-mail that the server took."""
    end = time.monotonic() + SECONDS
    while not (found := [one for one in box.taken if wanted(one)]):
        assert time.monotonic() < end, [(one["To"], one["Subject"]) for one in box.taken]
        time.sleep(0.2)
    return found[0]


def _text(message: EmailMessage) -> str:
    return str(message.get_content())


def _link(message: EmailMessage, port: int, end: str = "") -> str:
    """The link to that service in an e-mail."""
    found = re.search(rf"http://localhost:{port}/\S+{end}(?=\s)", _text(message))
    assert found, _text(message)
    return found[0]


def _press(link: str, **chosen: str) -> None:
    """Open a link's page, and press the button on it."""
    for body in (None, urllib.parse.urlencode(chosen).encode()):
        with urllib.request.urlopen(urllib.request.Request(link, body), timeout=30) as answer:
            assert answer.status == 200
