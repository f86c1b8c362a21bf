"""SQL of periods and releases: one function per statement, connection first; none commits."""

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from fractions import Fraction
from typing import Any, NamedTuple

from services.stats.core.periods import begin_of
from services.stats.core.release import NOTHING_BEFORE, Link
from services.stats.core.spec import Debit, Group
from services.stats.queries import CLOSING_LOCK
from shared.events import Place, StatisticsReleased

# Held by whoever adds to the chain of releases.
CHAIN_LOCK = 0x1B_0005


async def hold_closed(connection: Any) -> None:
    """Have nothing counted until the transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", CLOSING_LOCK)


async def hold_chain(connection: Any) -> None:
    """Have nobody else add to the chain until the transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", CHAIN_LOCK)


async def insert_spec(connection: Any, spec_id: str, digest: str, content: str, now: datetime) -> None:
    """Keep a spec, unless one of its id is there."""
    await connection.execute(
        "INSERT INTO spec VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING", spec_id, digest, content, now
    )


async def specs(connection: Any) -> list[Mapping[str, Any]]:
    """Every spec that there ever was, oldest first."""
    # By their numbers: after a loss an earlier one may be kept later.
    return list(await connection.fetch("SELECT * FROM spec ORDER BY substring(id FROM '[0-9]+$')::integer"))


async def last_drawn(connection: Any, spared: Sequence[str]) -> dict[str, date]:
    """By table, the first day of its last period that is drawn or released under another spec than these.
    What was adopted is released and not drawn here."""
    rows = await connection.fetch(
        """SELECT table_id, name FROM period WHERE spec <> ALL($1)
           UNION SELECT table_id, period FROM release WHERE spec <> ALL($1)""",
        spared,
    )
    last: dict[str, date] = {}
    for table, name in rows:
        last[table] = max(begin_of(name), last.get(table, date.min))
    return last


async def known_periods(connection: Any) -> set[tuple[str, str]]:
    """Table and name of every period whose noise is drawn."""
    rows = await connection.fetch("SELECT table_id, name FROM period")
    return {(row["table_id"], row["name"]) for row in rows}


async def go_on(connection: Any) -> None:
    """Let months and quarters that had begun before they were known of close as ever where all of their
    week-parts that had closed by then are released: this database was lost, and nothing of the past waits."""
    await connection.execute(
        """UPDATE period m SET history = false FROM spec s
           WHERE m.history AND s.id = m.spec AND m.closes_at > s.stored_at AND NOT EXISTS (
               SELECT FROM period w
               WHERE w.history AND w.table_id = split_part(m.table_id, '.', 1) || '.week_part'
                 AND w.begins >= m.begins AND w.ends <= m.ends
                 AND NOT EXISTS (
                     SELECT FROM release r WHERE r.table_id = w.table_id AND r.period = w.name))"""
    )


async def insert_periods(connection: Any, drawn: Sequence[tuple[Any, ...]]) -> None:
    """Keep periods with their noise; one that is there keeps what it has."""
    await connection.executemany(
        """INSERT INTO period (table_id, name, spec, begins, ends, closes_at, history, noise)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING""",
        drawn,
    )


async def due(connection: Any, now: datetime) -> list[Mapping[str, Any]]:
    """The periods that have closed and are neither frozen nor released, in the order of their ends."""
    return list(
        await connection.fetch(
            """SELECT table_id, name, spec, begins, ends FROM period p
               WHERE frozen_at IS NULL AND NOT history AND closes_at <= $1 AND NOT EXISTS (
                   SELECT FROM release r WHERE r.table_id = p.table_id AND r.period = p.name)
               ORDER BY ends, table_id""",
            now,
        )
    )


async def offsets(connection: Any, group: str) -> dict[Place, int]:
    """How far the group has applied each partition."""
    rows = await connection.fetch(
        "SELECT topic, partition, next_offset FROM fence WHERE consumer_group = $1", group
    )
    return {(row["topic"], row["partition"]): row["next_offset"] for row in rows}


async def lost_since(connection: Any, topics: Sequence[str], since: datetime) -> bool:
    """Whether somebody has accepted, since then, that events of these topics will never come."""
    return bool(
        await connection.fetchval(
            """SELECT EXISTS (SELECT FROM mending
               WHERE command IN ('consumer accept-gap', 'records lost')
                 AND at >= $2 AND detail->>'topic' = ANY($1))""",
            list(topics),
            since,
        )
    )


