"""`disown-key`: somebody says that a key was never ours; releases by it are left on the topic."""

import re
from typing import Any

from services.stats import queries_releases
from shared.errors import Refusal
from shared.mending.journal import Say, kept_for, note


async def disown(connection: Any, key: str, who: str | None, say: Say) -> None:
    """Keep it in the name of `who`, or say what that would do. Raises Refusal for what is no key, and for one
    of ours."""
    async with kept_for(connection, who):
        if not re.fullmatch("[0-9a-f]{64}", key):
            raise Refusal("a key is 64 of 0-9 and a-f; copy it from the refusal of stats")
        if key in await queries_releases.keys(connection):
            raise Refusal(
                f"{key} is a key of yours: where somebody else has its secret, `operator rotate "
                "signing_key`; from the first release by the new one on, the old one counts no more"
            )
        await queries_releases.insert_stranger(connection, key)
        if who is not None:
            await note(connection, who, "disown-key", {"key": key})
    did = "are left; restart stats" if who else "would be left; with --by NAME they are"
    say(f"{'' if who else 'dry run: '}releases by {key} {did}")
