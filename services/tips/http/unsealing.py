"""A report's key, or the refusal that says why there is none."""

import uuid
from collections.abc import Callable
from typing import Any

import structlog

from services.tips import sealing
from services.tips.core.report import Report
from services.tips.http.desk import LATER, Desk
from services.tips.keys import KeyDestroyed, KeyLost
from services.tips.queries import holds, reports
from services.tips.sealing import Sealed
from shared.web import Problem

log = structlog.get_logger()


async def unsealed_words(
    connection: Any, desk: Desk, report: Report, sealed: Sealed | None
) -> dict[str, Any]:
    """What the resident sent. Raises Problem as `report_key`."""
    words: dict[str, Any] = await _read(connection, desk, report, sealed, sealing.unseal)
    return words


async def report_key(connection: Any, desk: Desk, report: Report, sealed: Sealed | None) -> bytes:
    """The own key of a report that is locked. Raises Problem 410 where the words are erased or locked away,
    503 where the month's key is lost."""
    key: bytes = await _read(connection, desk, report, sealed, sealing.open_key)
    return key


async def _read(
    connection: Any, desk: Desk, report: Report, sealed: Sealed | None, by: Callable[..., Any]
) -> Any:
    locked_away = await holds.locked_away(connection, [report.report_id])
    return opened(desk, report, sealed, by, locked_away=bool(locked_away))


def opened(
    desk: Desk, report: Report, sealed: Sealed | None, by: Callable[..., Any], *, locked_away: bool
) -> Any:
    """The words or the key of a report that is locked, `by` sealing's function for either. Raises Problem as
    `report_key`."""
    if sealed is None:
        raise erased()
    if locked_away:
        raise restricted()
    try:
        return by(report.report_id, sealed, desk.keys.get(sealed.key_name))
    except KeyDestroyed:
        raise erased() from None
    except KeyLost:
        log.error("key_lost", key=sealed.key_name, mend="restore the key folder from its backup")
        raise Problem(
            503, "key-lost", "Cannot be read now", "Ask again later; the operator is told.", headers=LATER
        ) from None


def damaged() -> Problem:
    """The refusal wherever sealing.Unreadable comes up. No id is logged: words are read when a tip comes."""
    log.error(
        "sealed_unreadable",
        mend="restore the database of tips, or its key folder, from a backup: what is sealed was damaged, or"
        " does not belong to this key",
    )
    return Problem(
        503,
        "damaged",
        "Cannot be read now",
        "What is stored is damaged. Ask again later; the operator is told.",
        headers=LATER,
    )


def unknown_report() -> Problem:
    """The refusal of an id that leads nowhere."""
    return Problem(404, "report-unknown", "Unknown", "There is no report of that id here.")


async def locked(connection: Any, report_id: uuid.UUID) -> tuple[Report, Sealed | None]:
    """A report with its sealed words (None when erased), locked until the transaction ends. Raises Problem
    404."""
    found = await reports.lock(connection, report_id)
    if found is None:
        raise unknown_report()
    return found


def erased() -> Problem:
    """The refusal for whatever needs words that are gone."""
    return Problem(410, "report-erased", "Erased", "The words are gone for good; do not ask again.")


def restricted() -> Problem:
    """The refusal for whatever needs words that a hold keeps until they are erased."""
    return Problem(
        410,
        "report-restricted",
        "Locked away",
        "The words are held by law until they are erased, and nobody reads them; do not ask again.",
    )
