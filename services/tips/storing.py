"""Group commit: submissions that come together are stored in one transaction, and each is answered after it.

While one group commits the next gathers, so that a group is as large as the load is and nobody waits for it
to fill. A group that fails for a reason of one of its submissions is stored again one by one: a bad row fails
alone.
"""

import asyncio
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from services.tips import publishing
from services.tips.core.chain import collected
from services.tips.core.public import Issue
from services.tips.keys import KeyFolder
from services.tips.photos import holding
from services.tips.queries import disclosures, issues, reports
from services.tips.queries.reports import Submission
from shared import outbox, postgres
from shared.cloudevents import Envelope

GROUP_ROWS = 128
# One group commits while the next is made; a third would only wait for the same disk.
COMMITTERS = 2
# Above it the database is away, or far too slow.
WAITING_MOST = 2_000


class Busy(Exception):  # noqa: N818 - an outcome
    """More submissions wait than may; nothing was stored."""


class _Waiting(NamedTuple):
    submission: Submission
    envelope: Envelope[Any]
    issue: Issue | None
    stored: "asyncio.Future[bool]"


class Storing:
    """Stores submissions in groups. `committed` is called after each commit that stored something."""

    def __init__(
        self, pool: Any, keys: KeyFolder, committed: Callable[[], None], clock: Callable[[], datetime]
    ) -> None:
        self._pool = pool
        self._keys = keys
        self._clock = clock
        self._committed = committed
        self._waiting: deque[_Waiting] = deque()
        self._committers: set[asyncio.Task[None]] = set()

    async def store(self, submission: Submission, envelope: Envelope[Any], issue: Issue | None) -> bool:
        """Store a report with its event, and what is public of it. Whether it was stored now; False when the
        same submission had been. Returns after the commit.

        Raises Problem 422 for a photo that cannot be taken, Busy, UniqueViolationError
        (`report_one_per_receipt`: the submission is forgotten, its report is not), or what the database
        raised. Who is cancelled while it waits is not stored, or is stored and not told.
        """
        if len(self._waiting) >= WAITING_MOST:
            raise Busy
        stored: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(submission, envelope, issue, stored))
        if len(self._committers) < COMMITTERS:
            task = asyncio.create_task(self._commit_waiting())
            self._committers.add(task)
            task.add_done_callback(self._committers.discard)
        return await stored

    async def _commit_waiting(self) -> None:
        while group := self._next_group():
            try:
                await self._commit(group)
            except Exception as error:  # noqa: BLE001 - told to each of those who wait
                if len(group) == 1 or postgres.is_transient(error):
                    _fail(group, error)
                else:
                    await self._commit_one_by_one(group)
            except asyncio.CancelledError:
                _fail(group, Busy())
                raise

    def _next_group(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        while self._waiting and len(group) < GROUP_ROWS:
            one = self._waiting.popleft()
            if not one.stored.done():
                group.append(one)
        return group

    async def _take_photos(self, connection: Any, one: Submission) -> None:
        report_id = one.report.report_id
        await holding.attach(connection, self._keys, report_id, one.report_key, one.photos, self._clock())

    async def _commit_one_by_one(self, group: Sequence[_Waiting]) -> None:
        for one in group:
            try:
                await self._commit([one])
            except Exception as error:  # noqa: BLE001 - told to the one who waits
                _fail([one], error)

    async def _commit(self, group: Sequence[_Waiting]) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            new = await reports.insert_reports(connection, [one.submission for one in group])
            if new:
                added = [one for one in group if one.submission.report.report_id in new]
                for one in added:
                    await self._take_photos(connection, one.submission)
                if public := [one.issue for one in added if one.issue]:
                    await issues.insert_issues(connection, public)
                await outbox.append(connection, [event for one in added for event in _events(one)])
                # Last: it holds the heads of the chains until the commit.
                await disclosures.record(connection, [collected(one.submission.report) for one in added])
        if new:
            self._committed()
        for one in group:
            if not one.stored.done():
                one.stored.set_result(one.submission.report.report_id in new)


def _events(one: _Waiting) -> Iterator[Envelope[Any]]:
    yield one.envelope
    if one.issue:
        cause = publishing.Cause(uuid.uuid4(), one.envelope.time, one.envelope.source)
        yield publishing.said(one.issue, one.issue.issue_id, cause)


def _fail(group: Sequence[_Waiting], error: Exception) -> None:
    for one in group:
        if not one.stored.done():
            one.stored.set_exception(error)
