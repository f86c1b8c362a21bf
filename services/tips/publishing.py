"""Saying publicly what changed of issues: in the caller's transaction, on ibuurt.issues.v1, and in the table
`issue`, which holds what was last said. Nothing is said twice.
"""

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.tips.core import public
from services.tips.core.certificate import PUBLIC_TEXT
from services.tips.core.chain import Entry
from services.tips.core.public import Issue
from services.tips.queries import disclosures, issues, reports
from shared import outbox
from shared.cloudevents import Envelope
from shared.events import IssueGone
from shared.municipality import Municipality

SETTLED_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something may have changed publicly: `event_id` is the id that its event gets, `source` is
    `/<municipality>/tips`."""

    event_id: uuid.UUID
    at: datetime
    source: str


async def announce(
    connection: Any,
    causes: Mapping[uuid.UUID, Cause],
    *,
    categories: Collection[str] | None = None,
    public_url: str | None = None,
) -> None:
    """Bring what is public in line with reports that are locked and stored as they are now, by report id.

    To be called after every change of a report's status or category. `categories` are the public ones, to be
    given where a category may have changed; `public_url` is given where pages may have moved.
    """
    envelopes: list[Envelope[Any]] = []
    changed, gone = [], []
    for issue, status, category in await issues.with_reports(connection, causes):
        cause = causes[issue.report_id]
        page = public.page_of(public_url, issue.issue_id) if public_url else issue.page
        hidden = categories is not None and category not in categories
        news = None if hidden else public.after(issue, status, category, page, cause.at)
        if news is issue:
            continue
        if news:
            changed.append(news)
        else:
            gone.append(issue.issue_id)
        envelopes.append(said(news, issue.issue_id, cause))
    await issues.save(connection, changed)
    await issues.drop(connection, gone)
    if envelopes:
        await outbox.append(connection, envelopes)


async def settle(connection: Any, town: Municipality, public_url: str, now: datetime) -> bool:
    """Bring some issues in line with the municipality's folder and the service's address, in the caller's
    transaction: those of a category that is public no more go, pages that moved are said anew, texts that
    may not be there go. Whether there may be more."""
    categories = [one.id for one in town.categories.values() if one.public]
    found = await issues.astray(connection, categories, public_url, SETTLED_AT_ONCE)
    if not found:
        return await _clear_texts(connection, town, now) == SETTLED_AT_ONCE
    await reports.lock_reports(connection, found)
    source = f"/{town.slug}/tips"
    causes = {report_id: Cause(uuid.uuid4(), now, source) for report_id in found}
    await announce(connection, causes, categories=categories, public_url=public_url)
    # The texts are for the next: one transaction locks reports once, in one order.
    return True


async def _clear_texts(connection: Any, town: Municipality, now: datetime) -> int:
    """Take away some public texts that their category has no more, or whose report was taken back, and log
    it, last in the transaction; how many there were."""
    by = {"summary": "unit", "words": "resident"}
    fits = {one.id: by[one.public_text] for one in town.categories.values() if one.public_text in by}
    unfit = await issues.unfit_texts(connection, fits, SETTLED_AT_ONCE)
    await reports.lock_reports(connection, unfit)
    # Before the locks a unit may have written another, which fits.
    still = set(await issues.unfit_texts(connection, fits, SETTLED_AT_ONCE))
    cleared = [one for one in unfit if one in still]
    for report_id in cleared:
        await issues.set_public_text(connection, report_id, None, None, now)
    lines = [Entry(one, "issue", now, "alteration", "operator", "tips", PUBLIC_TEXT) for one in cleared]
    await disclosures.record(connection, lines)
    return len(unfit)


def said(issue: Issue | None, issue_id: uuid.UUID, cause: Cause) -> Envelope[Any]:
    """The event for what is public now; a tombstone for nothing."""
    event = issue.event() if issue else IssueGone(issue_id=issue_id)
    return Envelope.of(event, id=cause.event_id, source=cause.source, now=cause.at)
