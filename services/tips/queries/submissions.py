"""Submissions as they are stored: everything that one leaves in the database, in one statement."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from services.tips.core.chain import Entry
from services.tips.core.public import Issue
from services.tips.core.report import Report
from services.tips.queries import disclosures, issues, reports
from services.tips.sealing import Sealed
from shared import outbox, postgres
from shared.cloudevents import Envelope


@dataclass(frozen=True, slots=True)
class Submission:
    """A report as it is stored; until `drop_after` its submission is known by the MACs of key and body.
    `photos` are uploads that it takes, their keys wrapped by `report_key`."""

    report: Report
    sealed: Sealed
    lookup_id: bytes
    macs: tuple[bytes, bytes]
    drop_after: datetime
    report_key: bytes
    photos: Sequence[uuid.UUID]


class Left(NamedTuple):
    """What submissions leave: themselves, what is public of them, the events with their reports' ids, and
    the log's entries."""

    submissions: Sequence[Submission]
    issues: Sequence[Issue]
    events: Sequence[tuple[uuid.UUID, Envelope[Any]]]
    entries: Sequence[Entry]


_SUBMITTED = "key_name, wrapped_key, sealed, lookup_id, key_mac, body_mac, drop_after"
_SUBMITTED_TYPES = ("text", *["bytea"] * 5, "timestamptz")


async def store(connection: Any, left: Left) -> set[uuid.UUID]:
    """Store what is new of it; the ids of the reports that are, one of each submission.

    Waits for another transaction that is storing one of them. With entries it is the last that the
    transaction does (disclosures.record), or all of it. Raises UniqueViolationError for constraint
    `report_one_per_receipt` when a submission is forgotten but its report is not.
    """
    new = await connection.fetchval(
        _STORE,
        *postgres.columns(map(_values, left.submissions), _SENT_TYPES),
        *postgres.columns(map(issues.values, left.issues), issues.TYPES),
        [report_id for report_id, _ in left.events],
        *outbox.columns([envelope for _, envelope in left.events]),
        *disclosures.columns(left.entries),
    )
    return set(new)


def _values(one: Submission) -> tuple[Any, ...]:
    sealed = one.sealed
    words = (sealed.key_name, sealed.wrapped_key, sealed.sealed)
    return (*reports.values(one.report), *words, one.lookup_id, *one.macs, one.drop_after)


_SENT_TYPES = (*reports.TYPES, *_SUBMITTED_TYPES)
_EVENT_TYPES = ("uuid", *outbox.TYPES)
_BEFORE_ISSUES = len(_SENT_TYPES)
_BEFORE_EVENTS = _BEFORE_ISSUES + len(issues.TYPES)
_BEFORE_ENTRIES = _BEFORE_EVENTS + len(_EVENT_TYPES)
_REPORT = f"{reports.COLUMNS}, key_name, wrapped_key, sealed, lookup_id"
_STORE = f"""
WITH sent AS (
    SELECT * FROM unnest({postgres.arrays(_SENT_TYPES)}) AS s ({reports.COLUMNS}, {_SUBMITTED})),
submitted AS (
    INSERT INTO submission (key_mac, body_mac, report_id, drop_after)
    SELECT key_mac, body_mac, report_id, drop_after FROM sent ORDER BY key_mac
    ON CONFLICT (key_mac) DO NOTHING RETURNING report_id),
new AS (
    INSERT INTO report ({_REPORT}) SELECT {_REPORT} FROM sent JOIN submitted USING (report_id)
    RETURNING report_id),
public AS (
    INSERT INTO issue ({issues.COLUMNS}) SELECT {issues.COLUMNS}
    FROM unnest({postgres.arrays(issues.TYPES, _BEFORE_ISSUES)}) AS i ({issues.COLUMNS})
    JOIN new USING (report_id)
    RETURNING 1),
said AS (
    INSERT INTO outbox ({outbox.COLUMNS}) SELECT {outbox.COLUMNS}
    FROM unnest({postgres.arrays(_EVENT_TYPES, _BEFORE_EVENTS)}) AS e (report_id, {outbox.COLUMNS})
    JOIN new USING (report_id)
    RETURNING 1)
SELECT ARRAY(SELECT report_id FROM new),
    -- called once all else is stored, so that the heads are locked for as short as can be, and nobody waits
    -- for another submission with them
    record_disclosures({", ".join(f"array_agg({name})" for name in disclosures.COLUMNS.split(", "))})
FROM unnest({postgres.arrays(disclosures.TYPES, _BEFORE_ENTRIES)}) AS d ({disclosures.COLUMNS})
JOIN new USING (report_id), (SELECT count(*) FROM public) AS p, (SELECT count(*) FROM said) AS s
"""  # noqa: S608 - names of columns and types
