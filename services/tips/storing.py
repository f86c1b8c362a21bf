"""Submissions that come together are stored in one transaction (grouping.py)."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from services.tips import publishing
from services.tips.core.chain import Entry, collected
from services.tips.core.public import Issue
from services.tips.grouping import Grouping
from services.tips.keys import KeyFolder
from services.tips.photos import holding
from services.tips.queries import disclosures, photos, submissions
from services.tips.queries.photos import Taken
from services.tips.queries.submissions import Left, Submission
from shared.cloudevents import Envelope
from shared.web import Problem


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

        Raises Problem as `holding.take`, also where the same submission has the photo; Busy;
        UniqueViolationError (`report_one_per_receipt`: the submission is forgotten, its report is not); or
        what the database raised.
        """
        outcome = await self._grouping.do(sent)
        if isinstance(outcome, Problem):
            raise outcome
        return outcome

    async def _commit(self, group: Sequence[Sent]) -> list[bool | Problem]:
        refused: dict[uuid.UUID, Problem] = {}
        async with self._pool.acquire() as connection:
            if any(one.submission.photos for one in group):
                async with connection.transaction():
                    new, refused = await self._store_with_photos(connection, group)
            else:
                new = await submissions.store(connection, _left(group, _entries(group)))
        if new:
            self._committed()
        stored = (one.submission.report.report_id for one in group)
        return [refused.get(report_id, report_id in new) for report_id in stored]

    async def _store_with_photos(
        self, connection: Any, group: Sequence[Sent]
    ) -> tuple[set[uuid.UUID], dict[uuid.UUID, Problem]]:
        """The reports that are stored now, and those that cannot have their photos."""
        taken, refused = await self._take_photos(connection, [one.submission for one in group])
        sound = [one for one in group if one.submission.report.report_id not in refused]
        new = await submissions.store(connection, _left(sound, ()))
        await photos.take_uploads(connection, [one for one in taken if one.report_id in new])
        await disclosures.record(connection, [entry for entry in _entries(sound) if entry.report_id in new])
        return new, refused

    async def _take_photos(
        self, connection: Any, group: Sequence[Submission]
    ) -> tuple[list[Taken], dict[uuid.UUID, Problem]]:
        """What reports take of the uploads, and which of them cannot have theirs."""
        uploads = await holding.lock(connection, [photo_id for one in group for photo_id in one.photos])
        taken: list[Taken] = []
        refused = {}
        for one in group:
            report_id = one.report.report_id
            try:
                taken += holding.take(
                    self._keys, uploads, report_id, one.report_key, one.photos, self._clock()
                )
            except Problem as problem:
                refused[report_id] = problem
        return taken, refused


def _left(group: Sequence[Sent], entries: Sequence[Entry]) -> Left:
    return Left(
        [one.submission for one in group],
        [one.issue for one in group if one.issue],
        [(one.submission.report.report_id, event) for one in group for event in _events(one)],
        entries,
    )


def _entries(group: Sequence[Sent]) -> Sequence[Entry]:
    return [collected(one.submission.report) for one in group]


def _events(one: Sent) -> Iterator[Envelope[Any]]:
    yield one.envelope
    if one.issue:
        cause = publishing.Cause(uuid.uuid4(), one.envelope.time, one.envelope.source)
        yield publishing.said(one.issue, one.issue.issue_id, cause)
