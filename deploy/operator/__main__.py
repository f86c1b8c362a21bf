"""`python -m deploy.operator COMMAND`: the jobs of a deployment, and an operator's commands."""

import argparse
import asyncio
import base64
import os
import secrets
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from deploy import reconcile
from deploy.operator import certificates, databases, subscribers
from deploy.operator.store import (
    CERTIFICATES,
    CLUSTER_ID,
    PERMANENT,
    Store,
    database_roles,
    hand_out,
    names,
    new,
)
from shared import access, kafka, municipality
from shared.cluster import Cluster
from shared.errors import Refusal

WARN_DAYS = 30
PERMANENT_MEND = "where the old one is lost for good, add --even-so"
# Who must be started anew to use a new secret; the brokers for theirs.
RESTART = {
    "operator_token": "tips notify stats",
    "notify_token": "tips notify",
    "link_secret": "notify",
    "desk_token": "notify",
    "subscription_secret": "notify",
    "signing_key": "stats",
    **dict.fromkeys(PERMANENT, "tips"),
}


class Operator:
    """A deployment's store and the places that its environment names; the store and what is handed out are
    below `root`, what the operator gives is in `given`."""

    def __init__(
        self, environment: Mapping[str, str], root: Path = Path("/secrets"), given: Path = Path("/given")
    ) -> None:
        self._environment = environment
        self._root = root
        self.store = Store(root / "store", given)
        self.database = environment.get("IBUURT_POSTGRES", "postgres:5432")
        self.outside = environment.get("IBUURT_KAFKA_OUTSIDE", "localhost:9094")
        inside = environment.get("IBUURT_KAFKA_BOOTSTRAP", "kafka:9092")
        brokers = [broker.rpartition(":")[0] for broker in inside.split(",")]
        outside = [broker.rpartition(":")[0] for broker in self.outside.split(",")]
        # Each broker is a service of its name.
        self.brokers = " ".join(brokers)
        self.replication = int(environment.get("IBUURT_KAFKA_REPLICATION", "1"))
        self.hosts = list(dict.fromkeys([*brokers, *outside, "localhost", "127.0.0.1"]))
        self.inside = inside

    def units(self) -> list[str]:
        """The units that have a webhook, by the municipality's folder."""
        town = municipality.read(Path(self._environment["IBUURT_MUNICIPALITY"]))
        return [unit.id for unit in town.units.values() if unit.webhooks]

    def cluster(self, password: str = "") -> Cluster:
        """As the administrator, whose password is the store's unless another is given."""
        password = password or self.store.get("kafka_admin")
        return Cluster(self.inside, access.ADMINISTRATOR, password, self._root / "store" / "ca.crt")

    def secrets(self, now: datetime) -> str:
        """Make what is missing, check what is there, hand it out."""
        units = self.units()
        made = self.store.fill(names(units))
        if not self.store.has(CLUSTER_ID):
            self.store.put(CLUSTER_ID, _cluster_id())
        kept = self._certificates(now)
        expires = certificates.expires(kept["kafka.crt"])
        hand_out(self.store, self._root, units, self.database, expires)
        said = f"{len(made)} secrets made"
        if (left := (expires - now).days) < WARN_DAYS:
            said += f"; Kafka's certificate expires in {left} days: {self._renewal()}"
        return said

    def _certificates(self, now: datetime, *, renew: bool = False, authority: bool = False) -> dict[str, str]:
        """Take what is given, make what is missing or to be renewed, and store what is sound; all of them."""
        before = {name: self.store.get(name) if self.store.has(name) else "" for name in CERTIFICATES}
        kept = {name: self.store.given(name) or text for name, text in before.items()}
        if authority or not kept["ca.crt"]:
            kept["ca.key"], kept["ca.crt"] = certificates.new_authority(now)
        if renew or not kept["kafka.crt"]:
            kept["kafka.key"], kept["kafka.crt"] = certificates.new_certificate(
                kept["ca.key"], kept["ca.crt"], self.hosts, now
            )
        certificates.check(kept, self.hosts, now, self._renewal())
        for name, text in kept.items():
            if text != before[name]:
                self.store.put(name, text)
        return kept

    def _renewal(self) -> str:
        """How another certificate is come by."""
        return certificates.THEIRS if self.store.given("kafka.crt") else certificates.RENEW

    def renew_certificate(self, now: datetime, *, authority: bool) -> str:
        """Replace Kafka's certificate, and the authority too where asked, and hand them out. Raises Refusal
        where the operator gives what would be replaced."""
        replaced = CERTIFICATES if authority else ("kafka.key", "kafka.crt")
        if given := [name for name in replaced if self.store.given(name)]:
            raise Refusal(f"deploy/secrets has {', '.join(given)}: nothing is renewed; {certificates.THEIRS}")
        self._certificates(now, renew=True, authority=authority)
        self.secrets(now)
        if authority:
            return "renewed; give every subscriber the new ca.crt, and run `docker compose restart`"
        return f"renewed; now run `docker compose restart {self.brokers}`"

    async def databases(self) -> str:
        passwords = {role: self.store.get(f"database_{role}") for role in database_roles()}
        await databases.prepare(self.store.get("postgres"), self.database, passwords)
        return f"{len(passwords)} roles have their password and rights"

    async def topics(self, *, mend_settings: bool) -> str:
        """Give our services' users on Kafka their passwords, make the topics, grant the rights."""
        await kafka.check_access(self.cluster())
        async with kafka.admin(self.cluster()) as client:
            for service in access.SERVICES:
                await access.set_password(client, service, self.store.get(f"kafka_{service}"))
        return await kafka.prepare(self.cluster(), replication=self.replication, mend_settings=mend_settings)

    async def rotate(self, name: str, *, even_so: bool, now: datetime) -> str:
        """Replace one secret where it is used, then in the store, and hand it out. What was interrupted in
        between is finished by running it again."""
        if name not in names(self.units()):
            raise Refusal(f"there is no secret {name}; they are {', '.join(names(self.units()))}")
        if name in PERMANENT and not even_so:
            raise Refusal(f"{name} may never change: {PERMANENT[name]}; {PERMANENT_MEND}")
        if self.store.given(name):
            raise Refusal(
                f"secret {name} is in deploy/secrets; remove it there, then one is made in its place"
            )
        kind, _, user = name.partition("_")
        interrupted = self.store.next(name)
        secret = interrupted or new(name)
        self.store.keep_next(name, secret)
        by = {"database": "postgres", "postgres": "postgres", "kafka": "kafka_admin"}.get(kind)
        if by and name != "kafka_controller":
            try:
                await self._set_password(kind, user, secret, self.store.get(by))
            except Refusal:
                if not interrupted or name != by:
                    raise
                # It was set there, and not stored any more: it is its own way in.
                await self._set_password(kind, user, secret, secret)
        self.store.put(name, secret)
        self.store.forget_next(name)
        self.secrets(now)
        who = self._users(name, kind, user)
        return f"{name} replaced" + (f"; now run `docker compose restart {who}`" if who else "")

    async def _set_password(self, kind: str, user: str, secret: str, by: str) -> None:
        """Give a role of PostgreSQL or a user of Kafka another password; `by` is the administrator's there.
        Raises Refusal where that lets nobody in."""
        if kind != "kafka":
            await databases.set_password(by, self.database, user or "postgres", secret)
            return
        await kafka.check_access(self.cluster(by))
        async with kafka.admin(self.cluster(by)) as client:
            await access.set_password(client, access.BROKER if user == "broker" else user, secret)

    def _users(self, name: str, kind: str, user: str) -> str:
        """Who must be started anew to use this secret."""
        if name in {"kafka_broker", "kafka_controller"}:
            return self.brokers
        if kind == "webhook":
            return "notify"
        return RESTART.get(name) or (user if user in access.SERVICES else "")

    async def subscriber(self, action: str, name: str, contact: str) -> str:
        if action in {"add", "contact"}:
            subscribers.check_contact(contact)
        async with kafka.admin(self.cluster()) as client:
            if action == "add":
                return await self._add(client, name, contact)
            users, contacts = await subscribers.listed(client), self.store.contacts()
            if action == "list":
                return "\n".join(subscribers.lines(users, contacts)) or "there are none"
            subscribers.check_name(name)
            if action == "remove":
                if name in users or name not in contacts:
                    await subscribers.remove(client, name)
                self.store.forget_contact(name)
                return f"{name} is removed"
        if name not in users:
            raise Refusal(f"there is no user {name}; `list` names those that there are")
        self.store.keep_contact(name, contact)
        return f"{name} is told of changes at {contact}"

    async def _add(self, client: AIOKafkaAdminClient, name: str, contact: str) -> str:
        password = await subscribers.add(client, name)
        self.store.keep_contact(name, contact)
        files = subscribers.bundle(name, password, self.outside, self.store.get("ca.crt"))
        sys.stdout.buffer.write(subscribers.packed(files))
        return subscribers.told(name, password, self.outside)


