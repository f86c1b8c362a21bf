"""When the certificates end that this process meets on its way to Kafka."""

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any

import structlog
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError

from shared.cluster import Where, at

AUTHORITY = "authority"
# For one broker: one that hangs must not keep the watchdog, which asks, from looking elsewhere.
PATIENCE_SECONDS = 5.0

log = structlog.get_logger()


async def expiries(where: Where) -> Mapping[str, float]:
    """When the certificate ends that each broker of the address shows, under its `host:port`, and the one of
    our own file that these come from, under AUTHORITY; seconds since 1970. Empty where there is no TLS.

    Asks the brokers, signing in as ever: what a broker has in its files it may not have read yet. One that
    does not answer, or whose certificate is not accepted, is left out; so is an authority that stands behind
    another. Raises Refusal where our own file cannot be read.
    """
    cluster = at(where)
    if cluster.ca is None:
        return {}
    settings = cluster.connection()
    found: dict[str, float] = {}
    for host, port in cluster.addresses():
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                connection = await create_conn(host, port, **settings)
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("certificate_not_seen", broker=f"{host}:{port}", error=type(error).__name__)
            continue
        try:
            # aiokafka has no public way to what the other side has shown.
            shown = connection._writer.get_extra_info("peercert")
        finally:
            connection.close()
        found[f"{host}:{port}"] = _end(shown)
        above = [
            _end(own) for own in settings["ssl_context"].get_ca_certs() if own["subject"] == shown["issuer"]
        ]
        if above:
            found[AUTHORITY] = max(above)
    return found


def _end(certificate: Mapping[str, Any]) -> float:
    return float(ssl.cert_time_to_seconds(certificate["notAfter"]))
