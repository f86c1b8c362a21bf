"""What a process stands on: others, PostgreSQL, Kafka, its certificate, its lock."""

import re
import time

from shared.access import LITERAL, TOPIC, WRITE, Right
from shared.events import REPORTS
from shared.relay import RELAY_LOCK
from tests.compose.alarms import faults
from tests.compose.alarms.faults import psql
from tests.compose.alarms.watch import LONG, SOON, Watch
from tests.compose.deployment import SERVICES, Deployment, long, typed
from tests.compose.town import Town

pytestmark = long


def targets(watch: Watch) -> list[str]:
    """The services that Prometheus reaches, once per replica."""
    found = watch.get("targets?state=active")
    assert isinstance(found, dict)
    return sorted(one["labels"]["service"] for one in found["activeTargets"] if one["health"] == "up")


def started(watch: Watch, service: str) -> str | None:
    """When the service's process began, as Prometheus has it."""
    found = watch.get(f"query?query=max(process_start_time_seconds%7Bservice=%22{service}%22%7D)")
    assert isinstance(found, dict)
    return found["result"][0]["value"][1] if found["result"] else None


def test_prometheus_finds_each_service_and_each_replica_by_name(deployment: Deployment, watch: Watch) -> None:
    """By the names that compose gives; one that is gone again is no longer looked for."""
    deployment.two_of_stats()
    for wanted in (["notify", "stats", "stats", "tips"], ["notify", "stats", "tips"]):
        end = time.monotonic() + SOON
        while targets(watch) != wanted:
            assert time.monotonic() < end, targets(watch)
            time.sleep(1)
        typed(deployment, "docker compose up -d --wait")


def test_a_service_that_is_down(watch: Watch, deployment: Deployment) -> None:
    """Stopped, it has no name any more."""
    row = watch.fault("ServiceDown", "docker compose stop stats", service="stats")
    deployment.run("stop", "stats")
    row.fires(SOON)
    row.mends("docker compose up -d --no-deps --wait NAME", NAME="stats")
    row.quiets(SOON)


def test_a_service_that_ends_again_and_again(watch: Watch, deployment: Deployment) -> None:
    """Docker starts it anew each time."""
    row = watch.fault("ServiceRestarts", "the process of stats ends three times", service="stats")
    for _ in range(3):
        before = started(watch, "stats")
        deployment.run("exec", "-T", "stats", "sh", "-c", "kill -TERM 1")
        end = time.monotonic() + SOON
        while started(watch, "stats") in {before, None}:
            assert time.monotonic() < end
            time.sleep(0.2)
    row.fires(SOON)
    row.ends("nothing: it runs")
    row.quiets(SOON)


def test_a_database_that_is_away(watch: Watch, deployment: Deployment) -> None:
    """For every service."""
    rows = [
        watch.fault("DatabaseAway", "docker compose stop postgres", service=service) for service in SERVICES
    ]
    deployment.run("stop", "postgres")
    for row in rows:
        row.fires(SOON)
    rows[0].mends("docker compose up -d --wait")
    for row in rows:
        row.like(rows[0])
        row.quiets(SOON)


def test_a_transaction_that_stays_open(watch: Watch, deployment: Deployment) -> None:
    """A program of ours that hangs."""
    row = watch.fault("OldTransaction", "a program in stats' container leaves one open", service="stats")
    with faults.own_session(deployment, "stats", "BEGIN; SELECT * FROM fence"):
        row.fires(SOON)
        row.mends("docker compose restart NAME", NAME="stats")
        row.quiets(SOON)


def test_kafka_that_is_away_and_a_report_that_waits(watch: Watch, deployment: Deployment, town: Town) -> None:
    """Reports are accepted all the same."""
    rows = [watch.fault("KafkaAway", "docker compose stop kafka", service=service) for service in SERVICES]
    rows.append(watch.fault("OutboxWaits", "docker compose stop kafka, and a report", service="tips"))
    deployment.run("stop", "kafka")
    town.report()
    for row in rows:
        row.fires(LONG)
    rows[0].mends("docker compose up -d --wait")
    for row in rows:
        row.like(rows[0])
        row.quiets(SOON)
    deployment.agree()


def test_a_right_that_was_taken_away(watch: Watch, deployment: Deployment, town: Town) -> None:
    """tips may not write any more."""
    where = faults.cluster(deployment)
    row = watch.fault("OutboxWaits", "the right of tips to write is taken away", service="tips")
    faults.take_away(where, Right(TOPIC, REPORTS.name, LITERAL, "User:tips", WRITE))
    town.report()
    row.fires(LONG)
    row.mends("docker compose up -d")
    row.quiets(SOON)
    deployment.agree()


def test_a_relay_that_does_not_get_its_lock(watch: Watch, deployment: Deployment) -> None:
    """Somebody else has it: an `outbox resend` that hangs, say."""
    row = watch.fault("NoActiveRelay", "another session holds the lock to send", service="tips")
    lock = f"SELECT pg_advisory_lock({RELAY_LOCK}); SELECT pg_sleep(3600)"
    with faults.superuser(deployment, "tips", lock):
        time.sleep(5)
        relays = "FROM pg_stat_activity WHERE application_name = 'tips-relay' AND datname = 'tips'"
        psql(deployment, "tips", f"SELECT pg_terminate_backend(pid) {relays}")
        row.fires(SOON)
        _, told = typed(
            deployment,
            'docker compose exec postgres psql -U postgres -d tips -c "SELECT pid, application_name, '
            "granted FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND "
            'datname = current_database()"',
        )
        holder = re.search(r"(\d+) \| psql +\| t", told)
        assert holder, told
        row.mends(
            'docker compose exec postgres psql -U postgres -d tips -c "SELECT pg_terminate_backend(PID)"',
            PID=holder[1],
        )
        row.quiets(SOON)


def test_a_photo_store_that_does_not_answer(watch: Watch, deployment: Deployment) -> None:
    """Its folder lets nobody in; once it does again, the service finds out by itself."""
    row = watch.fault("PhotoStoreAway", "the folder of photos lets nobody in")
    deployment.run("exec", "-T", "tips", "chmod", "000", "/state/photos")
    row.fires(SOON)
    deployment.run("exec", "-T", "tips", "chmod", "700", "/state/photos")
    row.ends("the folder lets the service in again")
    row.quiets(SOON)


def test_a_certificate_that_ends(watch: Watch, deployment: Deployment) -> None:
    """In twenty days, then in a minute, then it has ended; a new one is seen as soon as Kafka shows it."""
    labels = {"certificate": "kafka:9092"}
    soon = watch.fault("CertificateExpires", "Kafka's certificate ends in 20 days", **labels)
    now = watch.fault("CertificateExpired", "Kafka's certificate ends in a minute, and has ended", **labels)
    faults.certificate_until(deployment, faults.in_days(20))
    soon.fires(SOON)
    until = faults.in_days(70 / 86_400)
    faults.certificate_until(deployment, until)
    now.fires(SOON)
    time.sleep(max(0.0, (until - faults.in_days(0)).total_seconds()) + 1)
    now.fires(SOON)
    soon.mends("docker compose run --rm --no-deps operator renew-certificate", "docker compose restart kafka")
    now.mend, now.mended = soon.mend, soon.mended
    soon.quiets(SOON)
    now.quiets(SOON)
    deployment.agree()