def _reconcile(operator: Operator, wait: float) -> int:
    """Ask the services by their names on the network of the internal ports."""
    ports = {service: f"http://{service}:9000" for service in access.SERVICES}
    return reconcile.report(ports, operator.store.get("operator_token"), wait)


def _cluster_id() -> str:
    """16 bytes in URL-safe base 64; the fixed first one keeps it from beginning with a dash."""
    return base64.urlsafe_b64encode(b"i" + secrets.token_bytes(15)).decode().rstrip("=")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="operator")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("secrets", help="make what is missing, check what is there, hand it out")
    commands.add_parser("databases", help="a database and two roles for each service")
    topics = commands.add_parser("topics", help="our services' users, the topics, and who may do what")
    topics.add_argument("--mend-settings", action="store_true", help="set what the contract says again")
    agree = commands.add_parser("reconcile", help="do tips, notify and stats agree? 0: yes, 1: no")
    agree.add_argument(
        "--wait",
        type=reconcile.seconds,
        default=0.0,
        metavar="SECONDS",
        help="look again until they do, so long",
    )
    renew = commands.add_parser("renew-certificate", help="another certificate for Kafka")
    renew.add_argument("--authority", action="store_true", help="from a new authority, which all must learn")
    show = commands.add_parser("show", help="show one secret, such as ca.crt or webhook_parking")
    show.add_argument("name")
    rotate = commands.add_parser("rotate", help="replace one secret")
    rotate.add_argument("name")
    rotate.add_argument("--even-so", action="store_true", help="replace one that may never change")
    subscriber = commands.add_parser("subscriber", help="outsiders that read the public topics")
    subscriber.add_argument("action", choices=["add", "list", "contact", "remove"])
    subscriber.add_argument("name", nargs="?", default="")
    subscriber.add_argument("--contact", default="", help="e-mail address where it is told of changes")
    return parser


