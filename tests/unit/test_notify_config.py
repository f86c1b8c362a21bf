"""notify's settings: what is missing or wrong is named with its mend, before anything runs."""

import base64
import os
from pathlib import Path
from typing import Any

import pytest

from services.notify.config import Settings, check_mail, read_webhook_secrets
from shared.errors import Refusal
from shared.municipality import Desk, Email
from tests.unit.test_notify_routing import IBUURT

GOOD = "whsec_" + base64.b64encode(b"k" * 32).decode()


def write_all(folder: Path) -> None:
    for unit in IBUURT.units:
        (folder / unit).write_text(GOOD + "\n")


def test_every_unit_gets_its_secrets(tmp_path: Path) -> None:
    """One per line while a secret is being replaced, the newest first."""
    write_all(tmp_path)
    newer = "whsec_" + base64.b64encode(b"n" * 24).decode()
    (tmp_path / "parking").write_text(f"{newer}\n{GOOD}\n")
    found = read_webhook_secrets(tmp_path, IBUURT)
    assert set(found) == set(IBUURT.units)
    assert found["parking"] == (newer, GOOD)


@pytest.mark.parametrize(
    "content",
    [None, "", GOOD.removeprefix("whsec_"), "whsec_!", "whsec_" + base64.b64encode(b"k" * 23).decode(), "é"],
    ids=["missing", "empty", "no prefix", "no base64", "short", "not ascii"],
)
def test_a_secret_that_is_missing_or_wrong_is_refused_by_file_name(
    tmp_path: Path, content: str | None
) -> None:
    """With the command that makes one; and never the secret itself."""
    write_all(tmp_path)
    (tmp_path / "parking").unlink()
    if content is not None:
        (tmp_path / "parking").write_text(content)
    with pytest.raises(Refusal, match="make one with") as caught:
        read_webhook_secrets(tmp_path, IBUURT)
    assert str(tmp_path / "parking") in str(caught.value)
    if content and content.startswith("whsec_"):
        assert content not in str(caught.value)


def test_every_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one refusal."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"IBUURT_{name.upper()}", raising=False)
    with pytest.raises(Refusal) as caught:
        Settings.read()
    secrets = ("TIPS_TOKEN", "LINK_SECRET", "SUBSCRIPTION_SECRET", "WEBHOOK_SECRETS")
    for name in ("TIPS_URL", *secrets, "PUBLIC_URL"):
        assert f"IBUURT_{name}:" in str(caught.value)


@pytest.fixture
def sound(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment with which notify starts."""
    for name in list(os.environ):
        if name.startswith("IBUURT_"):
            monkeypatch.delenv(name)
    sound = dict.fromkeys(("OPERATOR_TOKEN", "TIPS_TOKEN", "LINK_SECRET", "SUBSCRIPTION_SECRET"), "s" * 32)
    sound |= {"MUNICIPALITY": "/town", "DATABASE_URL": "postgresql://a@b/c", "KAFKA_BOOTSTRAP": "a:1"}
    sound |= {"HTTP_PORT": "1", "INTERNAL_PORT": "2", "TIPS_URL": "http://a", "PUBLIC_URL": "http://b"}
    for name, value in (sound | {"WEBHOOK_SECRETS": "/secrets"}).items():
        monkeypatch.setenv(f"IBUURT_{name}", value)
    return monkeypatch


def test_a_prefix_of_nat64_is_one_of_those_that_there_are(sound: pytest.MonkeyPatch) -> None:
    """Of IPv6, and so long as RFC 6052 has them."""
    assert Settings.read().nat64_prefixes == ()
    sound.setenv("IBUURT_NAT64_PREFIXES", "2001:db8:64::/96, 64:ff9b:1::/48")
    assert [str(one) for one in Settings.read().nat64_prefixes] == ["2001:db8:64::/96", "64:ff9b:1::/48"]
    for wrong in ("10.0.0.0/8", "2001:db8:64::/95", "2001:db8:64::1/96", "nat64"):
        sound.setenv("IBUURT_NAT64_PREFIXES", wrong)
        with pytest.raises(Refusal, match=r"IBUURT_NAT64_PREFIXES: .*such as 2001:db8:64::/96"):
            Settings.read()


def test_private_networks_are_none_unless_they_are_named(sound: pytest.MonkeyPatch) -> None:
    """With commas between; what is no network is refused by its name."""
    assert Settings.read().private_networks == ()
    sound.setenv("IBUURT_PRIVATE_NETWORKS", "10.20.0.0/16, fd00:1::/32")
    assert [str(one) for one in Settings.read().private_networks] == ["10.20.0.0/16", "fd00:1::/32"]
    for wrong in ("10.20.0.1/16", "units.example", "*"):
        sound.setenv("IBUURT_PRIVATE_NETWORKS", wrong)
        with pytest.raises(Refusal, match=r"IBUURT_PRIVATE_NETWORKS: .* set it to networks"):
            Settings.read()


def test_units_with_email_need_a_mail_server(sound: pytest.MonkeyPatch) -> None:
    """Also where e-mail is only the fallback; each such unit is named."""
    email = Email(kind="email", address="a@b.example")
    changed: dict[str, dict[str, Any]] = {
        "parking": {"channels": (email,)},
        "care_team": {"fallback": (email,)},
        "front_desk": {"channels": (Desk(kind="desk"),)},
    }
    units = {name: unit.model_copy(update=changed.get(name, {})) for name, unit in IBUURT.units.items()}
    town = IBUURT.model_copy(update={"units": units})
    check_mail(Settings.read(), IBUURT)
    with pytest.raises(Refusal, match="these units are to get e-mail: parking, care_team;"):
        check_mail(Settings.read(), town)
    sound.setenv("IBUURT_SMTP_HOST", "mail.example")
    sound.setenv("IBUURT_EMAIL_FROM", "iBuurt <units@town.example>")
    check_mail(Settings.read(), town)
    sound.setenv("IBUURT_SMTP_TLS", "none")
    with pytest.raises(Refusal, match=r"IBUURT_SMTP_TLS: .*in clear"):
        Settings.read()
