"""Close the past of a subject, once somebody says that all of it is imported; or that it ends on a day, after
which nothing is known.
"""

from collections.abc import Sequence
from datetime import date, datetime, time
from typing import Any

from services.stats import queries_releases, specs
from services.stats.core.spec import Spec, Subject, Table
from shared.errors import Refusal
from shared.events import DISPATCHES, INCIDENTS, REPORTS, Topic
from shared.mending.journal import Say, kept_for, note


async def has_lost(connection: Any, spec: Spec, table: Table, begins: date) -> bool:
    """Whether anything that a period which begins then would have counted was lost since."""
    opened = datetime.combine(begins, time.min, spec.tz)
    topics = [topic.name for topic in _counted_from(table)]
    return await queries_releases.lost_since(connection, topics, opened)


def _counted_from(table: Table) -> Sequence[Topic]:
    """The topics of which every event is needed for a table."""
    if table.subject == "incidents":
        return (INCIDENTS,)
    return (REPORTS, DISPATCHES) if table.grain == "quarter" else (REPORTS,)


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
        in_time = [one for one in waiting if until is None or one["ends"] - date.resolution <= until]
        if waiting and not in_time:
            raise Refusal(
                f"no past of {subject} has ended by {until}: nothing would be released, and never could be; "
                "name the last day that is imported"
            )
        lost = await _lost_of(connection, in_time)
        await queries_releases.close_history(connection, subject)
        if waiting:
            complete = len(in_time) - lost
            say(
                f"{complete} periods of {subject} that began before stats knew of them are "
                f"released, {len(waiting) - complete} withheld"
            )
        if lost:
            say(
                f"{lost} of those are withheld because counts of {subject} were lost since they began, "
                "whatever was imported again; docs/operating.md, Releases, says of what"
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


async def is_forgotten(connection: Any, subject: Subject) -> bool:
    """Whether the newest release of a subject is withheld and nobody has said here that its past ends."""
    withheld = await queries_releases.newest_is_withheld(connection, f"{subject}.week_part")
    return withheld and await queries_releases.known_until(connection, subject) is None


async def _lost_of(connection: Any, waiting: Sequence[Any]) -> int:
    """How many of these periods are withheld whatever is said of their past."""
    known = {spec.id: spec for spec in await specs.every(connection)}
    found = 0
    for one in waiting:
        spec = known[one["spec"]]
        found += await has_lost(connection, spec, spec.table(one["table_id"]), one["begins"])
    return found
