"""What notify does with public events: each goes to whoever subscribed to it, in the order of its key."""

import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from services.notify import queries_subscriptions as queries
from services.notify.core.subscriptions import NewDelivery, Subscription, follow, releases
from shared.cloudevents import Envelope
from shared.events import Event, IssueChanged, IssueGone, StatisticsReleased

# Longer than any state of it may come after its tombstone: dead letters are kept for 14 days.
GONE_KEPT = timedelta(days=60)


class Subscribers:
    """Applies batches of `ibuurt.issues.v1` and `ibuurt.statistics.v1`."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock

    async def apply(self, connection: Any, envelopes: Sequence[Envelope[Event]]) -> None:
        """Put down what has to go, in the caller's transaction. What was applied before changes nothing."""
        issues = [one for one in envelopes if isinstance(one.event, IssueChanged | IssueGone)]
        released = [one for one in envelopes if isinstance(one.event, StatisticsReleased)]
        if not issues and not released:
            return
        subscribers = await queries.subscriptions(connection)
        rows: list[NewDelivery] = []
        if issues:
            rows += await self.on_issues_changed(connection, subscribers, issues)
        if released:
            rows += await self.on_statistics_released(connection, subscribers, released)
        if rows:
            await queries.insert_deliveries(connection, rows, self._clock())

    async def on_issues_changed(
        self, connection: Any, subscribers: Sequence[Subscription], envelopes: Sequence[Envelope[Event]]
    ) -> list[NewDelivery]:
        """What has to go of changed issues; of those that are gone nothing waits any more but the word."""
        issue_ids = {uuid.UUID(envelope.event.key) for envelope in envelopes}
        known = await queries.lock_issues(connection, issue_ids)
        told = await queries.told(connection, issue_ids)
        found = follow(subscribers, known, told, envelopes)
        now = self._clock()
        if found.gone:
            await queries.drop_issues(connection, found.gone, now)
            await queries.forget_gone(connection, now - GONE_KEPT)
        if changed := {one: at for one, at in found.known.items() if known.get(one) != at}:
            await queries.save_issues(connection, changed, dict.fromkeys(found.gone, now))
        if news := {place: passes for place, passes in found.told.items() if told.get(place) != passes}:
            await queries.save_told(connection, news)
        return found.rows

    async def on_statistics_released(
        self, connection: Any, subscribers: Sequence[Subscription], envelopes: Sequence[Envelope[Event]]
    ) -> list[NewDelivery]:
        """What has to go of releases; the first record of a release wins."""
        ids = [uuid.UUID(envelope.event.key) for envelope in envelopes]
        return releases(subscribers, envelopes, await queries.insert_releases(connection, ids))
