"""The commands that only `stats` has."""

import argparse
from typing import Any

from services.stats import queries_releases
from services.stats.core.spec import SUBJECTS
from shared.command import Program, add_mending, on_database, say
from shared.errors import Refusal
from shared.mending.journal import kept_for, note


def extend(commands: Any) -> None:
    """Add them to a parser's commands."""
    closing = add_mending(
        commands, "close-history", "release the past, once all of it is imported", _close_history
    )
    closing.add_argument("--subject", required=True, choices=SUBJECTS, help="whose past is complete")


def _close_history(program: Program, given: argparse.Namespace) -> None:
    async def close(connection: Any) -> None:
        async with kept_for(connection, given.by):
            periods = await queries_releases.close_history(connection, given.subject)
            if not periods:
                raise Refusal(
                    f"no past of {given.subject} waits to be closed; what comes for a closed period counts "
                    "in the next that is open"
                )
            say(
                f"{periods} periods of {given.subject} that had closed before stats knew of them are released"
            )
            if given.by is None:
                say("dry run: nothing was changed; with --by NAME they are")
            else:
                detail = {"subject": given.subject, "periods": periods}
                await note(connection, given.by, "close-history", detail)

    on_database(program, close)
