"""What is sent and read: lost, doubled, unreadable, or held up."""

import asyncio
import re
import time

from shared.events import DISPATCHES, REPORTS
from tests.compose.alarms import faults
from tests.compose.alarms.watch import LONG, SOON, Watch
from tests.compose.deployment import ROOT, Deployment, long, typed
from tests.compose.town import Town
from tests.spine import broken_batch

pytestmark = long

BROKEN = ROOT / "tests/compose/alarms/broken-stats.yml"


def test_a_topic_that_was_deleted(watch: Watch, deployment: Deployment, town: Town) -> None:
    """TopicsWrong; made anew it is empty, which its writer refuses until it has sent again what was there."""
    town.report()
    deployment.agree()
    wrong = watch.fault("TopicsWrong", f"{DISPATCHES.name} is deleted", service="tips")
    typed(
        deployment,
        "docker compose exec -T kafka sh /etc/ibuurt/tool kafka-topics.sh --delete --topic ibuurt.reports.v1",
        **{REPORTS.name: DISPATCHES.name},
    )
    wrong.fires(SOON)
    wrong.mends("docker compose up -d")
    wrong.quiets(SOON)
    refused = watch.fault("RelayRefused", f"{DISPATCHES.name} was made anew", service="notify")
    deployment.run("restart", "notify")
    refused.fires(SOON)
    refused.mends(
        "docker compose run --rm --no-deps tips outbox resend --dry-run",
        "docker compose stop tips",
        "docker compose run --rm --no-deps tips outbox resend --by NAME",
        "docker compose up -d --wait tips",
        tips="notify",
    )
    refused.quiets(SOON)
    town.report()
    deployment.agree()


def test_a_database_that_was_restored(watch: Watch, deployment: Deployment, town: Town) -> None:
    """An older one, started without `outbox recover`."""
    typed(
        deployment,
        "for name in stats notify tips; do docker compose exec -T postgres pg_dump -U postgres -Fc $name > "
        "$name.dump; done",
    )
    town.report()
    deployment.agree()
    row = watch.fault("RelayRefused", "the database of notify is restored from a backup", service="notify")
    typed(deployment, "docker compose stop stats", stats="notify")
    typed(
        deployment,
        "docker compose exec -T postgres pg_restore -U postgres -d postgres --clean --if-exists --create "
        "--exit-on-error < stats.dump",
        stats="notify",
    )
    deployment.run("start", "notify")
    row.fires(SOON)
    deployment.run("stop", "notify")
    row.mends(
        "docker compose run --rm --no-deps notify outbox recover --dry-run",
        "docker compose run --rm --no-deps notify outbox recover --by NAME",
        "docker compose up -d --wait",
    )
    row.quiets(SOON)
    deployment.agree()


def test_a_consumer_that_cannot_move(watch: Watch, deployment: Deployment, town: Town) -> None:
    """Somebody holds its rows."""
    held = "a session holds the rows of stats' fence"
    rows = [watch.fault(alarm, held, service="stats") for alarm in ("LagWithoutProgress", "ConsumerLag")]
    holding = "BEGIN; SELECT * FROM fence FOR UPDATE; SELECT pg_sleep(3600)"
    with faults.superuser(deployment, "stats", holding):
        time.sleep(5)
        town.report()
        for row in rows:
            row.fires(LONG)
        _, told = typed(
            deployment,
            'docker compose exec postgres psql -U postgres -c "SELECT pid, datname, application_name, '
            "xact_start, wait_event_type FROM pg_stat_activity WHERE xact_start < now() - interval "
            "'1 minute' ORDER BY xact_start\"",
        )
        holder = re.search(r"(\d+) \| stats +\| psql", told)
        assert holder, told
        rows[0].mends(
            'docker compose exec postgres psql -U postgres -c "SELECT pg_terminate_backend(PID)"',
            PID=holder[1],
        )
        rows[1].like(rows[0])
        for row in rows:
            row.quiets(SOON)
    deployment.agree()


def test_a_program_that_cannot_read(watch: Watch, deployment: Deployment, town: Town) -> None:
    """stats is deployed with a program that wants a field which no writer gives: it stops, and with the
    right program all is counted."""
    source = (ROOT / "shared/events.py").read_text("utf-8")
    broken = source.replace("class ReportEvent(Event):\n", "class ReportEvent(Event):\n    floor: int\n")
    assert broken != source
    program = deployment.folder / "events.py"
    program.write_text(broken, "utf-8")
    program.chmod(0o644)
    row = watch.fault("ConsumerStopped", "a program of stats that cannot read reports", service="stats")
    deployment.typed(
        f"IBUURT_TEST_PROGRAM={program} COMPOSE_FILE=$COMPOSE_FILE:{BROKEN} "
        "docker compose up -d --no-deps stats"
    )
    deployment.healthy(["stats"], SOON)
    for _ in range(60):
        town.report()
    row.fires(SOON)
    row.mends("docker compose up -d --wait stats")
    row.quiets(SOON)
    # What came before it was too much was set aside.
    typed(
        deployment,
        "docker compose run --rm --no-deps notify dead-letters replay --reason unknown_category --by NAME",
        notify="stats",
        unknown_category="bad_value",
    )
    deployment.agree()