async def is_noted(connection: Any, command: str, detail: Mapping[str, Any]) -> bool:
    """Whether the journal says so already."""
    return bool(
        await connection.fetchval(
            "SELECT EXISTS (SELECT FROM mending WHERE command = $1 AND detail = $2)",
            command,
            json.dumps(detail),
        )
    )


async def report_groups(connection: Any, begin: date, end: date) -> list[Group]:
    """How many reports of each kind count in these days. `refused` are those that a unit refused and no unit
    got since; one that went on to another unit is that unit's, and open until it resolves it."""
    rows = await connection.fetch(
        """SELECT area, counted_category AS category, acknowledged::text AS took,
               CASE WHEN withdrawn THEN 'withdrawn'
                   WHEN refused_version > greatest(coalesce(resolved_version, 0), coalesce(routed_version, 0))
                       THEN 'refused'
                   WHEN resolved_version IS NULL OR reopened AND routed_version > resolved_version THEN 'open'
                   WHEN in_time THEN 'in_time' ELSE 'late' END AS outcome,
               count(*) AS count
           FROM lifecycle WHERE counted_in >= $1 AND counted_in < $2
           GROUP BY 1, 2, 3, 4""",
        begin,
        end,
    )
    return [Group(*row) for row in rows]


async def incident_groups(connection: Any, begin: date, end: date) -> list[Group]:
    """How many incidents of each kind count in these days."""
    rows = await connection.fetch(
        """SELECT area, category, NULL AS took, NULL AS outcome, count(*) AS count
           FROM incident WHERE counted_in >= $1 AND counted_in < $2 GROUP BY 1, 2""",
        begin,
        end,
    )
    return [Group(*row) for row in rows]


async def freeze(
    connection: Any,
    table: str,
    name: str,
    counts: Sequence[int],
    applied: Mapping[Place, int],
    now: datetime,
    *,
    incomplete: bool,
) -> None:
    """Write down what a period has come to: once."""
    await connection.execute(
        """UPDATE period SET counts = $3, offsets = $4, frozen_at = $5, incomplete = $6
           WHERE table_id = $1 AND name = $2 AND frozen_at IS NULL""",
        table,
        name,
        list(counts),
        json.dumps({f"{topic}/{partition}": offset for (topic, partition), offset in applied.items()}),
        now,
        incomplete,
    )


async def next_frozen(connection: Any, until: datetime) -> Mapping[str, Any] | None:
    """The first period, by its end, that was frozen until then and is not released."""
    row: Mapping[str, Any] | None = await connection.fetchrow(
        """SELECT table_id, name, spec, begins, noise, counts, incomplete FROM period p
           WHERE frozen_at <= $1 AND NOT EXISTS (
               SELECT FROM release r WHERE r.table_id = p.table_id AND r.period = p.name)
           ORDER BY ends, table_id LIMIT 1""",
        until,
    )
    return row


async def last_link(connection: Any) -> Link:
    """The newest release; number 0 where there is none."""
    row = await connection.fetchrow("SELECT number, digest FROM release ORDER BY number DESC LIMIT 1")
    return Link(row["number"], row["digest"]) if row else Link(0, NOTHING_BEFORE)


async def insert_release(
    connection: Any,
    release: StatisticsReleased,
    content: bytes,
    released_at: datetime,
    shown_at: datetime | None = None,
) -> None:
    """Keep a release as it is published."""
    await connection.execute(
        "INSERT INTO release VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        release.number,
        release.release_id,
        release.spec,
        release.table,
        release.period,
        release.edition,
        release.state,
        release.digest,
        content,
        released_at,
        shown_at,
        release.signing_key,
    )


async def retired_keys(connection: Any) -> frozenset[str]:
    """The keys that releases were signed with before another one followed."""
    rows = await connection.fetch("SELECT signing_key FROM release GROUP BY 1 ORDER BY max(number)")
    return frozenset(row["signing_key"] for row in rows[:-1])


async def debit(connection: Any, table: str, period: str, begins: date, cost: Fraction) -> None:
    """Write down what a release spends. It can be spent once."""
    await connection.execute(
        "INSERT INTO ledger VALUES ($1, $2, $3, $4, $5)",
        table,
        period,
        begins,
        cost.numerator,
        cost.denominator,
    )


