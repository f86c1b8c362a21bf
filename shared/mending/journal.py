"""The journal: who mended what, in the transaction that mends."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from shared.errors import Refusal

Say = Callable[[str], None]
log = structlog.get_logger()


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
