"""The metrics of `stats` alone: none, and that is a decision.

Nothing here may tell the count of an open period: whoever saw it grow could take the noise off a release.
So no metric is split by area, category or period, and none is set from `lifecycle`, `incident` or `period`.
What the shared consumer counts (shared/metrics.py) is events by topic, on the internal port only.
"""
