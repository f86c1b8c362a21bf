"""notify's settings: what is missing or wrong is named with its mend, before anything runs."""

import base64
from pathlib import Path

import pytest

from services.notify.config import Settings, read_webhook_secrets
from shared.errors import Refusal
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
