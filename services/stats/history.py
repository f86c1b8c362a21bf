"""Close the past of a subject, once somebody says that all of it is imported; or that it ends on a day, after
which nothing is known.
"""

from datetime import date
from typing import Any

from services.stats import queries_releases
from services.stats.core.spec import Subject
from shared.errors import Refusal
from shared.mending.journal import Say, kept_for, note


async def close_history(
    connection: Any, subject: Subject, until: date | None, who: str | None, today: date, say: Say
) -> None:
    """Let the past close in the name of `who`, or say what that would do. What ends after `until` is withheld
    until this is said again with a later day, or with none. Raises Refusal where nothing would change."""
    if until and until >= today:
        raise Refusal(f"{until} is not over yet: name the last day that is imported, or leave --until out")
    async with kept_for(connection, who):
        waiting = await queries_releases.history(connection, subject)
        if not waiting and await queries_releases.known_until(connection, subject) == until:
            raise Refusal(
                f"no past of {subject} waits to be closed; what comes for a closed period counts "
                "in the next that is open"
            )
        complete = [end for end in waiting if until is None or end - date.resolution <= until]
        if waiting and not complete:
            raise Refusal(
                f"no past of {subject} has ended by {until}: nothing would be released, and never could be; "
                "name the last day that is imported"
            )
        await queries_releases.close_history(connection, subject)
        if waiting:
            say(
                f"{len(complete)} periods of {subject} that began before stats knew of them are "
                f"released, {len(waiting) - len(complete)} withheld"
            )
        if until:
            say(f"what ends after {until} is withheld, until close-history names a later day or none")
        elif not waiting:
            say(f"what of {subject} closes from now on is released")
        if who is None:
            say("dry run: nothing was changed; with --by NAME they are")
        else:
            detail = {"subject": subject, "periods": len(waiting), "until": until and until.isoformat()}
            await note(connection, who, "close-history", detail)