class Kept(NamedTuple):
    """A release as the database has it: by what it is known, and whether it was read back."""

    digest: str
    shown: bool
    spec: str
    table: str
    period: str
    edition: str
    state: str
    released_at: datetime


async def kept(connection: Any) -> dict[int, Kept]:
    """Every release, by its number, in order."""
    rows = await connection.fetch(
        """SELECT number, digest, shown_at IS NOT NULL AS shown, spec, table_id, period, edition, state,
               released_at
           FROM release ORDER BY number"""
    )
    return {row["number"]: Kept(*tuple(row)[1:]) for row in rows}


async def content(connection: Any, number: int) -> tuple[bytes, datetime]:
    """A release as it was published, and when it was made."""
    row = await connection.fetchrow("SELECT content, released_at FROM release WHERE number = $1", number)
    return row["content"], row["released_at"]


async def spent(connection: Any) -> dict[tuple[str, str], Debit]:
    """The ledger, by table and period."""
    rows = await connection.fetch("SELECT * FROM ledger ORDER BY table_id, begins")
    return {
        (row["table_id"], row["period"]): Debit(
            row["table_id"], row["begins"], Fraction(row["numerator"], row["denominator"])
        )
        for row in rows
    }


class Waiting(NamedTuple):
    """A period that is not released; `state` is history, open, closed or frozen."""

    table: str
    name: str
    closes_at: datetime
    state: str


async def waiting(connection: Any, now: datetime) -> list[Waiting]:
    """The periods that are drawn and not released, the first to close before."""
    rows = await connection.fetch(
        """SELECT table_id, name, closes_at,
               CASE WHEN frozen_at IS NOT NULL THEN 'frozen' WHEN history THEN 'history'
                    WHEN closes_at <= $1 THEN 'closed' ELSE 'open' END
           FROM period p WHERE NOT EXISTS (
               SELECT FROM release r WHERE r.table_id = p.table_id AND r.period = p.name)
           ORDER BY closes_at, table_id""",
        now,
    )
    return [Waiting(*row) for row in rows]


async def release_digest(connection: Any, number: int) -> str | None:
    """The digest of the release of that number."""
    digest: str | None = await connection.fetchval("SELECT digest FROM release WHERE number = $1", number)
    return digest


async def is_released(connection: Any, table: str, period: str, edition: str) -> bool:
    """Whether there is such a release."""
    return bool(
        await connection.fetchval(
            """SELECT EXISTS (SELECT FROM release
               WHERE table_id = $1 AND period = $2 AND edition = $3)""",
            table,
            period,
            edition,
        )
    )


async def show(connection: Any, number: int, now: datetime) -> None:
    """Note that a release was read back from the topic."""
    await connection.execute(
        "UPDATE release SET shown_at = $2 WHERE number = $1 AND shown_at IS NULL", number, now
    )


async def unshown(connection: Any) -> int:
    """How many releases are on their way to the topic."""
    return int(await connection.fetchval("SELECT count(*) FROM release WHERE shown_at IS NULL"))


async def months_without_final(connection: Any) -> list[Mapping[str, Any]]:
    """The first editions of months that have no final one, oldest first."""
    return list(
        await connection.fetch(
            """SELECT table_id, period, spec FROM release r
               WHERE table_id LIKE '%.month' AND edition = 'first' AND NOT EXISTS (
                   SELECT FROM release f WHERE f.table_id = r.table_id AND f.period = r.period
                   AND f.edition = 'final')
               ORDER BY number"""
        )
    )


async def contents(connection: Any, table: str, periods: Sequence[str]) -> dict[str, bytes]:
    """By period, the first editions of a table."""
    rows = await connection.fetch(
        """SELECT period, content FROM release
           WHERE table_id = $1 AND period = ANY($2) AND edition = 'first'""",
        table,
        list(periods),
    )
    return {row["period"]: row["content"] for row in rows}


class Late(NamedTuple):
    """Seconds since each was due; 0 where nothing is: a release, one that is shown, destroying."""

    release: float
    shown: float
    destroyed: float


async def late(connection: Any, now: datetime, before: datetime) -> Late:
    """How late what is due by the clock is; `before` is when what is to be destroyed was released."""
    row = await connection.fetchrow(
        """SELECT (SELECT min(closes_at) FROM period p WHERE NOT history AND NOT EXISTS (
                       SELECT FROM release r WHERE r.table_id = p.table_id AND r.period = p.name)),
                  (SELECT min(released_at) FROM release WHERE shown_at IS NULL),
                  (SELECT min(r.released_at) FROM release r
                   JOIN period p ON r.table_id = p.table_id AND r.period = p.name
                   WHERE r.edition = 'first'
                     AND (p.noise IS NOT NULL OR p.counts IS NOT NULL OR p.emptied))"""
    )
    since = zip(row, (now, now, before), strict=True)
    return Late(*(max(0.0, (until - due).total_seconds()) if due else 0.0 for due, until in since))


