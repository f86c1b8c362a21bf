"""What units and residents meet."""

import re
import time
import urllib.parse
import urllib.request

from tests.compose.alarms import faults
from tests.compose.alarms.faults import psql
from tests.compose.alarms.watch import LONG, SOON, Watch
from tests.compose.deployment import Deployment, long, typed
from tests.compose.town import SUBSCRIBER, Town

pytestmark = long

OVERDUE = "seen_at IS NULL AND unit = 'public_space'"


def test_units_that_fail(deployment: Deployment, watch: Watch, town: Town) -> None:
    """One does not listen until its report is given up; one answers 503 and is mended before."""
    town.kill("parking")
    town.answers("youth_work", 503)
    away = watch.fault("UnitUnreachable", "a unit's system does not listen", destination="parking")
    fails = watch.fault("UnitUnreachable", "a unit's system answers 503", destination="youth_work")
    late = watch.fault("DeliveryLate", "a unit's system answers 503")
    dead = watch.fault("DeliveryDead", "a unit's system does not listen for ten attempts")
    town.report("wrong_parking")
    town.report("youth_nuisance")
    for row in (late, fails, away, dead):
        row.fires(LONG)
    end = time.monotonic() + LONG
    told = ""
    # The one that answers 503 may be given up first.
    while not re.search(r"parking +\| webhook +\| (refused|disconnected)", told):
        assert time.monotonic() < end, told
        command, told = typed(
            deployment,
            "docker compose exec postgres psql -U postgres -d notify -c "
            "\"SELECT report_id, unit, channel, last_failure FROM delivery WHERE state = 'dead'\"",
        )
    dead.ends(f"{command}, and tell the unit")
    for unit, category, row in (("parking", "wrong_parking", away), ("youth_work", "youth_nuisance", fails)):
        town.mend(unit)
        town.report(category)
        row.ends("the unit's system is up again")
    late.like(fails)
    for row in (away, fails, late):
        row.quiets(LONG)


def test_a_unit_that_keeps_silent(deployment: Deployment, watch: Watch, town: Town) -> None:
    """Its report's times are moved hours back, since nobody waits so long for a test; notify looks at each
    start and on the hour."""
    town.answers("public_space", 204)
    row = watch.fault("UnacknowledgedPastDue", "a unit takes a report and never acknowledges it")
    town.report("street_light")
    end = time.monotonic() + SOON
    while psql(deployment, "notify", f"SELECT count(*) FROM dispatch WHERE {OVERDUE}") != "1":
        assert time.monotonic() < end
        time.sleep(1)
    past = f"UPDATE dispatch SET acknowledge_by = now() - interval '3 hours' WHERE {OVERDUE}"
    psql(deployment, "notify", past)
    deployment.run("restart", "notify")
    row.fires(SOON)
    _, told = typed(
        deployment,
        'docker compose exec postgres psql -U postgres -d notify -c "SELECT unit, count(*) FROM dispatch '
        "WHERE seen_at IS NULL AND acknowledge_by < now() AND status NOT IN ('withdrawn', 'erased') "
        'GROUP BY unit"',
    )
    assert re.search(r"public_space +\| +1", told), told
    deployment.healthy(["notify"], SOON)
    link = town.received["public_space"]["data"]["answer_url"]
    asked = urllib.request.Request(link, urllib.parse.urlencode({"action": "acknowledge"}).encode())
    with urllib.request.urlopen(asked, timeout=30) as answer:
        assert answer.status == 200
    row.ends("the unit presses the link; told on the next hour")
    psql(
        deployment,
        "notify",
        "UPDATE dispatch SET seen_at = now() - interval '2 hours' WHERE acknowledge_by < now()",
    )
    town.mend("public_space")
    deployment.run("restart", "notify")
    row.quiets(SOON)


def test_a_subscriber_that_fails_for_days(deployment: Deployment, watch: Watch, town: Town) -> None:
    """Its days are half a minute here. Disabled it is called no more, and enabled it gets what it missed."""
    town.subscribes("street_light", "oakwood")
    row = watch.fault("SubscriptionDisabled", "a subscriber's system answers 503 for its five days")
    town.subscriber.busy_share = 1.0
    town.report("street_light")
    row.fires(SOON)
    _, told = typed(deployment, "docker compose run --rm --no-deps notify subscriptions list")
    assert re.search("DISABLED since .*, last failure http_503", told), told
    town.subscriber.busy_share = 0.0
    refused = len(town.subscriber.calls)
    row.mends(f"docker compose run --rm --no-deps notify subscriptions enable {SUBSCRIBER} --by NAME")
    row.quiets(SOON)
    town.subscriber.until(lambda calls: calls[-1].data["status"] == "acknowledged", SOON)
    versions = [call.data["version"] for call in town.subscriber.calls[refused:]]
    assert versions == list(range(1, len(versions) + 1))
    typed(deployment, f"docker compose run --rm --no-deps notify subscriptions remove {SUBSCRIBER} --by NAME")


def test_a_mail_server_that_refuses(watch: Watch, deployment: Deployment, town: Town) -> None:
    """A policy against our sender, which no resident can mend."""
    row = watch.fault("EmailBlocked", "the mail server refuses our sender")
    receipt = town.report()
    with faults.mail_server(deployment, "550 5.7.1 not from you"):
        town.asks_for_email(receipt)
        row.fires(SOON)
    row.ends("the mail server refuses no more")
    row.quiets(LONG)


def test_intake_is_slow(watch: Watch, deployment: Deployment, town: Town) -> None:
    """Somebody locks the table of reports again and again."""
    row = watch.fault("IntakeSlow", "a session locks the reports for 3 s at a time")
    work = (
        "DO $$ BEGIN FOR i IN 1..200 LOOP LOCK TABLE report IN EXCLUSIVE MODE; PERFORM pg_sleep(3); COMMIT; "
        "PERFORM pg_sleep(0.1); END LOOP; END $$"
    )
    with faults.superuser(deployment, "tips", work):
        end = time.monotonic() + LONG
        while not row.now():
            assert time.monotonic() < end
            town.report()
        row.fires(SOON)
        pid = psql(deployment, "tips", "SELECT pid FROM pg_stat_activity WHERE query LIKE 'DO %'").split()[0]
        row.mends(
            'docker compose exec postgres psql -U postgres -c "SELECT pg_terminate_backend(PID)"', PID=pid
        )
    end = time.monotonic() + 40
    while time.monotonic() < end:
        town.report()
        time.sleep(0.3)
    row.quiets(LONG)
