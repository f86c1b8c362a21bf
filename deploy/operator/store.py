"""The secrets of a deployment: made once, checked at every start, handed out to those who need them.

The store holds each secret once, a file of its name. What is handed out is written anew from it each time:
a folder for each receiver, which sees no other's.
"""

import base64
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from shared.access import ADMINISTRATOR, SERVICES
from shared.errors import Refusal, typed

MIN_LENGTH = 32
_FORM = re.compile(rf"[A-Za-z0-9_.~+/=-]{{{MIN_LENGTH},}}")
# Names of what was made, so that a secret that is gone is told from one that never was.
MADE = "made"
PERMANENT = {
    "receipt_pepper": "no receipt that was given out would find its report again",
    "lookup_pepper": "no receipt that was given out would find its report again",
}
# Secrets of other systems, which `tips` needs to be let in there, and `notify` at the mail server.
MAIL = "smtp_password"
OTHERS = (MAIL, "photo_store_secret_key")
# By these the operator signs in to replace any.
ADMINISTRATORS = ("postgres", "kafka_admin")
# A folder, so that no subscriber's name meets a secret's.
CONTACTS = "contacts"
# What secrets are being replaced by: a file each, only while that lasts.
NEXT = "next"
CLUSTER_ID = "kafka_cluster_id"
CERTIFICATES = ("ca.key", "ca.crt", "kafka.key", "kafka.crt")


def database_roles() -> list[str]:
    """For each service one role that owns its database and migrates it, and one that works in it."""
    return [f"{service}{part}" for service in SERVICES for part in ("_owner", "")]


def names(units: Iterable[str]) -> list[str]:
    """The secrets of a deployment whose municipality has webhooks to these units."""
    return [
        "operator_token",
        *PERMANENT,
        "notify_token",
        "link_secret",
        "desk_token",
        "subscription_secret",
        "signing_key",
        "postgres",
        *(f"database_{role}" for role in database_roles()),
        "kafka_broker",
        "kafka_controller",
        *(f"kafka_{user}" for user in (ADMINISTRATOR, *SERVICES)),
        *(f"webhook_{unit}" for unit in units),
    ]


def new(name: str) -> str:
    """A fresh secret of 256 bits, in the form that this one has."""
    if name.startswith("webhook_"):
        return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
    # Without a dash at its beginning, which a program would take for an option.
    return "s" + secrets.token_urlsafe(32)


class Store:
    """The folder with every secret, and the folder with those that the operator gives himself."""

    def __init__(self, folder: Path, given: Path) -> None:
        self._folder = folder
        self._given = given

    def fill(self, wanted: Iterable[str]) -> list[str]:
        """Take what is given, make what was never there; the names of what is new.

        Raises Refusal that names every secret that is gone, given anew, too short or used twice.
        """
        made = set(self._read(MADE).split())
        faults, fresh = [], {}
        for name in wanted:
            stored, given = self._read(name), self._read(name, self._given)
            if given and stored and given != stored:
                faults.append(
                    f"secret {name} in deploy/secrets is not the one in use; remove it there; for another, "
                    f"then {_renew(name)}"
                )
            elif not stored and name in made:
                other = "" if name in ADMINISTRATORS else f", or {_renew(name)}"
                faults.append(f"secret {name} is gone; restore the store from its backup{other}")
            elif not stored:
                fresh[name] = given or new(name)
        faults += self._weak({name: fresh.get(name) or self._read(name) for name in wanted})
        if faults:
            raise Refusal("; ".join(faults))
        for name, secret in fresh.items():
            self.put(name, secret)
        return list(fresh)

    def _weak(self, found: Mapping[str, str]) -> list[str]:
        faults: list[str] = []
        users: dict[str, str] = {}
        for name, secret in found.items():
            if secret and not _FORM.fullmatch(secret):
                faults.append(
                    f"secret {name} is too short or has signs that it may not have; give one of at least "
                    f"{MIN_LENGTH} letters, digits or _.~+/=- , or remove it from "
                    "deploy/secrets to have one made"
                )
            elif secret and secret in users:
                faults.append(
                    f"secret {name} is the same as {users[secret]}; give each its own, or remove both from "
                    "deploy/secrets to have them made"
                )
            users.setdefault(secret, name)
        return faults

    def get(self, name: str) -> str:
        """The secret of that name. Raises Refusal where there is none."""
        if found := self._read(name):
            return found
        raise Refusal(f"there is no secret {name}; the job `secrets` makes them")

    def given(self, name: str) -> str:
        """What the operator gives under that name; empty where he does not."""
        return self._read(name, self._given)

    def has(self, name: str) -> bool:
        return bool(self._read(name))

    def put(self, name: str, secret: str) -> None:
        """Store it, whole or not at all, and remember that it was made."""
        write(self._folder / name, secret)
        made = {*self._read(MADE).split(), name} - {MADE}
        write(self._folder / MADE, "\n".join(sorted(made)))

    def next(self, name: str) -> str:
        """What a secret was being replaced by when that was interrupted; empty where it was not."""
        return self._read(name, self._folder / NEXT)

    def keep_next(self, name: str, secret: str) -> None:
        """Remember what a secret is going to be replaced by."""
        (self._folder / NEXT).mkdir(mode=0o700, exist_ok=True)
        write(self._folder / NEXT / name, secret)

    def forget_next(self, name: str) -> None:
        """It is replaced."""
        (self._folder / NEXT / name).unlink()

    def contacts(self) -> dict[str, str]:
        """Where each subscriber is told of changes, by its name."""
        folder = self._folder / CONTACTS
        there = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
        return {name: self._read(name, folder) for name in there if not name.startswith(".")}

    def keep_contact(self, subscriber: str, contact: str) -> None:
        """Keep it in the place of the one that there was."""
        folder = self._folder / CONTACTS
        folder.mkdir(mode=0o700, exist_ok=True)
        write(folder / subscriber, contact)

    def forget_contact(self, subscriber: str) -> None:
        """No error where there is none."""
        (self._folder / CONTACTS / subscriber).unlink(missing_ok=True)

    def _read(self, name: str, folder: Path | None = None) -> str:
        try:
            return ((folder or self._folder) / name).read_text("ascii").strip()
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            raise Refusal(
                f"secret {name} cannot be read ({type(error).__name__}); mend the file, let user "
                f"{os.geteuid()} read it, or remove it"
            ) from None


