"""`say-again`: releases that their topic lost are sent again as they were published, byte for byte.

For what was sent longer ago than the outbox keeps. The first release of a period stays its only one: nothing
is worked out, and what follows the loss on the topic continues the same chain.
"""

from datetime import datetime
from typing import Any

from services.stats import queries_releases
from services.stats.core.auditing import chain
from services.stats.verifying import read_topic
from shared import outbox
from shared.cloudevents import Envelope, derived_id
from shared.cluster import Where
from shared.errors import Refusal
from shared.events import STATISTICS, StatisticsReleased
from shared.mending.journal import Say, kept_for, note


async def say_again(connection: Any, where: Where, source: str, who: str | None, say: Say) -> None:
    """Append every release from the first that the topic lacks; without `who`, only say which.

    Raises Refusal where nothing is lacking, and where the topic has a release that is another here.
    """
    read, _ = await read_topic(where)
    there, _ = chain(read, await queries_releases.keys(connection))
    async with kept_for(connection, who):
        await queries_releases.hold_chain(connection)
        here = await queries_releases.kept(connection)
        for one in there:
            if one.number in here and here[one.number].digest != one.digest:
                raise Refusal(
                    f"release {one.number} is another in this database than on {STATISTICS.name}: nothing is "
                    "sent; restore the backup that belongs to it"
                )
        lacking = [number for number in here if number > len(there)]
        if not any(here[number].shown for number in lacking):
            raise Refusal(f"{STATISTICS.name} has every release that was shown; nothing is to be said again")
        for number in lacking:
            await outbox.append(connection, [await _as_it_was(connection, number, source)])
        if who is not None:
            detail = {"first": lacking[0], "last": lacking[-1]}
            await note(connection, who, "say-again", detail)
    says = "are said again, as soon as stats runs" if who else "would be said again; with --by NAME they are"
    say(f"{'' if who else 'dry run: '}releases {lacking[0]} to {lacking[-1]} {says}")


async def _as_it_was(connection: Any, number: int, source: str) -> Envelope[StatisticsReleased]:
    """The event under the id that it had."""
    released_at: datetime
    content, released_at = await queries_releases.content(connection, number)
    release = StatisticsReleased.model_validate_json(content, extra=StatisticsReleased.unknown)
    event_id = derived_id(release.release_id, StatisticsReleased)
    return Envelope.of(release, id=event_id, source=source, now=released_at)
