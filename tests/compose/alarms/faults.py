"""What breaks a deployment, from outside of it."""

import asyncio
import contextlib
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.protocol.admin import DeleteAclsRequest

from deploy.operator import certificates
from shared import kafka
from shared.access import ANY, Right
from shared.cluster import Cluster
from shared.events import Place, Topic
from tests.compose.deployment import ROOT, Deployment


def cluster(deployment: Deployment, user: str = "admin") -> Cluster:
    """Kafka from this machine, as that user of the store."""
    secrets = deployment.secrets()
    authority = deployment.folder / "ca.crt"
    authority.write_text(secrets["ca.crt"])
    return Cluster(f"localhost:{deployment.kafka_ports[0]}", user, secrets[f"kafka_{user}"], authority)


def psql(deployment: Deployment, database: str, sql: str) -> str:
    """What PostgreSQL's superuser is answered; a value a line."""
    asked = ["exec", "-T", "postgres", "psql", "-U", "postgres", "-d", database, "-qAtc", sql]
    return deployment.run(*asked).strip()


@contextlib.contextmanager
def session(deployment: Deployment, service: str, *arguments: str) -> Iterator[None]:
    """A program in the service's container, ended with the block where it has not ended before."""
    command = [*deployment.command, "exec", "-T", service, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as running:
        try:
            yield
        finally:
            running.terminate()


def superuser(deployment: Deployment, database: str, sql: str) -> contextlib.AbstractContextManager[None]:
    """A session of the superuser that runs these statements."""
    return session(deployment, "postgres", "psql", "-U", "postgres", "-d", database, "-qc", sql)


MAIL_SERVER = """
import asyncio
refused = asyncio.Event()
async def serve(reader, writer):
    said = "220 mail"
    while said:
        writer.write(said.encode() + b"\\r\\n")
        line = (await reader.readline()).decode().upper()
        if line.startswith("MAIL"):
            said = {says!r}
            refused.set()
        else:
            said = "250 OK" if line else ""
    writer.close()
async def main():
    async with await asyncio.start_server(serve, "127.0.0.1", {port}):
        await refused.wait()
        await asyncio.sleep(5)
asyncio.run(main())
"""
MAIL_PORT = 2525


def mail_server(deployment: Deployment, says: str) -> contextlib.AbstractContextManager[None]:
    """A mail server beside `tips`, which answers so to a sender, and ends."""
    code = MAIL_SERVER.format(says=says, port=MAIL_PORT)
    return session(deployment, "tips", "python", "-c", code)


OWN_SESSION = """
import asyncio, asyncpg, pathlib
async def main():
    dsn = pathlib.Path("/run/secrets/ibuurt_database_url").read_text().strip()
    connection = await asyncpg.connect(dsn)
    await connection.execute({sql!r})
    await asyncio.sleep(3600)
asyncio.run(main())
"""


def own_session(deployment: Deployment, service: str, sql: str) -> contextlib.AbstractContextManager[None]:
    """A program in the service's container that runs these statements as its role, and hangs."""
    return session(deployment, service, "python", "-c", OWN_SESSION.format(sql=sql))


def certificate_until(deployment: Deployment, until: datetime) -> None:
    """Kafka has a certificate that ends then."""
    secrets = deployment.secrets()
    then = until - timedelta(days=certificates.DAYS)
    hosts = ["kafka", "localhost", "127.0.0.1"]
    key, crt = certificates.new_certificate(secrets["ca.key"], secrets["ca.crt"], hosts, then)
    deployment.change_secret("store/kafka.key", key)
    deployment.change_secret("store/kafka.crt", crt)
    assert deployment.job("secrets").returncode == 0
    deployment.run("restart", "--no-deps", "kafka")
    deployment.healthy(["kafka"])


def ends(where: Cluster, topic: Topic) -> dict[Place, int]:
    """The offset after the last of each partition."""

    async def work() -> dict[Place, int]:
        reader = kafka.reader(where, "test")
        await reader.start()
        try:
            return dict(await kafka.ends(reader, [topic]))
        finally:
            await kafka.stop_quietly(reader)

    return asyncio.run(work())


def delete_before(where: Cluster, places: dict[Place, int]) -> None:
    """Delete the records in front of these offsets."""

    async def work() -> None:
        async with kafka.admin(where) as client:
            await client.delete_records(
                {TopicPartition(*place): RecordsToDelete(offset) for place, offset in places.items()}, 20_000
            )

    asyncio.run(work())


def write_again(where: Cluster, place: Place, offset: int) -> None:
    """Write the record at that offset again, as another event under the same number."""

    async def work() -> None:
        reader = kafka.reader(where, "test")
        await reader.start()
        producer = kafka.producer(where, "test")
        await producer.start()
        try:
            async for record in kafka.records(reader, place, offset, offset + 1):
                headers = [(name, value) for name, value in record.headers if name != "ce_id"]
                headers.append(("ce_id", str(uuid.uuid4()).encode()))
                await producer.send_and_wait(
                    place[0], record.value, record.key, place[1], record.timestamp, headers
                )
        finally:
            await kafka.abandon(producer)
            await kafka.stop_quietly(reader)

    asyncio.run(work())


def write_nonsense(where: Cluster, place: Place, values: Sequence[bytes]) -> None:
    """Write records that nobody can read, as the topic's writer."""

    async def work() -> None:
        producer = kafka.producer(where, "test")
        await producer.start()
        for value in values:
            await producer.send_and_wait(place[0], value, b"key", place[1])
        await kafka.abandon(producer)

    asyncio.run(work())


def take_away(where: Cluster, right: Right) -> None:
    """Take one right away, as somebody by hand."""

    async def work() -> None:
        async with kafka.admin(where) as client:
            kind, name, pattern, principal, operation = right
            request = DeleteAclsRequest(kind, name, pattern, principal, None, operation, ANY)
            answer = await client._send_request(request)
            assert answer.filter_responses[0][0] == 0

    asyncio.run(work())


def in_days(days: float) -> datetime:
    """So many days from now, UTC."""
    return datetime.now(UTC) + timedelta(days=days)
