"""The metrics of `stats` alone: how late releases are, by the clock, and never how much is counted.

Nothing here may tell the count of an open period: whoever saw it grow could take the noise off a release.
So no metric is split by area, category or period, and none is set from `lifecycle` or `incident`, nor from
what stands in a period's noise and counts. What the shared consumer counts (shared/metrics.py) is events by
topic, on the internal port only.
"""

from prometheus_client import CollectorRegistry, Gauge


class ReleaseMetrics:
    """How late what is due by the clock is; 0 where nothing is."""

    def __init__(self, registry: CollectorRegistry) -> None:
        # Seconds since the oldest closed period that is not released was closed; without the past that waits
        # for close-history.
        self.overdue = Gauge(
            "release_overdue_seconds", "Time since a period closed that is not released", registry=registry
        )
        # Seconds since the oldest release was made that was not read back from its topic, so is not shown.
        self.unshown = Gauge(
            "release_unshown_seconds", "Time since a release was made that is not shown", registry=registry
        )
        # Seconds since noise or frozen counts that are still there should have been destroyed.
        self.kept = Gauge(
            "release_noise_overdue_seconds", "Time since noise should be destroyed", registry=registry
        )
        # 1 when what was published and this database disagree, and nothing is released until a person mends
        # it.
        self.refused = Gauge("release_refused", "Whether releasing has refused", registry=registry)