async def _run(operator: Operator, asked: argparse.Namespace, now: datetime) -> str:
    match asked.command:
        case "secrets":
            return operator.secrets(now)
        case "renew-certificate":
            return operator.renew_certificate(now, authority=asked.authority)
        case "show":
            return operator.store.get(asked.name)
        case "databases":
            return await operator.databases()
        case "topics":
            return await operator.topics(mend_settings=asked.mend_settings)
        case "rotate":
            return await operator.rotate(asked.name, even_so=asked.even_so, now=now)
        case _:
            return await operator.subscriber(asked.action, asked.name, asked.contact)


def main() -> int:
    asked = _parser().parse_args()
    operator = Operator(os.environ)
    try:
        if asked.command == "reconcile":
            return _reconcile(operator, asked.wait)
        said = asyncio.run(_run(operator, asked, datetime.now(UTC)))
    except Refusal as refusal:
        print(f"{asked.command}: {refusal}", file=sys.stderr)
        return 1
    except (KafkaError, OSError, TimeoutError, asyncpg.PostgresError) as error:
        why = f"it does not answer or refuses ({type(error).__name__}: {error}); is it up?"
        print(f"{asked.command}: {why}", file=sys.stderr)
        return 1
    # A subscriber's files go to standard output; what is told besides does not mix with them.
    told_apart = asked.command == "subscriber" and asked.action == "add"
    print(said, file=sys.stderr if told_apart else sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