async def empty(connection: Any, before: datetime) -> None:
    """Take noise and frozen counts out of what was released before then. Old versions of the rows stay in the
    table's file, readable, until `rewrite`."""
    await connection.execute(
        """UPDATE period p SET noise = NULL, counts = NULL, offsets = NULL, emptied = true FROM release r
           WHERE r.table_id = p.table_id AND r.period = p.name AND r.edition = 'first'
             AND r.released_at < $1 AND (p.noise IS NOT NULL OR p.counts IS NOT NULL)""",
        before,
    )


async def rewrite(connection: Any) -> bool:
    """Give the table of periods a new file, outside a transaction; returns whether no version of a row from
    before it was emptied is left. What a transaction that is still open may see stays: a dump that had begun
    would have no periods otherwise. Raises LockNotAvailableError where somebody reads the table for more than
    a second."""
    file = await connection.fetchval("SELECT pg_relation_filenode('period')")
    await connection.execute("SET lock_timeout = '1s'")
    try:
        await connection.execute("VACUUM (FULL) period")
    finally:
        await connection.execute("RESET lock_timeout")
    # What ended before relfrozenxid was left out. Whoever has not the right to do it is only warned, and the
    # file is the same.
    await connection.execute(
        """UPDATE period p SET emptied = false FROM pg_class c
           WHERE c.oid = 'period'::regclass AND pg_relation_filenode(c.oid) <> $1
             AND p.emptied AND age(p.xmin) > age(c.relfrozenxid)""",
        file,
    )
    return not await connection.fetchval("SELECT EXISTS (SELECT FROM period WHERE emptied)")


async def history(connection: Any, subject: str) -> list[Mapping[str, Any]]:
    """The periods of a subject that began before they were known of and still wait: a database that was lost
    has those that were released among them."""
    return list(
        await connection.fetch(
            """SELECT table_id, spec, begins, ends FROM period p
               WHERE history AND starts_with(table_id, $1) AND NOT EXISTS (
                   SELECT FROM release r WHERE r.table_id = p.table_id AND r.period = p.name)""",
            f"{subject}.",
        )
    )


async def known_until(connection: Any, subject: str) -> date | None:
    """The last day of which anything is known of a subject, as somebody said last; None where there is no
    such day."""
    until: date | None = await connection.fetchval(
        """SELECT (detail->>'until')::date FROM mending
           WHERE command = 'close-history' AND detail->>'subject' = $1 ORDER BY id DESC LIMIT 1""",
        subject,
    )
    return until


async def newest_is_withheld(connection: Any, table: str) -> bool:
    """Whether the newest release of a table is withheld."""
    return bool(
        await connection.fetchval(
            "SELECT state = 'withheld' FROM release WHERE table_id = $1 ORDER BY number DESC LIMIT 1", table
        )
    )


async def close_history(connection: Any, subject: str) -> int:
    """Let the past of a subject close; returns how many periods that are."""
    done: str = await connection.execute(
        "UPDATE period SET history = false WHERE history AND starts_with(table_id, $1)", f"{subject}."
    )
    return int(done.split()[-1])


async def insert_key(connection: Any, public: str) -> None:
    """Remember a public key that releases of ours are signed with."""
    await connection.execute("INSERT INTO signing_key VALUES ($1) ON CONFLICT DO NOTHING", public)


async def insert_stranger(connection: Any, public: str) -> None:
    """Remember a public key that was never ours."""
    await connection.execute("INSERT INTO stranger_key VALUES ($1) ON CONFLICT DO NOTHING", public)


async def is_stranger(connection: Any, public: str) -> bool:
    """Whether somebody has said that this key was never ours."""
    return bool(
        await connection.fetchval("SELECT EXISTS (SELECT FROM stranger_key WHERE public = $1)", public)
    )


async def keys(connection: Any) -> frozenset[str]:
    """The public keys that releases of ours were signed with."""
    return frozenset(row["public"] for row in await connection.fetch("SELECT public FROM signing_key"))
