"""Reports, and the submissions that they came by."""

import json
import uuid
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any, NamedTuple

from services.tips.core.report import Report
from services.tips.sealing import Sealed

COLUMNS = "report_id, kind, category, areas, language, accepted_at, status, version"
TYPES = ("uuid", "text", "text", "jsonb", "text", "timestamptz", "text", "integer")


class Earlier(NamedTuple):
    """A submission that is still known: the MAC of its body, the key that its words are under (None when they
    are erased), and its report."""

    body_mac: bytes
    key_name: str | None
    report: Report


async def submitted(connection: Any, key_mac: bytes) -> Earlier | None:
    """What was sent under a key."""
    row = await connection.fetchrow(
        f"""SELECT body_mac, key_name, {COLUMNS} FROM submission JOIN report USING (report_id)
            WHERE key_mac = $1""",  # noqa: S608 - names of columns
        key_mac,
    )
    return Earlier(row["body_mac"], row["key_name"], _report(row)) if row else None


async def report_by_lookup_id(connection: Any, lookup_id: bytes) -> Report | None:
    """The report that a receipt leads to."""
    row = await connection.fetchrow(
        f"SELECT {COLUMNS} FROM report WHERE lookup_id = $1",  # noqa: S608 - names of columns
        lookup_id,
    )
    return _report(row) if row else None


async def lock(connection: Any, report_id: uuid.UUID) -> tuple[Report, Sealed | None] | None:
    """A report and its sealed words (None when erased), locked against every other change until the
    transaction ends: whoever appends an event about it holds this lock."""
    row = await connection.fetchrow(
        f"""SELECT {COLUMNS}, key_name, wrapped_key, sealed FROM report WHERE report_id = $1
            FOR NO KEY UPDATE""",  # noqa: S608 - names of columns
        report_id,
    )
    return _with_words(row) if row else None


async def lock_by_lookup_id(connection: Any, lookup_id: bytes) -> tuple[Report, Sealed | None] | None:
    """As `lock`, the report that a receipt leads to."""
    row = await connection.fetchrow(
        f"""SELECT {COLUMNS}, key_name, wrapped_key, sealed FROM report WHERE lookup_id = $1
            FOR NO KEY UPDATE""",  # noqa: S608 - names of columns
        lookup_id,
    )
    return _with_words(row) if row else None


async def save(connection: Any, report: Report) -> None:
    """Store the category, status and version of a report that is locked."""
    await connection.execute(
        "UPDATE report SET category = $2, status = $3, version = $4 WHERE report_id = $1",
        report.report_id,
        report.category,
        report.status,
        report.version,
    )


async def lock_for_reading(
    connection: Any, report_ids: Iterable[uuid.UUID]
) -> dict[uuid.UUID, tuple[Report, Sealed | None]]:
    """Those of these reports that exist, each with its sealed words (None when erased), kept as they are
    until the transaction ends; in the order in which everybody locks reports."""
    rows = await connection.fetch(
        f"""SELECT {COLUMNS}, key_name, wrapped_key, sealed FROM report
            WHERE report_id = ANY($1::uuid[]) ORDER BY report_id FOR SHARE""",  # noqa: S608 - names of columns
        list(report_ids),
    )
    return {row["report_id"]: _with_words(row) for row in rows}


class Stored(NamedTuple):
    """A report with its sealed words, None when erased, and whether nobody reads them."""

    report: Report
    sealed: Sealed | None
    locked_away: bool


async def for_reading(connection: Any, report_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, Stored]:
    """Those of these reports that exist; what is read of them must be logged by `record_readings` before it
    is given, which says what has gone meanwhile."""
    rows = await connection.fetch(
        f"""SELECT {COLUMNS}, key_name, wrapped_key, sealed, EXISTS (
                SELECT FROM hold WHERE hold.report_id = report.report_id AND erase_when_lifted IS NOT NULL
            ) AS locked_away
            FROM report WHERE report_id = ANY($1::uuid[])""",  # noqa: S608 - names of columns
        list(report_ids),
    )
    return {row["report_id"]: Stored(*_with_words(row), row["locked_away"]) for row in rows}


