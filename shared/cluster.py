"""Where Kafka is, and as whom it is spoken to."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka.conn import collect_hosts

from shared.errors import Refusal


@dataclass(frozen=True)
class Cluster:
    """Where Kafka is (`host:port[,host:port…]`), and as whom it is spoken to: a SCRAM-SHA-512 user, over TLS
    where `ca` names the file of the authority that its certificate must come from."""

    bootstrap: str
    user: str = ""
    password: str = field(default="", repr=False)
    ca: Path | None = None

    def settings(self) -> dict[str, Any]:
        """What an aiokafka client is made with. Blocking, for one small file. Raises Refusal without it."""
        protocol = ("SASL_" if self.user else "") + ("SSL" if self.ca else "PLAINTEXT")
        found = {
            "bootstrap_servers": self.bootstrap,
            "security_protocol": protocol,
            "ssl_context": self.tls(),
        }
        if self.user:
            found |= {"sasl_mechanism": "SCRAM-SHA-512", "sasl_plain_username": self.user}
            found["sasl_plain_password"] = self.password
        return found

    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each broker that `bootstrap` names."""
        return [(host, port) for host, port, _ in collect_hosts(self.bootstrap)]

    def connection(self) -> dict[str, Any]:
        """`settings` for a connection to one of the addresses."""
        return {name: value for name, value in self.settings().items() if name != "bootstrap_servers"}

    def tls(self) -> ssl.SSLContext | None:
        """How the broker's certificate is examined; None without TLS."""
        if self.ca is None:
            return None
        try:
            return ssl.create_default_context(cafile=self.ca)
        except OSError as error:
            raise Refusal(
                f"IBUURT_KAFKA_CA: {self.ca} cannot be read as certificates ({type(error).__name__}); put "
                "the PEM file of the authority there that Kafka's certificate comes from"
            ) from None


# A bare `host:port` is a cluster without users, such as the local stack's.
Where = str | Cluster


def at(where: Where) -> Cluster:
    """The cluster itself."""
    return where if isinstance(where, Cluster) else Cluster(where)
