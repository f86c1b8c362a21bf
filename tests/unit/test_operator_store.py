"""deploy/operator/store.py: the secrets, on a real disk."""

import base64
import re
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from deploy.operator.certificates import new_authority, new_certificate
from deploy.operator.store import ADMINISTRATORS, CLUSTER_ID, PERMANENT, Store, hand_out, names, new, write
from shared.access import SERVICES
from shared.errors import Refusal

UNITS = ["parking", "district_team"]
NAMES = names(UNITS)
NOW = datetime(2026, 11, 1, tzinfo=UTC)
RECEIVERS = [*SERVICES, *(f"{service}-owner" for service in SERVICES), "kafka", "postgres"]


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """What the operator gives himself."""
    (tmp_path / "given").mkdir()
    return tmp_path / "given"


@pytest.fixture
def store(tmp_path: Path, given: Path) -> Store:
    """An empty one."""
    (tmp_path / "store").mkdir()
    return Store(tmp_path / "store", given)


def values(store: Store) -> dict[str, str]:
    return {name: store.get(name) for name in NAMES}


def refused(store: Store) -> str:
    with pytest.raises(Refusal) as refusal:
        store.fill(NAMES)
    return str(refusal.value)


def test_each_secret_is_made_once(store: Store, tmp_path: Path) -> None:
    """Long, no two alike, for their owner's eyes; the second time nothing is new."""
    assert store.fill(NAMES) == NAMES
    before = values(store)
    assert len(set(before.values())) == len(NAMES)
    assert min(len(secret) for secret in before.values()) >= 43
    assert {(tmp_path / "store" / name).stat().st_mode & 0o777 for name in NAMES} == {0o400}
    assert store.fill(NAMES) == []
    assert values(store) == before


def test_a_new_unit_gets_a_secret_and_the_others_keep_theirs(store: Store) -> None:
    """A webhook that is added to the folder."""
    store.fill(NAMES)
    before = values(store)
    assert store.fill(names([*UNITS, "fire"])) == ["webhook_fire"]
    assert values(store) == before


def test_a_webhooks_secret_is_one_of_the_standard() -> None:
    """whsec_ and 32 bytes in base 64; another begins with a letter, never like an option."""
    kind, _, secret = new("webhook_parking").partition("_")
    assert kind == "whsec"
    assert len(base64.b64decode(secret, validate=True)) == 32
    assert all(new("link_secret").startswith("s") for _ in range(100))


@pytest.mark.parametrize("name", NAMES)
def test_a_secret_that_is_gone_is_refused_with_its_mend(store: Store, tmp_path: Path, name: str) -> None:
    """It is never made anew; a pepper only with the word that says what is lost."""
    store.fill(NAMES)
    (tmp_path / "store" / name).unlink()
    said = refused(store)
    assert said.startswith(f"secret {name} is gone; restore the store from its backup")
    again = f"operator rotate {name}{' --even-so' if name in PERMANENT else ''}"
    mended = said.endswith(f", or run `docker compose run --rm --no-deps {again}`") or name in PERMANENT
    # `rotate` signs in by these two itself.
    assert mended == (name not in ADMINISTRATORS)
    assert not store.has(name)


def test_what_is_given_is_taken_and_must_stay_the_same(store: Store, given: Path) -> None:
    """Once in use, another one there is refused."""
    (given / "link_secret").write_text("g" * 40 + "\n")
    store.fill(NAMES)
    assert store.get("link_secret") == "g" * 40
    assert store.fill(NAMES) == []
    (given / "link_secret").write_text("h" * 40)
    assert refused(store).startswith("secret link_secret in deploy/secrets is not the one in use; ")
    assert store.get("link_secret") == "g" * 40


def test_all_that_is_wrong_is_said_at_once_and_nothing_is_stored(
    store: Store, given: Path, tmp_path: Path
) -> None:
    """Short, with signs that a DSN or a file of properties would not survive, the same twice."""
    faults = {"operator_token": "swordfish", "postgres": 'a"b' * 20, "link_secret": "x" * 40}
    for name, secret in (faults | {"notify_token": "x" * 40}).items():
        (given / name).write_text(secret)
    said = refused(store)
    assert all(f"secret {name} is " in said for name in ("operator_token", "postgres", "link_secret"))
    assert not any(secret in said for secret in faults.values())
    assert not list((tmp_path / "store").iterdir())


def test_a_secret_that_cannot_be_read_is_refused_by_name(store: Store, given: Path) -> None:
    """Bytes that are no text, say; not what is in it."""
    (given / "postgres").write_bytes(b"\xff" * 40)
    assert refused(store).startswith("secret postgres cannot be read (UnicodeDecodeError); ")
    with pytest.raises(Refusal, match="there is no secret nonsense; the job `secrets` makes them"):
        store.get("nonsense")


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    """What an interrupted write left is in nobody's way; the mode is what was asked for."""
    (tmp_path / ".name.new").write_text("half")
    write(tmp_path / "name", "first", 0o444)
    write(tmp_path / "name", "second")
    assert (tmp_path / "name").read_text() == "second\n"
    assert (tmp_path / "name").stat().st_mode & 0o777 == 0o400
    assert [path.name for path in tmp_path.iterdir()] == ["name"]


