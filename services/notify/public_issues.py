"""What notify keeps of public issues, for digests."""

import uuid
from collections.abc import Sequence
from typing import Any

from services.notify import queries_digest
from shared.cloudevents import Envelope
from shared.events import Event, IssueChanged, IssueGone


async def apply(connection: Any, envelopes: Sequence[Envelope[Event]]) -> None:
    """Keep a batch in the caller's transaction: of each issue what was said last, nothing of what is gone."""
    last: dict[uuid.UUID, IssueChanged | IssueGone] = {}
    for envelope in envelopes:
        if isinstance(envelope.event, IssueChanged | IssueGone):
            last[envelope.event.issue_id] = envelope.event
    changed = [one for one in last.values() if isinstance(one, IssueChanged)]
    gone = [one.issue_id for one in last.values() if isinstance(one, IssueGone)]
    if changed:
        await queries_digest.keep_issues(connection, changed)
    if gone:
        await queries_digest.forget_issues(connection, gone)
