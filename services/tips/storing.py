"""Submissions that come together are stored in one transaction (grouping.py)."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from services.tips import publishing
from services.tips.core.chain import collected
from services.tips.core.public import Issue
from services.tips.grouping import Grouping
from services.tips.keys import KeyFolder
from services.tips.photos import holding
from services.tips.queries import disclosures, issues, reports
from services.tips.queries.reports import Submission
from shared import outbox
from shared.cloudevents import Envelope


class Sent(NamedTuple):
    """A submission with its event, and what is public of it."""

    submission: Submission
    envelope: Envelope[Any]
    issue: Issue | None


class Storing:
    """Stores submissions in groups. `committed` is called after each commit that stored something."""

    def __init__(
        self, pool: Any, keys: KeyFolder, committed: Callable[[], None], clock: Callable[[], datetime]
    ) -> None:
        self._pool = pool
        self._keys = keys
        self._clock = clock
        self._committed = committed
        self._grouping = Grouping(self._commit)

    async def store(self, sent: Sent) -> bool:
        """Store a report with its event, and what is public of it. Whether it was stored now; False when the
        same submission had been. Returns after the commit.

        Raises Problem 422 for a photo that cannot be taken, Busy, UniqueViolationError
        (`report_one_per_receipt`: the submission is forgotten, its report is not), or what the database
        raised.
        """
        return await self._grouping.do(sent)

    async def _commit(self, group: Sequence[Sent]) -> list[bool]:
        async with self._pool.acquire() as connection, connection.transaction():
            new = await reports.insert_reports(connection, [one.submission for one in group])
            added = [one for one in group if one.submission.report.report_id in new]
            if added:
                for one in added:
                    await self._take_photos(connection, one.submission)
                if public := [one.issue for one in added if one.issue]:
                    await issues.insert_issues(connection, public)
                await outbox.append(connection, [event for one in added for event in _events(one)])
                # Last: it holds the heads of the chains until the commit.
                await disclosures.record(connection, [collected(one.submission.report) for one in added])
        if added:
            self._committed()
        return [one.submission.report.report_id in new for one in group]

    async def _take_photos(self, connection: Any, one: Submission) -> None:
        report_id = one.report.report_id
        await holding.attach(connection, self._keys, report_id, one.report_key, one.photos, self._clock())


def _events(one: Sent) -> Iterator[Envelope[Any]]:
    yield one.envelope
    if one.issue:
        cause = publishing.Cause(uuid.uuid4(), one.envelope.time, one.envelope.source)
        yield publishing.said(one.issue, one.issue.issue_id, cause)
