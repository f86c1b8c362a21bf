"""Last of this folder: nothing was left out."""

import re

from tests.compose.alarms.watch import LONG, Watch
from tests.compose.deployment import ROOT, long

pytestmark = long

ALERTS = re.findall(
    r"^ +- alert: (\w+)$", (ROOT / "deploy/prometheus/rules/alerts.yml").read_text("utf-8"), re.MULTILINE
)


def test_each_alarm_was_raised_and_is_quiet(watch: Watch) -> None:
    """Those too that tell of the past for an hour: here for three minutes."""
    for row in watch.rows:
        assert row.fired_after is not None, row.alarm
        if row.quiet_after is None:
            row.quiets(LONG)
        assert row.mend, f"nobody said what mends {row.alarm}"
    assert {row.alarm for row in watch.rows} == set(ALERTS)