def test_a_category_that_a_reader_lacks(watch: Watch, deployment: Deployment, town: Town) -> None:
    """It was added to the folder of tips alone."""
    kept = {
        name: (deployment.municipality / name).read_text("utf-8")
        for name in ("categories.toml", "routing.toml")
    }
    less = re.sub(
        r'\[\[categories\]\]\nid = "graffiti"\n.*?(?=\[\[categories\]\])',
        "",
        kept["categories.toml"],
        flags=re.DOTALL,
    )
    (deployment.municipality / "categories.toml").write_text(less, "utf-8")
    (deployment.municipality / "routing.toml").write_text(
        kept["routing.toml"].replace(', "graffiti"', ""), "utf-8"
    )
    letters = watch.fault(
        "DeadLetters", "notify's folder lacks a category", service="notify", reason="unknown_category"
    )
    poison = watch.fault("Poison", "notify's folder lacks a category", service="notify")
    try:
        deployment.run("restart", "notify")
        deployment.healthy(["notify"])
        for nth in range(40):
            town.report("graffiti" if nth % 3 == 0 else "street_light")
        letters.fires(SOON)
        poison.fires(SOON)
    finally:
        for name, text in kept.items():
            (deployment.municipality / name).write_text(text, "utf-8")
    poison.mends(
        "docker compose restart NAME",
        "docker compose run --rm --no-deps notify dead-letters replay --dry-run",
        "docker compose run --rm --no-deps notify dead-letters replay --reason unknown_category --by NAME",
        NAME="notify",
    )
    letters.mend, letters.mended = poison.mend, poison.mended
    poison.quiets(SOON)
    deployment.agree()


def test_another_writer(watch: Watch, deployment: Deployment, town: Town) -> None:
    """Somebody has the password of tips: one event under a number that was used, and a record of nonsense."""
    town.report()
    deployment.agree()
    outsider = faults.cluster(deployment, "tips")
    place, end = max(faults.ends(outsider, REPORTS).items(), key=lambda found: found[1])
    twice = watch.fault("NumberUsedTwice", "a record written by another, as tips", service="notify")
    letters = watch.fault("DeadLetters", "nonsense written by another, as tips", service="stats")
    faults.write_again(outsider, place, end - 1)
    faults.write_nonsense(outsider, place, [b"\xff"])
    twice.fires(SOON)
    letters.fires(SOON)
    twice.mends(
        "docker compose run --rm operator rotate kafka_tips", "docker compose restart NAME", NAME="tips"
    )
    letters.mend, letters.mended = twice.mend, twice.mended
    refused = watch.fault("RelayRefused", "tips is restarted after another has written", service="tips")
    refused.fires(SOON)
    deployment.typed("docker compose stop tips")
    refused.mends(
        "docker compose run --rm --no-deps tips outbox recover --first-counts --by NAME",
        "docker compose up -d --wait tips",
    )
    refused.quiets(SOON)
    town.report()
    deployment.agree()


def test_a_batch_that_nobody_can_take_apart(watch: Watch, deployment: Deployment, town: Town) -> None:
    """Another program wrote it: both readers apply what stands before it, and stop; by the page's command it
    goes, and they agree."""
    town.report()
    deployment.agree()
    what = f"a batch on {REPORTS.name} that nobody can take apart"
    readers = ("notify", "stats")
    rows = [watch.fault("ConsumerStopped", what, service=reader) for reader in readers]
    offset = asyncio.run(broken_batch(faults.cluster(deployment), REPORTS.name, 3))
    for row in rows:
        row.fires(SOON)
    deleted, _ = typed(
        deployment,
        "docker compose exec -T kafka sh /etc/ibuurt/delete-records ibuurt.reports.v1 3 17",
        **{"3 17": f"3 {offset}"},
    )
    for reader, row in zip(readers, rows, strict=True):
        restarted, _ = typed(deployment, "docker compose restart NAME", NAME=reader)
        row.ends(f"{deleted}; {restarted}")
        row.quiets(SOON)
    town.report()
    deployment.agree()