async def lock_reports(connection: Any, report_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, Any]:
    """The kinds of the reports that exist, their rows locked in one order so that nobody deadlocks."""
    rows = await connection.fetch(
        """SELECT report_id, kind FROM report WHERE report_id = ANY($1::uuid[])
           ORDER BY report_id FOR NO KEY UPDATE""",
        list(report_ids),
    )
    return {row["report_id"]: row["kind"] for row in rows}


async def insert_lost_report(connection: Any, report: Report, lookup_id: bytes) -> None:
    """Store a report whose words and receipt are lost; `lookup_id` is one that no receipt leads to."""
    await connection.execute(
        f"""INSERT INTO report ({COLUMNS}, lookup_id)
            VALUES ($1, $2, $3, $4::jsonb, $5, $6, $7, $8, $9)""",  # noqa: S608 - names of columns
        *values(report),
        lookup_id,
    )


async def erase_words(connection: Any, report_ids: Iterable[uuid.UUID], today: date) -> dict[uuid.UUID, str]:
    """Destroy the words of reports that are locked, with the keys that open them; for each report that had
    any, the month's or hold's key that it was under."""
    rows = await connection.fetch(
        """UPDATE report SET key_name = NULL, wrapped_key = NULL, sealed = NULL, erased_on = $2,
                             spam_on = NULL
           FROM (SELECT report_id, key_name FROM report
                 WHERE report_id = ANY($1::uuid[]) AND sealed IS NOT NULL) AS had
           WHERE report.report_id = had.report_id RETURNING had.report_id, had.key_name""",
        list(report_ids),
        today,
    )
    return {row["report_id"]: row["key_name"] for row in rows}


async def set_versions(connection: Any, versions: Mapping[uuid.UUID, int]) -> None:
    """Let reports know how many events about them were written; no number goes back."""
    await connection.execute(
        """UPDATE report SET version = greatest(report.version, said.version)
           FROM unnest($1::uuid[], $2::integer[]) AS said (report_id, version)
           WHERE report.report_id = said.report_id""",
        list(versions),
        list(versions.values()),
    )


async def drop_submissions(connection: Any, now: datetime) -> None:
    """Forget the submissions whose time has passed."""
    await connection.execute("DELETE FROM submission WHERE drop_after <= $1", now)


async def totals(connection: Any) -> dict[str, Any]:
    """What an operator reconciles with the other services: counts, and a fingerprint of the report ids."""
    row = await connection.fetchrow(
        """SELECT (SELECT count(*) FROM report) + (SELECT accepted FROM report_gone) AS accepted,
                  (SELECT count(*) FROM issue) AS issues,
                  (SELECT lpad(to_hex(coalesce(bit_xor(
                              ('x' || left(md5(report_id::text), 16))::bit(64)::bigint), 0)
                              # (SELECT digest FROM report_gone)), 16, '0') FROM report) AS digest,
                  count(DISTINCT report_id) FILTER (WHERE step = 'routed')
                      + (SELECT routed FROM report_gone) AS routed,
                  count(DISTINCT report_id) FILTER (WHERE step = 'delivered')
                      + (SELECT delivered FROM report_gone) AS delivered,
                  count(DISTINCT report_id) FILTER (WHERE step = 'acknowledged')
                      + (SELECT acknowledged FROM report_gone) AS acknowledged,
                  (SELECT count(*) FROM outbox)
                      + (SELECT count(*) FROM outbox_batch WHERE sent_on IS NULL) AS waiting
           FROM report_step"""
    )
    return dict(row)


def _with_words(row: Any) -> tuple[Report, Sealed | None]:
    sealed = Sealed(row["key_name"], row["wrapped_key"], row["sealed"]) if row["sealed"] else None
    return _report(row), sealed


def values(report: Report) -> tuple[Any, ...]:
    """What goes into COLUMNS, whose types are TYPES."""
    return (
        report.report_id,
        report.kind,
        report.category,
        json.dumps(report.areas),
        report.language,
        report.accepted_at,
        report.status,
        report.version,
    )


def _report(row: Any) -> Report:
    return Report(
        row["report_id"],
        row["kind"],
        row["category"],
        json.loads(row["areas"]),
        row["language"],
        row["accepted_at"],
        row["status"],
        row["version"],
    )