@pytest.fixture
def handed(store: Store, tmp_path: Path) -> Path:
    """The folders of all receivers."""
    store.fill(NAMES)
    store.put(CLUSTER_ID, "i-cluster")
    ca_key, ca = new_authority(NOW)
    key, certificate = new_certificate(ca_key, ca, ["kafka"], NOW)
    for name, text in {"ca.key": ca_key, "ca.crt": ca, "kafka.key": key, "kafka.crt": certificate}.items():
        store.put(name, text)
    root = tmp_path / "handed"
    for receiver in RECEIVERS:
        (root / receiver).mkdir(parents=True)
    hand_out(store, root, UNITS, "postgres:5432", NOW)
    return root


def knows(store: Store, folder: Path) -> set[str]:
    """The names of the secrets that a receiver has been handed, in whatever form."""
    text = "\n".join(unquote(path.read_text()) for path in folder.rglob("*") if path.is_file())
    return {name for name in [*NAMES, "ca.key", "kafka.key"] if store.get(name) in text}


def test_each_receiver_is_handed_its_own_and_no_more(store: Store, handed: Path) -> None:
    """The authority's key goes to nobody."""
    webhooks = {f"webhook_{unit}" for unit in UNITS}
    everyone = {"operator_token"}
    assert {receiver: knows(store, handed / receiver) for receiver in RECEIVERS} == {
        "tips": {"database_tips", "kafka_tips", "notify_token", *PERMANENT} | everyone,
        "notify": {
            "database_notify",
            "kafka_notify",
            "notify_token",
            "link_secret",
            "desk_token",
            "subscription_secret",
        }
        | webhooks
        | everyone,
        "stats": {"database_stats", "kafka_stats", "signing_key"} | everyone,
        **{f"{service}-owner": {f"database_{service}_owner"} for service in SERVICES},
        "kafka": {"kafka_broker", "kafka_controller", "kafka_admin", "kafka.key"},
        "postgres": {"postgres"},
    }


@pytest.mark.parametrize(
    ("service", "name"),
    [("tips", "smtp_password"), ("notify", "smtp_password"), ("tips", "photo_store_secret_key")],
)
def test_another_systems_secret_is_handed_on_as_it_is_given(
    store: Store, handed: Path, given: Path, service: str, name: str
) -> None:
    """Nobody can make it here; where there is none, the file is empty."""
    assert (handed / service / f"ibuurt_{name}").read_text() == "\n"
    (given / name).write_text("short, with signs!\n")
    hand_out(store, handed, UNITS, "postgres:5432", NOW)
    assert (handed / service / f"ibuurt_{name}").read_text() == "short, with signs!\n"


def test_a_dsn_leads_to_the_services_own_database(store: Store, handed: Path) -> None:
    """With any sign that a secret may have."""
    store.put("database_tips", "a/b+c=d~e." * 4)
    hand_out(store, handed, UNITS, "postgres:5432", NOW)
    dsn = urlsplit((handed / "tips" / "ibuurt_database_url").read_text().strip())
    assert (dsn.username, dsn.hostname, dsn.port, dsn.path) == ("tips", "postgres", 5432, "/tips")
    assert unquote(dsn.password or "") == "a/b+c=d~e." * 4


def test_a_contact_is_kept_with_its_subscriber_and_goes_with_it(store: Store, tmp_path: Path) -> None:
    """A subscriber that is named like a secret meets none; to forget one that is not there is no error."""
    assert store.contacts() == {}
    store.fill(NAMES)
    before = values(store)
    store.keep_contact("postgres", "one@parks.example")
    store.keep_contact("parks", "gis@parks.example")
    store.keep_contact("postgres", "other@parks.example")
    assert store.contacts() == {"parks": "gis@parks.example", "postgres": "other@parks.example"}
    store.forget_contact("postgres")
    store.forget_contact("nobody")
    assert store.contacts() == {"parks": "gis@parks.example"}
    assert values(store) == before
    assert store.fill(NAMES) == []
    assert (tmp_path / "store" / "contacts").stat().st_mode & 0o777 == 0o700


def test_the_operators_image_has_every_module_that_it_imports() -> None:
    """.dockerignore lets through what is named there, and nothing else of deploy."""
    root = Path(__file__).parents[2]
    ignored = (root / ".dockerignore").read_text("utf-8")
    let_through = set(re.findall(r"^!deploy/(\w+)", ignored, re.MULTILINE))
    imported = {
        module.split(".")[1] if "." in module else name
        for path in (root / "deploy/operator").glob("*.py")
        for module, names in re.findall(
            r"^from (deploy[\w.]*) import ([\w, ]+)", path.read_text("utf-8"), re.MULTILINE
        )
        for name in names.split(", ")
    }
    assert {"operator", "reconcile"} <= imported <= let_through
