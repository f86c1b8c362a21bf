"""`issues say-again`: every public issue is said once more, as it is now.

For a topic that was made anew: what was said longer ago than the outbox keeps cannot be resent. Readers know
the version, and pass over it where they have it.
"""

import uuid
from collections.abc import Collection
from datetime import datetime
from typing import Any

from services.tips.publishing import Cause, said
from services.tips.queries import issues
from shared import outbox
from shared.mending.journal import Say, note

AT_ONCE = 1_000


async def say_again(
    connection: Any, categories: Collection[str], source: str, now: datetime, who: str | None, say: Say
) -> None:
    """Append an IssueChanged for each issue of the public `categories`, all in one transaction; without
    `who`, only say how many. A status that changes meanwhile waits for that, and is said after it."""
    async with connection.transaction():
        count, after = 0, None
        while found := await issues.lock_next(connection, after, list(categories), AT_ONCE):
            count, after = count + len(found), found[-1].report_id
            if who is not None:
                causes = [(one, Cause(uuid.uuid4(), now, source)) for one in found]
                await outbox.append(connection, [said(one, one.issue_id, cause) for one, cause in causes])
        if who is not None:
            await note(connection, who, "issues say-again", {"issues": count})
    if who is None:
        say(f"dry run: {count} public issues would be said again; with --by NAME they are")
    else:
        say(f"{count} public issues are said again, as soon as tips runs")
