"""docs/operating.md, Install: a mail server, which is another machine's: nothing goes there without TLS and
the account, whose password is a file."""

import re
import secrets
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.message import EmailMessage

import pytest

from tests.compose.deployment import ROOT, Deployment, typed
from tests.compose.town import Town
from tests.integration.mail_server import Mailbox, authority, mailbox

HAND_OUT = "docker compose run --rm secrets"
UP = "docker compose up -d --wait"
MAIL = ROOT / "tests/compose/mail.yml"
# It works at any hour without.
HOURS = 'hours = ["mon-sat 08:00-22:00", "sun 12:00-18:00"]\n'
HOST, USER, PASSWORD = "host.docker.internal", "ibuurt", secrets.token_urlsafe(24)
SENDER, RESIDENT = "meldingen@ibuurt.example", "someone@residents.example"
UNIT, MORNING = "parking@ibuurt.example", "round@ibuurt.example"
SECONDS = 90.0


@pytest.fixture
def box(deployment: Deployment, town: Town) -> Iterator[Mailbox]:
    """A mail server on this machine, which the deployment is told of; by it the unit that is called about
    parked cars gets its reports and its digest, in which there is something. It is morning. Afterwards all is
    as it was."""
    town.report("wrong_parking")
    deployment.agree()
    settings = deployment.folder / "compose.env"
    about, units = (deployment.municipality / f"{name}.toml" for name in ("municipality", "units"))
    before = {path: path.read_text("utf-8") for path in (settings, about, units)}
    password = deployment.given / "smtp_password"
    context, ca = authority(deployment.folder, [HOST])
    webhook = (
        f'kind = "webhook"\nurl = "http://127.0.0.1:{deployment.unit_ports["parking"]}/reports"\n'
        'acknowledged_field = "acknowledged"\n'
    )
    by_mail = {webhook: f'kind = "email"\naddress = "{UNIT}"\n', HOURS: f'digest = "{MORNING}"\n'}
    try:
        with mailbox(context, deployment.gateway(), (USER, PASSWORD)) as made:
            told = {"HOST": HOST, "PORT": made.port, "USER": USER}
            lines = [*(f"IBUURT_SMTP_{name}={text}\n" for name, text in told.items())]
            settings.write_text("".join([before[settings], *lines, f"IBUURT_EMAIL_FROM={SENDER}\n"]))
            zone = {'"Europe/Amsterdam"': f'"{_where_it_is_morning()}"'}
            about.write_text(_changed(before[about], zone))
            units.write_text(_changed(before[units], by_mail))
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
    """The unit answers by the link in it, of which the resident hears, who confirmed before; its digest has a
    page to print. Neither the password nor an address is on show."""
    receipt = town.report("wrong_parking")
    to_unit = _until(box, lambda one: one["To"] == UNIT)
    town.asks_for_email(receipt)
    asks = _until(box, lambda one: one["To"] == RESIDENT)
    _press(_link(asks, deployment.tips_port, "/confirm"))
    _press(_link(to_unit, deployment.notify_port), action="acknowledge")
    page = _open(_link(_until(box, lambda one: one["To"] == MORNING), deployment.notify_port))
    assert "Team Parkeren" in page
    assert "Fout geparkeerd voertuig" in page
    _until(box, lambda one: one["To"] == RESIDENT and one["Message-ID"] != asks["Message-ID"])
    assert town.status(receipt) == "acknowledged"
    assert {one["From"] for one in box.taken} == {SENDER}
    assert set(box.encrypted) == {True}
    # As long as the municipality lets no words leave by e-mail.
    assert "marker-0123456789abcdef" not in "".join(map(_text, box.taken))
    shown = deployment.run("logs") + deployment.engine("inspect", deployment.container("notify"))
    assert [one for one in (PASSWORD, UNIT, MORNING, RESIDENT) if one in shown] == []
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


def _open(link: str, body: bytes | None = None) -> str:
    """The page behind a link."""
    with urllib.request.urlopen(urllib.request.Request(link, body), timeout=30) as answer:
        page: str = answer.read().decode()
        return page


def _press(link: str, **chosen: str) -> None:
    """Open a link's page, and press the button on it."""
    _open(link)
    _open(link, urllib.parse.urlencode(chosen).encode())


def _changed(text: str, changes: Mapping[str, str]) -> str:
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def _where_it_is_morning() -> str:
    """A time zone where a unit's digest goes now. Not one by which the areas would seem to have latitude and
    longitude the wrong way round."""
    now = datetime.now(UTC).hour
    ahead = next(one for hour in (8, 10) if (one := (hour - now + 12) % 24 - 12) not in (3, 4))
    # Their names have the sign the other way round.
    return f"Etc/GMT{-ahead:+d}"
