"""What an operator gets wrong: what is wrong stops with one line that names it and its mend; the rest is up.

Each test breaks one thing of the running deployment and mends it as the line says.
"""

import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from aiokafka.admin import NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from deploy.operator import certificates
from shared import kafka
from shared.cluster import Cluster
from shared.events import DISPATCHES, STATISTICS
from tests.compose.deployment import SERVICES, Deployment

DEAD = DISPATCHES.dead_letters("stats")


@pytest.fixture(autouse=True)
def mended(deployment: Deployment) -> Iterator[None]:
    """After each test everything is as it was: handed out anew, started anew where it stopped."""
    yield
    assert deployment.job("secrets").returncode == 0
    for service in SERVICES:
        if deployment.states()[service] != "running healthy":
            deployment.run("restart", "--timeout", "10", "--no-deps", service)
    deployment.healthy([*SERVICES, "kafka", "postgres", "prometheus"])


@pytest.fixture
def admin(deployment: Deployment) -> Cluster:
    """Kafka, as its administrator."""
    return deployment.admin()


def _line(refused: "subprocess.CompletedProcess[str]") -> str:
    """The one line of a job that refused; compose's own lines about containers aside."""
    assert refused.returncode == 1, refused.stdout
    (line,) = [line for line in refused.stderr.splitlines() if line.strip() and line[0] != " "]
    return line


def _others(deployment: Deployment, *broken: str) -> None:
    """Everybody else is still up."""
    deployment.healthy([name for name in (*SERVICES, "kafka", "postgres") if name not in broken], 5)


def test_a_secret_that_is_gone_is_not_made_anew(deployment: Deployment) -> None:
    """A pepper made anew would lose every receipt without a word."""
    kept = deployment.secrets()["receipt_pepper"]
    deployment.shell("operator", "rm -f /secrets/store/receipt_pepper")
    line = _line(deployment.job("secrets"))
    assert line.startswith(
        "secrets: secret receipt_pepper is gone; restore the store from its backup, or only "
    )
    _others(deployment)
    deployment.change_secret("store/receipt_pepper", kept)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"operator_token": "swordfish"}, "secret operator_token is too short"),
        (
            {"link_secret": "x" * 40, "notify_token": "x" * 40},
            "secret link_secret is the same as notify_token; give each its own",
        ),
    ],
)
def test_a_given_secret_that_is_short_or_used_twice_is_refused(
    deployment: Deployment, given: dict[str, str], said: str
) -> None:
    """Before anything starts, in a deployment that is made from nothing; without the secret itself."""
    for name, text in given.items():
        (deployment.given / name).write_text(text)
    project = f"{deployment.name}-first"
    deployment.engine("tag", f"ibuurt-operator:{deployment.name}", f"ibuurt-operator:{project}")
    try:
        arguments = ["-p", project, "run", "--rm", "--no-TTY", "--no-deps", "secrets"]
        line = _line(deployment.tried(*arguments))
        assert line.startswith(f"secrets: {said}")
        assert not any(text in line for text in given.values())
        assert not deployment.tried("-p", project, "ps", "--quiet").stdout
    finally:
        deployment.run("-p", project, "down", "--volumes")
        deployment.engine("image", "rm", f"ibuurt-operator:{project}")
        for name in given:
            (deployment.given / name).unlink()


def test_a_given_secret_other_than_the_one_in_use_is_refused(deployment: Deployment) -> None:
    """Two deployments' folders mixed up, say."""
    (deployment.given / "link_secret").write_text("y" * 40)
    line = _line(deployment.job("secrets"))
    assert "secret link_secret in deploy/secrets is not the one in use; remove it there" in line
    _others(deployment)
    (deployment.given / "link_secret").unlink()


def test_a_service_with_a_short_secret_stops(deployment: Deployment) -> None:
    """Whoever wrote into its folder."""
    deployment.change_secret("tips/ibuurt_receipt_pepper", "short")
    line = deployment.refuses("tips")
    assert line.startswith("tips: IBUURT_RECEIPT_PEPPER: ")
    assert "set it to a secret of 32 characters or more" in line
    _others(deployment, "tips")


def test_a_service_without_one_of_its_secrets_stops(deployment: Deployment) -> None:
    """Naming the one."""
    deployment.shell("operator", "rm -f /secrets/notify/ibuurt_link_secret")
    line = deployment.refuses("notify")
    assert line.startswith("notify: IBUURT_LINK_SECRET: Field required; set it to what signs the links")
    _others(deployment, "notify")


@pytest.mark.parametrize(
    ("secret", "job", "said"),
    [
        ("postgres", "databases", "databases: PostgreSQL refuses the password of its superuser"),
        ("kafka_admin", "topics", "topics: Kafka at kafka:9092 refuses the password of user admin"),
    ],
)
def test_a_job_with_a_wrong_password_stops(deployment: Deployment, secret: str, job: str, said: str) -> None:
    """A store that belongs to other volumes, say."""
    kept = deployment.secrets()[secret]
    deployment.change_secret(f"store/{secret}", "w" * 40)
    try:
        assert _line(deployment.job(job)).startswith(said)
        _others(deployment)
    finally:
        deployment.change_secret(f"store/{secret}", kept)


