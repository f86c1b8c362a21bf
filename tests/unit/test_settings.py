"""The settings of a service: what is missing or wrong is said at once, and no secret is said at all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.notify.config import Settings as NotifySettings
from services.stats.config import Settings as StatsSettings
from services.tips.config import Settings as TipsSettings
from shared.errors import Refusal
from shared.settings import ServiceSettings

ROOT = Path(__file__).parents[2]
SOUND = {
    "MUNICIPALITY": "/town",
    "DATABASE_URL": "postgresql://tips:hunter2@127.0.0.1:5432/tips",
    "KAFKA_BOOTSTRAP": "127.0.0.1:9092",
    "HTTP_PORT": "8000",
    "INTERNAL_PORT": "8001",
    "OPERATOR_TOKEN": "o" * 32,
}
REQUIRED = sorted(SOUND)


@pytest.fixture(autouse=True)
def sound(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment in which every service's settings are there, and nothing else of ours."""
    for name in list(os.environ):
        if name.startswith("IBUURT_"):
            monkeypatch.delenv(name)
    for name, value in SOUND.items():
        monkeypatch.setenv(f"IBUURT_{name}", value)


def _refusal() -> str:
    with pytest.raises(Refusal) as caught:
        ServiceSettings.read()
    assert caught.value.__cause__ is None
    return str(caught.value)


def test_settings_are_read_from_the_environment() -> None:
    """With loopback and INFO where nothing is said."""
    read = ServiceSettings.read()
    assert read.municipality == Path("/town")
    assert read.database_url.get_secret_value() == SOUND["DATABASE_URL"]
    assert (read.http_host, read.http_port, read.internal_host) == ("127.0.0.1", 8000, "127.0.0.1")
    assert read.log_level == "INFO"


def test_secrets_do_not_show_themselves() -> None:
    """Not in what is printed of the settings, nor in a traceback that prints them."""
    shown = f"{ServiceSettings.read()!r} {ServiceSettings.read()}"
    assert "hunter2" not in shown
    assert SOUND["OPERATOR_TOKEN"] not in shown


def test_every_missing_variable_is_named_in_one_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to set it to, so that one look is enough."""
    for name in REQUIRED:
        monkeypatch.delenv(f"IBUURT_{name}")
    refusal = _refusal()
    faults = refusal.split("; IBUURT_")
    assert len(faults) == len(REQUIRED)
    for name in REQUIRED:
        field = ServiceSettings.model_fields[name.lower()]
        assert f"IBUURT_{name}: Field required; set it to {field.description}" in refusal


def test_missing_and_wrong_variables_are_named_together_without_their_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A token that is too short is still somebody's token."""
    monkeypatch.delenv("IBUURT_KAFKA_BOOTSTRAP")
    monkeypatch.setenv("IBUURT_HTTP_PORT", "a door")
    monkeypatch.setenv("IBUURT_OPERATOR_TOKEN", "swordfish")
    refusal = _refusal()
    for name in ("KAFKA_BOOTSTRAP", "HTTP_PORT", "OPERATOR_TOKEN"):
        assert f"IBUURT_{name}: " in refusal
    assert "INTERNAL_PORT" not in refusal
    assert "at least 32" in refusal
    assert "swordfish" not in refusal
    assert "a door" not in refusal


def test_secrets_are_read_from_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file per setting, without its last line's end; a variable of the same name goes first."""
    for name in ("DATABASE_URL", "OPERATOR_TOKEN", "KAFKA_BOOTSTRAP"):
        (tmp_path / f"ibuurt_{name.lower()}").write_text(f"{'f' * 40}\n")
    monkeypatch.setenv("IBUURT_SECRETS", str(tmp_path))
    monkeypatch.delenv("IBUURT_DATABASE_URL")
    monkeypatch.delenv("IBUURT_OPERATOR_TOKEN")
    read = ServiceSettings.read()
    assert read.database_url.get_secret_value() == "f" * 40
    assert read.operator_token.get_secret_value() == "f" * 40
    assert read.kafka_bootstrap == SOUND["KAFKA_BOOTSTRAP"]


def test_a_folder_without_the_secret_is_refused_by_the_settings_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same refusal as without a folder."""
    monkeypatch.setenv("IBUURT_SECRETS", str(tmp_path))
    monkeypatch.delenv("IBUURT_OPERATOR_TOKEN")
    assert _refusal().startswith("IBUURT_OPERATOR_TOKEN: Field required; set it to ")


@pytest.mark.parametrize(
    ("name", "settings"), [("notify", NotifySettings), ("stats", StatsSettings), ("tips", TipsSettings)]
)
def test_help_lists_every_setting(name: str, settings: type[ServiceSettings]) -> None:
    """Each with what it is for, and before any of them is set."""
    given = {key: value for key, value in os.environ.items() if not key.startswith("IBUURT_")}
    ended = subprocess.run(
        [sys.executable, "-m", f"services.{name}", "--help"],
        cwd=ROOT,
        env=given | {"COLUMNS": "100000"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    for key, field in settings.model_fields.items():
        assert field.description
        assert f"IBUURT_{key.upper()}: {field.description}" in ended.stdout


def test_a_service_without_its_settings_ends_with_the_refusal() -> None:
    """One line on standard error and exit code 1: a supervisor's log shows what to set."""
    given = {key: value for key, value in os.environ.items() if not key.startswith("IBUURT_")}
    ended = subprocess.run(
        [sys.executable, "-m", "services.stats"],
        cwd=ROOT,
        env=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("stats: IBUURT_")
    assert all(f"IBUURT_{name}: " in line for name in REQUIRED if name != "HTTP_PORT")
