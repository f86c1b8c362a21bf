"""Outsiders: users of Kafka that read what is public, or write the one topic that is theirs."""

import io
import re
import secrets
import tarfile
from collections.abc import Iterable, Mapping

from aiokafka.admin import AIOKafkaAdminClient

from shared import access
from shared.errors import Refusal
from shared.events import TOPICS

_NAME = re.compile(r"[a-z][a-z0-9-]{1,30}")
_CONTACT = re.compile(r"[!-~]+@[!-~]+\.[!-~]+")
_OURS = {access.BROKER, access.ADMINISTRATOR, *access.SERVICES}


async def add(client: AIOKafkaAdminClient, name: str) -> str:
    """Make an outsider's user; returns its password, which is stored nowhere. Raises Refusal."""
    check_name(name)
    if name in await access.users(client):
        raise Refusal(
            f"there is a subscriber {name}; `remove {name}` first, and its password ends to be valid"
        )
    password = "s" + secrets.token_urlsafe(32)
    await access.set_password(client, name, password)
    await access.settle(client)
    return password


async def remove(client: AIOKafkaAdminClient, name: str) -> None:
    """End an outsider's user; what it has open is refused too. Raises Refusal where there is none."""
    check_name(name)
    await access.lock(client, name)
    await access.settle(client)


async def listed(client: AIOKafkaAdminClient) -> list[str]:
    """The outsiders that there are."""
    return sorted(await access.users(client) - _OURS)


def lines(users: Iterable[str], contacts: Mapping[str, str]) -> list[str]:
    """What `list` says: each outsider with its contact, also one whose user went with Kafka's disk."""
    users = set(users)
    said = []
    for name in sorted(users | contacts.keys()):
        contact = contacts.get(name) or f"no contact; `contact {name} --contact ADDRESS` keeps one"
        lost = "" if name in users else f"   no user on this Kafka; `add {name}` again, or `remove {name}`"
        said.append(f"{name}   {contact}{lost}")
    return said


def check_name(name: str) -> None:
    """Raise Refusal for a name that an outsider may not have."""
    if name in _OURS:
        raise Refusal(f"{name} is one of our own users; name the system that subscribes, such as parks-gis")
    if not _NAME.fullmatch(name):
        raise Refusal("a name is 2 to 31 of a-z, 0-9 and -, a letter first, such as parks-gis")


def check_contact(contact: str) -> None:
    """Raise Refusal for what is no e-mail address (of at most 254 characters)."""
    if not (_CONTACT.fullmatch(contact) and contact.count("@") == 1 and len(contact) <= 254):
        raise Refusal(
            "a contact is one e-mail address in ASCII, where changes are announced 180 days ahead; give "
            "--contact and an address that is read, such as gis@parks.example"
        )


def bundle(name: str, password: str, bootstrap: str, ca: str) -> Mapping[str, str]:
    """The files that an outsider is given: for Java's client and for librdkafka's (kcat -F), and the CA."""
    jaas = "org.apache.kafka.common.security.scram.ScramLoginModule required"
    group = f"{access.group_prefix(name)}1"
    return {
        "ca.crt": f"{ca}\n",
        "client.properties": f"""bootstrap.servers={bootstrap}
security.protocol=SASL_SSL
sasl.mechanism=SCRAM-SHA-512
sasl.jaas.config={jaas} username="{name}" password="{password}";
ssl.truststore.type=PEM
ssl.truststore.location=ca.crt
group.id={group}
""",
        "kcat.conf": f"""# For librdkafka 2.6.1 or newer: older ones cannot sign in to Kafka 4.
bootstrap.servers={bootstrap}
security.protocol=SASL_SSL
sasl.mechanism=SCRAM-SHA-512
sasl.username={name}
sasl.password={password}
ssl.ca.location=ca.crt
""",
    }


def told(name: str, password: str, bootstrap: str) -> str:
    """What the operator is told, once."""
    if name in access.WRITERS:
        may = "it writes " + ", ".join(t.name for t in TOPICS.values() if t.writer == name)
    else:
        may = f"it reads {', '.join(topic.name for topic in access.PUBLIC)}"
        may += f" in groups that begin with {access.group_prefix(name)}"
    return (
        f"bootstrap {bootstrap}\nuser      {name}\npassword  {password}   (shown this once)\n{may}\n"
        "files     ca.crt, client.properties (Java), kcat.conf (kcat -F; librdkafka 2.6.1 or newer)"
    )


def packed(files: Mapping[str, str]) -> bytes:
    """The files as a tar, each for its owner's eyes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), 0o600
            archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()
