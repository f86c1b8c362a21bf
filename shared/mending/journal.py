"""The journal: who mended what, in the transaction that mends."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import structlog

from shared.errors import Refusal

Say = Callable[[str], None]
log = structlog.get_logger()


@asynccontextmanager
async def kept_for(connection: Any, who: str | None) -> AsyncIterator[None]:
    """A transaction that is committed for `who`, and rolled back without: a dry run does all of it."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    except BaseException:
        await transaction.rollback()
        raise
    await (transaction.rollback() if who is None else transaction.commit())


async def note(connection: Any, who: str, command: str, detail: Mapping[str, Any]) -> None:
    """Write down that `who` ran `command`, in the caller's transaction; `detail` holds nobody's words."""
    await connection.execute(
        "INSERT INTO mending (who, command, detail) VALUES ($1, $2, $3)", who, command, json.dumps(detail)
    )
    log.info("mended", who=who, command=command, **detail)


def known_topic(name: str, known: Mapping[str, Any]) -> str:
    """The name itself. Raises Refusal, with the names that there are, for another."""
    if name not in known:
        raise Refusal(f"there is no topic {name} here; name one of {', '.join(sorted(known))}")
    return name
