"""Records that are lost for good. After test_records.py: what was given up here is never counted, so that
from then on the services' totals differ."""

from shared.events import REPORTS
from tests.compose.alarms import faults
from tests.compose.alarms.faults import psql
from tests.compose.alarms.watch import LONG, SOON, Watch
from tests.compose.deployment import Deployment, long, typed
from tests.compose.town import Town

pytestmark = long


def test_a_gap(watch: Watch, deployment: Deployment, town: Town) -> None:
    """Records are deleted in front of a group: of one partition their writer has them still, of the other
    no longer."""
    where = faults.cluster(deployment)
    deployment.run("stop", "stats")
    before = faults.ends(where, REPORTS)
    grown: list[tuple[str, int]] = []
    while len(grown) < 2:
        town.report()
        # Behind what is deleted another must come, which shows that it is missing.
        grown = [place for place, end in faults.ends(where, REPORTS).items() if end >= before[place] + 2]
    kept, lost = grown[:2]
    rows = [
        watch.fault("Gap", what, service="stats", topic=topic, partition=str(partition))
        for (topic, partition), what in (
            (kept, "records are deleted that tips still has"),
            (lost, "records are deleted that nobody has any more"),
        )
    ]
    faults.delete_before(where, {place: before[place] + 1 for place in (kept, lost)})
    deployment.run("start", "stats")
    for row in rows:
        row.fires(LONG)
    first = psql(
        deployment,
        "stats",
        f"SELECT sequence + 1 FROM fence WHERE topic = '{kept[0]}' AND partition = {kept[1]}",
    )
    typed(deployment, "docker compose stop tips")
    rows[0].mends(
        "docker compose run --rm --no-deps tips outbox resend --topic ibuurt.reports.v1 --partition 3 "
        "--from-number 7 --by NAME",
        "docker compose up -d --wait tips",
        **{"partition 3": f"partition {kept[1]}", "number 7": f"number {first}"},
    )
    rows[0].quiets(SOON)
    gap = (
        "docker compose run --rm --no-deps stats consumer accept-gap --topic ibuurt.reports.v1 --partition 3"
    )
    rows[1].mends(f"{gap} --dry-run", f"{gap} --by NAME", **{"partition 3": f"partition {lost[1]}"})
    rows[1].quiets(SOON)
