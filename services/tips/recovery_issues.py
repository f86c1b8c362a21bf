"""What is public of issues, after the database was restored from a backup: their topic decides.

Which report an issue was of is on no topic, so three cases are left for an issue that the topic speaks of:

- it is here, and the topic's last word is a state: that state is taken and said once more under a higher
  version, because what waited in the backup's outbox would otherwise be the last word;
- the topic's last word is a tombstone: it goes here too, and does not come back;
- it is not here: its report came after the backup and is lost, so nothing would ever change or end it. It
  gets a tombstone.
"""

import uuid
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from typing import Any

from services.tips.core.public import Issue
from services.tips.publishing import Cause, said
from services.tips.queries import issues
from shared.cloudevents import Envelope
from shared.events import IssueChanged, IssueGone
from shared.mending.recover import History, Recovered


async def take_back_issues(
    connection: Any, history: History, erased: Collection[uuid.UUID], now: datetime
) -> Recovered:
    """Bring the issues to what their topic says, and say what must be said now. `erased` are the reports that
    have no words any more: whatever the topic says, nothing of them is public."""
    last: dict[uuid.UUID, Envelope[Any]] = {}
    for envelope in history.own:
        if isinstance(envelope.event, IssueChanged | IssueGone):
            last[envelope.event.issue_id] = envelope
    known = await issues.known(connection, last)
    of_erased = {issue.issue_id: issue for issue, _, _ in await issues.with_reports(connection, erased)}
    events: list[Envelope[Any]] = []
    changed, gone, lost = [], [], 0
    for issue_id, envelope in last.items():
        event, cause = envelope.event, Cause(uuid.uuid4(), now, envelope.source)
        if isinstance(event, IssueGone):
            gone.append(issue_id)
        elif isinstance(event, IssueChanged) and issue_id in known and issue_id not in of_erased:
            changed.append(_taken(known[issue_id], event, now))
            events.append(said(changed[-1], issue_id, cause))
        else:
            lost += issue_id not in known
            gone.append(issue_id)
            events.append(said(None, issue_id, cause))
    source = history.own[0].source if history.own else ""
    for issue_id in of_erased.keys() - last.keys():
        gone.append(issue_id)
        events.append(said(None, issue_id, Cause(uuid.uuid4(), now, source)))
    await issues.save(connection, changed)
    await issues.drop(connection, gone)
    lines = [
        f"{len(changed)} public issues changed after the backup: they are said again as they were",
        f"{lost} public issues came after the backup; their reports are lost, so they are public no more",
    ]
    return Recovered(lines, events)


def _taken(issue: Issue, event: IssueChanged, now: datetime) -> Issue:
    """The issue as the topic has it, one version on. Its areas and place never change."""
    return replace(
        issue,
        version=max(issue.version, event.version) + 1,
        category=event.category,
        status=event.status,
        page=event.page,
        changed_at=max(issue.changed_at, now),
    )
