"""What is sealed can be read with its own key and report only; keys are made once and destroyed for good."""

import os
import stat
import threading
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from services.tips import sealing
from services.tips.keys import KeyDestroyed, KeyFolder, KeyLost
from services.tips.sealing import Unreadable, seal, unseal
from shared.errors import Refusal

REPORT, KEY, NAME = uuid.UUID(int=1), b"k" * 32, "2026-11-led-365"
CONTENT = {"description": "café ✔ " * 20, "location": {"point": {"latitude": 52.05, "longitude": 5.6}}}


def test_what_was_sealed_is_read_again() -> None:
    """Every character of it."""
    assert unseal(REPORT, seal(REPORT, NAME, KEY, CONTENT), KEY) == CONTENT


def test_sealing_twice_gives_different_bytes() -> None:
    """Each report has its own random key."""
    one, two = seal(REPORT, NAME, KEY, CONTENT), seal(REPORT, NAME, KEY, CONTENT)
    assert one.sealed != two.sealed
    assert one.wrapped_key != two.wrapped_key


@pytest.mark.parametrize("characters", [1, 900, 1000, 1100, 10_000])
def test_the_length_tells_only_a_size_class(characters: int) -> None:
    """Whole kibibytes besides nonce (12) and tag (16)."""
    length = len(seal(REPORT, NAME, KEY, {"description": "x" * characters}).sealed) - 28
    assert length % 1024 == 0
    assert length - 1024 < characters + 40 <= length + 40


def test_another_reports_or_months_key_cannot_read_it() -> None:
    """What is copied to another report, key or name is unreadable."""
    sealed = seal(REPORT, NAME, KEY, CONTENT)
    for report, change, key in (
        (uuid.UUID(int=2), sealed, KEY),
        (REPORT, sealed, b"l" * 32),
        (REPORT, replace(sealed, key_name="2026-12-led-365"), KEY),
        (REPORT, replace(sealed, wrapped_key=seal(REPORT, NAME, KEY, CONTENT).wrapped_key), KEY),
    ):
        with pytest.raises(Unreadable):
            unseal(report, change, key)


def test_words_and_wrapped_key_put_under_another_report_are_unreadable() -> None:
    """Both are bound to the report: even whoever re-wraps the key cannot move the words."""
    other = uuid.UUID(int=2)
    sealed = seal(REPORT, NAME, KEY, CONTENT)
    report_key = sealing._decrypt(KEY, sealed.wrapped_key, sealing._wrap_data(REPORT, NAME))
    moved = replace(sealed, wrapped_key=sealing._encrypt(KEY, report_key, sealing._wrap_data(other, NAME)))
    with pytest.raises(Unreadable):
        unseal(other, moved, KEY)


def test_any_changed_or_missing_byte_is_noticed() -> None:
    """Every byte of the wrapped key, and bytes of the words, flipped; and what is cut off."""
    sealed = seal(REPORT, NAME, KEY, CONTENT)
    damaged = [
        replace(sealed, wrapped_key=flipped(sealed.wrapped_key, at)) for at in range(len(sealed.wrapped_key))
    ]
    damaged += [replace(sealed, sealed=flipped(sealed.sealed, at)) for at in range(0, len(sealed.sealed), 7)]
    damaged += [
        replace(sealed, sealed=sealed.sealed[:size]) for size in (0, 5, 12, 27, 28, len(sealed.sealed) - 1)
    ]
    for one in damaged:
        with pytest.raises(Unreadable):
            unseal(REPORT, one, KEY)


def test_a_key_is_named_by_month_in_utc_and_regime() -> None:
    """Half past midnight in summer in the Netherlands is still the month before."""
    july = datetime(2026, 7, 1, 0, 30, tzinfo=timezone(timedelta(hours=2)))
    assert sealing.key_name(july, "gdpr", 365) == "2026-06-gdpr-365"
    assert sealing.key_name(datetime(2026, 12, 31, 23, tzinfo=UTC), "led", 365) == "2026-12-led-365"


def test_a_key_is_made_once_kept_and_closed_to_others(tmp_path: Path) -> None:
    """32 bytes in a file of mode 600, the same for every process that uses the folder; no draft stays."""
    key = KeyFolder(tmp_path).make(NAME)
    assert len(key) == 32
    assert KeyFolder(tmp_path).make(NAME) == KeyFolder(tmp_path).get(NAME) == key
    assert KeyFolder(tmp_path).make("2026-11-gdpr-365") != key
    assert {path.name for path in tmp_path.iterdir()} == {NAME, "2026-11-gdpr-365"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_many_that_make_a_key_at_once_get_the_same(tmp_path: Path) -> None:
    """Two processes that start at once must not seal with a key that the other replaces."""
    for month in range(1, 13):
        keys: list[bytes] = []
        arguments = (tmp_path, f"2026-{month:02d}-led-365", threading.Barrier(8), keys)
        threads = [threading.Thread(target=make_at_once, args=arguments) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(keys) == 8
        assert len(set(keys)) == 1


def test_a_destroyed_key_is_gone_for_good(tmp_path: Path) -> None:
    """It is neither read nor made again, by nobody; destroying it again does nothing."""
    folder = KeyFolder(tmp_path)
    folder.make(NAME)
    folder.destroy(NAME)
    folder.destroy(NAME)
    for one in (folder, KeyFolder(tmp_path)):
        with pytest.raises(KeyDestroyed):
            one.get(NAME)
        with pytest.raises(KeyDestroyed):
            one.make(NAME)
    assert not (tmp_path / NAME).exists()


def test_a_missing_or_cut_key_is_lost_and_not_made_anew(tmp_path: Path) -> None:
    """A folder that was not restored must not look like an erasure."""
    folder = KeyFolder(tmp_path)
    with pytest.raises(KeyLost, match="restore"):
        folder.get(NAME)
    (tmp_path / NAME).write_bytes(b"short")
    with pytest.raises(KeyLost, match="restore"):
        folder.get(NAME)
    with pytest.raises(KeyLost, match="restore"):
        folder.make(NAME)


def test_a_folder_that_is_missing_is_refused_with_its_mend(tmp_path: Path) -> None:
    """At start, before a report is taken that could not be sealed."""
    with pytest.raises(Refusal, match="mkdir -m 700"):
        KeyFolder(tmp_path / "none")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """At start as well."""
    tmp_path.chmod(0o500)
    with pytest.raises(Refusal, match="account"):
        KeyFolder(tmp_path)


@pytest.mark.parametrize(
    "name", ["../2026-11-led-1", "2026-13-led-1", "", "2026-11-led-1/x", "2026-11-LED-1", "2026-11-led"]
)
def test_no_other_file_can_be_named(name: str, tmp_path: Path) -> None:
    """A key's name comes from the database: it must not lead out of the folder."""
    with pytest.raises(ValueError, match="YYYY-MM"):
        KeyFolder(tmp_path).get(name)


def make_at_once(path: Path, name: str, barrier: threading.Barrier, keys: list[bytes]) -> None:
    folder = KeyFolder(path)
    barrier.wait()
    keys.append(folder.make(name))


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