def _renew(name: str) -> str:
    if lost := PERMANENT.get(name):
        return f"only where none is left, since {lost}, run {typed('operator', f'rotate {name} --even-so')}"
    return f"run {typed('operator', f'rotate {name}')}"


def write(path: Path, text: str, mode: int = 0o400) -> None:
    """Write the file at once and whole, for its owner to read (or others, by `mode`)."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())
    draft.chmod(mode)
    draft.replace(path)


def hand_out(store: Store, root: Path, units: Iterable[str], database: str, expires: datetime) -> None:
    """Write each receiver's folder below `root`; `database` is PostgreSQL's host:port, `expires` the
    end of Kafka's certificate."""
    for service in SERVICES:
        folder = root / service
        own = {
            "ibuurt_database_url": _dsn(store, service, service, database),
            "ibuurt_kafka_password": store.get(f"kafka_{service}"),
            "ibuurt_operator_token": store.get("operator_token"),
            "ca.crt": store.get("ca.crt"),
            **_own(store, service),
        }
        for name, secret in own.items():
            write(folder / name, secret)
        owner = _dsn(store, f"{service}_owner", service, database)
        write(root / f"{service}-owner" / "ibuurt_database_url", owner)
    webhooks = root / "notify" / "webhooks"
    webhooks.mkdir(exist_ok=True)
    for unit in units:
        write(webhooks / unit, store.get(f"webhook_{unit}"))
    # These run under accounts of their images; nobody else has the folders.
    write(root / "postgres" / "password", store.get("postgres"), 0o444)
    kafka = {name: store.get(f"kafka_{name}") for name in ("broker", "controller", ADMINISTRATOR)}
    kafka |= {"cluster_id": store.get(CLUSTER_ID), "ca.crt": store.get("ca.crt")}
    kafka["keystore.pem"] = f"{store.get('kafka.key')}\n{store.get('kafka.crt')}\n{store.get('ca.crt')}"
    kafka["expires"] = str(int(expires.timestamp()))
    for name, secret in kafka.items():
        write(root / "kafka" / name, secret, 0o444)


def _own(store: Store, service: str) -> dict[str, str]:
    if service == "tips":
        own = {f"ibuurt_{name}": store.get(name) for name in (*PERMANENT, "notify_token")}
        # The mail server's and the object store's, which nobody can make here; empty where there is none.
        return own | {f"ibuurt_{name}": store.given(name) for name in OTHERS}
    if service == "notify":
        return {
            "ibuurt_tips_token": store.get("notify_token"),
            "ibuurt_link_secret": store.get("link_secret"),
            "ibuurt_desk_token": store.get("desk_token"),
            f"ibuurt_{MAIL}": store.given(MAIL),
            "ibuurt_subscription_secret": store.get("subscription_secret"),
        }
    return {"ibuurt_signing_key": store.get("signing_key")}


def _dsn(store: Store, role: str, database: str, where: str) -> str:
    return f"postgresql://{role}:{quote(store.get(f'database_{role}'), safe='')}@{where}/{database}"