def test_a_service_with_a_wrong_database_password_stops(deployment: Deployment) -> None:
    """With where the password is."""
    deployment.shell("operator", "cd /secrets/tips && sed -i 's/:[^:@]*@/:wrong@/' ibuurt_database_url")
    assert deployment.refuses("tips") == (
        "tips: the database cannot be used (InvalidPasswordError); check IBUURT_DATABASE_URL"
    )
    _others(deployment, "tips")


def test_a_service_with_a_wrong_kafka_password_stops(deployment: Deployment) -> None:
    """Not every minute a new try: such a client is what a password guesser looks like."""
    deployment.change_secret("notify/ibuurt_kafka_password", "w" * 40)
    line = deployment.refuses("notify")
    assert line.startswith("notify: Kafka at kafka:9092 refuses the password of user notify; set ")
    _others(deployment, "notify")


def test_a_database_from_a_newer_version_is_refused(deployment: Deployment) -> None:
    """By the migration, and by the service."""
    newer = "INSERT INTO migration (name, digest) VALUES ('stats/0999_later.sql', 'x')"
    psql = ["exec", "-T", "postgres", "sh", "-c", 'PGPASSWORD=$(cat /run/secrets/password) psql "$@"', "psql"]
    psql += ["-h", "127.0.0.1", "-U", "postgres", "-d", "stats", "-c"]
    deployment.run(*psql, newer)
    said = (
        "stats: the database has stats/0999_later.sql, which this program does not know; deploy a newer "
        "program"
    )
    assert _line(deployment.job("migrate-stats")) == said
    assert deployment.refuses("stats") == said
    _others(deployment, "stats")
    deployment.run(*psql, "DELETE FROM migration WHERE name = 'stats/0999_later.sql'")


async def test_a_topic_with_other_settings_is_refused_and_mended_by_command(
    deployment: Deployment, admin: Cluster
) -> None:
    """The line names topic, setting, both values and the command."""
    async with kafka.admin(admin) as client:
        await client.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, STATISTICS.name, {"retention.ms": "60000"})]
        )
    line = _line(deployment.job("topics"))
    assert "topic ibuurt.statistics.v1 has retention.ms 60000, the contract says -1; run " in line
    _others(deployment)
    assert deployment.job("topics", "topics", "--mend-settings").returncode == 0
    assert deployment.job("topics").returncode == 0


async def test_a_topic_with_other_partitions_is_refused(deployment: Deployment, admin: Cluster) -> None:
    """By the job; nothing but a new topic mends it."""
    async with kafka.admin(admin) as client:
        await client.create_partitions({DEAD: NewPartitions(13)})
        line = _line(deployment.job("topics"))
        assert f"topic {DEAD} has 13 partitions, the contract says 12; a partition count is for" in line
        _others(deployment)
        await client.delete_topics([DEAD])
    assert deployment.job("topics").returncode == 0


@pytest.mark.parametrize("service", SERVICES)
def test_a_municipality_with_a_mistake_is_refused(deployment: Deployment, service: str) -> None:
    """By every service that is started with it, file and place named; who runs goes on."""
    units = deployment.municipality / "units.toml"
    sound = units.read_text("utf-8")
    units.write_text(sound.replace('kind = "webhook"', 'kind = "pigeon"', 1), "utf-8")
    try:
        line = deployment.refuses(service)
        assert line.startswith(f"{service}: units.toml: units[0].channels[0].kind: ")
        _others(deployment, service)
        assert "units.toml: units[0].channels[0].kind: " in _line(deployment.job("secrets"))
    finally:
        units.write_text(sound, "utf-8")


def test_an_expired_certificate_is_refused_and_renewed_by_command(deployment: Deployment) -> None:
    """By the job and by Kafka, before it is used; by a client, when it expires while Kafka runs."""
    secrets = deployment.secrets()
    until = datetime.now(UTC) + timedelta(seconds=45)
    hosts = ["kafka", "localhost", "127.0.0.1"]
    then = until - timedelta(days=certificates.DAYS)
    key, crt = certificates.new_certificate(secrets["ca.key"], secrets["ca.crt"], hosts, then)
    deployment.change_secret("store/kafka.key", key)
    deployment.change_secret("store/kafka.crt", crt)
    assert "Kafka's certificate expires in 0 days" in deployment.job("secrets").stdout
    deployment.run("restart", "--no-deps", "kafka")
    deployment.healthy(["kafka"])
    time.sleep(max(0.0, (until - datetime.now(UTC)).total_seconds()) + 1)
    line = _line(deployment.job("secrets"))
    assert "certificate kafka.crt is not valid on " in line
    assert line.endswith(
        "run `docker compose run --rm --no-deps operator renew-certificate`, which says what to restart"
    )
    line = deployment.refuses("stats")
    assert line.startswith(
        "stats: Kafka's certificate at kafka:9092 is not accepted: certificate has expired"
    )
    _others(deployment, "stats")
    line = deployment.refuses("kafka")
    assert line == (
        "kafka: its certificate has expired; run `docker compose run --rm --no-deps operator "
        "renew-certificate`"
    )
    _others(deployment, "stats", "kafka")
    assert "restart kafka" in deployment.job("operator", "renew-certificate").stdout
    deployment.run("restart", "--no-deps", "kafka")
    deployment.healthy(["kafka"])
