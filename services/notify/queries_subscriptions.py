"""The SQL statements of webhook subscriptions: the caller's connection first, never a commit."""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from services.notify.core.subscriptions import Due, Filter, NewDelivery, Standing, Subscription, Told


class Added(NamedTuple):
    """A subscription as it is made."""

    id: uuid.UUID
    name: str
    contact: str
    url: str
    type: str
    filter: Filter


class Listed(NamedTuple):
    """A subscription as a person sees it; `since` is since when the oldest of what is `open` waits,
    `why` how its last call failed; `set_aside` events, which its system refused, wait for a person."""

    id: uuid.UUID
    name: str
    contact: str
    url: str
    type: str
    filter: Filter
    generation: int
    previous_until: datetime | None
    failing_since: datetime | None
    last_failure: str | None
    disabled_at: datetime | None
    disabled_why: str | None
    open: int
    since: datetime | None
    why: str | None
    set_aside: int
    set_aside_since: datetime | None
    refusal: str | None


async def insert_subscription(connection: Any, added: Added) -> bool:
    """Store a new subscription; False where there is one of its name."""
    done = await connection.fetchval(
        """INSERT INTO subscription (id, name, contact, url, type, categories, areas, statuses)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (name) DO NOTHING RETURNING true""",
        added.id,
        added.name,
        added.contact,
        added.url,
        added.type,
        sorted(added.filter.categories),
        json.dumps({area_set: sorted(areas) for area_set, areas in added.filter.areas.items()}),
        sorted(added.filter.statuses),
    )
    return bool(done)


def _filter(row: Any) -> Filter:
    areas = {area_set: frozenset(wanted) for area_set, wanted in json.loads(row["areas"]).items()}
    return Filter(frozenset(row["categories"]), areas, frozenset(row["statuses"]))


async def subscriptions(connection: Any) -> list[Subscription]:
    """Everyone who is told of events, disabled or not; none is removed before this transaction ends."""
    rows = await connection.fetch("SELECT * FROM subscription ORDER BY id FOR KEY SHARE")
    return [Subscription(row["id"], row["type"], _filter(row)) for row in rows]


async def listed(connection: Any, which: str | None = None) -> list[Listed]:
    """The subscriptions by name, or only the one of that id or name."""
    rows = await connection.fetch(
        """SELECT s.*, d.* FROM subscription s
           CROSS JOIN LATERAL (
               SELECT count(*) FILTER (WHERE set_aside_at IS NULL) AS open,
                      min(queued_at) FILTER (WHERE set_aside_at IS NULL) AS since,
                      (array_agg(last_failure ORDER BY position) FILTER (WHERE set_aside_at IS NULL))[1]
                          AS why,
                      count(set_aside_at) AS set_aside,
                      (array_agg(last_failure ORDER BY position)
                       FILTER (WHERE set_aside_at IS NOT NULL))[1] AS refusal
               FROM subscription_delivery WHERE subscription_id = s.id) d
           WHERE $1::text IS NULL OR s.id::text = lower($1) OR s.name = $1 ORDER BY s.name""",
        which,
    )
    plain = [name for name in Listed._fields if name != "filter"]
    return [Listed(filter=_filter(row), **{name: row[name] for name in plain}) for row in rows]


async def next_generation(connection: Any, subscription_id: uuid.UUID, previous_until: datetime) -> int:
    """Begin the next generation of a subscription's secret; the one before signs too until that moment."""
    number: int = await connection.fetchval(
        """UPDATE subscription SET generation = generation + 1, previous_until = $2
           WHERE id = $1 RETURNING generation""",
        subscription_id,
        previous_until,
    )
    return number


async def disable(connection: Any, subscription_id: uuid.UUID, now: datetime) -> None:
    """Call it no more, by a person's command. What happens is kept for it."""
    await connection.execute(
        """UPDATE subscription SET disabled_at = $2, disabled_why = 'command', notice_at = NULL
           WHERE id = $1""",
        subscription_id,
        now,
    )


async def enable(connection: Any, subscription_id: uuid.UUID, now: datetime) -> None:
    """Call it again, at once, also with what was set aside, and judge it by what follows."""
    await connection.execute(
        """WITH enabled AS (
               UPDATE subscription SET disabled_at = NULL, disabled_why = NULL, failing_since = NULL,
                                      notice_at = NULL, set_aside_since = NULL
               WHERE id = $1 RETURNING id)
           UPDATE subscription_delivery d
           SET next_attempt_at = $2, refusals = 0, refused_since = NULL, set_aside_at = NULL FROM enabled
           WHERE d.subscription_id = enabled.id AND NOT d.leased""",
        subscription_id,
        now,
    )


async def remove(connection: Any, subscription_id: uuid.UUID) -> None:
    """Forget a subscription and what waits for it."""
    await connection.execute("DELETE FROM subscription WHERE id = $1", subscription_id)


async def lock_issues(connection: Any, issue_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, Standing]:
    """How far these issues were read, locked, always in the same order."""
    rows = await connection.fetch(
        """SELECT issue_id, version, gone_at FROM public_issue WHERE issue_id = ANY($1)
           ORDER BY issue_id FOR UPDATE""",
        list(issue_ids),
    )
    return {row["issue_id"]: Standing(row["version"], row["gone_at"] is not None) for row in rows}


async def save_issues(
    connection: Any, standings: Mapping[uuid.UUID, Standing], gone: Mapping[uuid.UUID, datetime]
) -> None:
    """Write how far issues were read, and when those that are gone went."""
    ordered = sorted(standings)
    await connection.execute(
        """INSERT INTO public_issue AS p (issue_id, version, gone_at)
           SELECT * FROM unnest($1::uuid[], $2::integer[], $3::timestamptz[])
           ON CONFLICT (issue_id) DO UPDATE
           SET version = excluded.version, gone_at = coalesce(p.gone_at, excluded.gone_at)
           WHERE (p.version, p.gone_at) IS DISTINCT FROM (excluded.version, excluded.gone_at)""",
        ordered,
        [standings[one].version for one in ordered],
        [gone.get(one) for one in ordered],
    )


async def forget_gone(connection: Any, before: datetime) -> None:
    """Forget the issues that were gone before a moment."""
    await connection.execute("DELETE FROM public_issue WHERE gone_at < $1", before)


async def told(connection: Any, issue_ids: Iterable[uuid.UUID]) -> Told:
    """Who was told of these issues."""
    rows = await connection.fetch(
        "SELECT subscription_id, issue_id, passes FROM subscription_issue WHERE issue_id = ANY($1)",
        list(issue_ids),
    )
    return {(row["subscription_id"], row["issue_id"]): row["passes"] for row in rows}


async def save_told(connection: Any, changed: Told) -> None:
    """Write who was told of which issue."""
    await connection.execute(
        """INSERT INTO subscription_issue (subscription_id, issue_id, passes)
           SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::boolean[])
           ON CONFLICT (subscription_id, issue_id) DO UPDATE SET passes = excluded.passes""",
        [subscription_id for subscription_id, _ in changed],
        [issue_id for _, issue_id in changed],
        list(changed.values()),
    )


async def drop_issues(connection: Any, issue_ids: Sequence[uuid.UUID], now: datetime) -> None:
    """Forget every state of issues that waits to be sent, and who was told of them. Of what is under way the
    row stays, without the state, so that nothing goes before it."""
    ids = list(issue_ids)
    await connection.execute(
        """DELETE FROM subscription_delivery d USING subscription_issue i
           WHERE i.issue_id = ANY($1) AND d.subscription_id = i.subscription_id
             AND d.key = i.issue_id::text AND NOT (d.leased AND d.next_attempt_at > $2)""",
        ids,
        now,
    )
    await connection.execute(
        """UPDATE subscription_delivery d SET data = NULL FROM subscription_issue i
           WHERE i.issue_id = ANY($1) AND d.subscription_id = i.subscription_id
             AND d.key = i.issue_id::text""",
        ids,
    )
    await connection.execute("DELETE FROM subscription_issue WHERE issue_id = ANY($1)", ids)


async def insert_releases(connection: Any, release_ids: Iterable[uuid.UUID]) -> set[uuid.UUID]:
    """Remember releases; those that were not known yet."""
    rows = await connection.fetch(
        """INSERT INTO public_release SELECT DISTINCT * FROM unnest($1::uuid[])
           ON CONFLICT DO NOTHING RETURNING release_id""",
        list(release_ids),
    )
    return {row["release_id"] for row in rows}


async def insert_deliveries(connection: Any, rows: Sequence[NewDelivery], now: datetime) -> None:
    """Put down what has to go, in this order. What is there stays."""
    await connection.execute(
        """INSERT INTO subscription_delivery (id, subscription_id, key, type, at, data, queued_at,
                                              next_attempt_at)
           SELECT id, subscription_id, key, type, at, data, $7, $7
           FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::text[])
                WITH ORDINALITY AS new (id, subscription_id, key, type, at, data, nth)
           ORDER BY nth ON CONFLICT (id) DO NOTHING""",
        *(list(column) for column in zip(*rows, strict=True)),
        now,
    )


async def due_subscriptions(connection: Any, now: datetime) -> list[uuid.UUID]:
    """The subscriptions for which something is due, but those that are disabled."""
    rows = await connection.fetch(
        """SELECT s.id FROM subscription s WHERE s.disabled_at IS NULL AND EXISTS (
               SELECT FROM subscription_delivery d
               WHERE d.subscription_id = s.id AND d.next_attempt_at <= $1 AND d.set_aside_at IS NULL)""",
        now,
    )
    return [row["id"] for row in rows]


async def claim(
    connection: Any,
    rooms: Mapping[uuid.UUID, int],
    limit: int,
    held: Iterable[uuid.UUID],
    now: datetime,
    leased_until: datetime,
) -> list[Due]:
    """Take what is due until the lease ends: of each subscription so many, `limit` in all, and of each key
    only the first that has not gone and is not set aside; nothing of what is held already."""
    rows = await connection.fetch(
        """WITH due AS (
               SELECT d.id FROM unnest($1::uuid[], $2::integer[]) AS u (subscription_id, room)
               CROSS JOIN LATERAL (
                   SELECT o.id, o.next_attempt_at FROM subscription_delivery o
                   WHERE o.subscription_id = u.subscription_id AND o.next_attempt_at <= $4
                     AND o.id <> ALL($6) AND o.set_aside_at IS NULL
                     AND NOT EXISTS (SELECT FROM subscription_delivery b
                                     WHERE b.subscription_id = o.subscription_id AND b.key = o.key
                                       AND b.position < o.position AND b.set_aside_at IS NULL)
                   ORDER BY o.next_attempt_at, o.position LIMIT u.room FOR UPDATE SKIP LOCKED) d
               ORDER BY d.next_attempt_at LIMIT $3)
           UPDATE subscription_delivery d SET next_attempt_at = $5, leased = true
           FROM due, subscription s
           WHERE d.id = due.id AND s.id = d.subscription_id AND s.disabled_at IS NULL
           RETURNING d.id, d.subscription_id, s.name, s.url, s.generation, s.previous_until, d.key, d.type,
                     d.at, d.data, d.attempts, d.next_attempt_at AS leased_until""",
        list(rooms),
        list(rooms.values()),
        limit,
        now,
        leased_until,
        list(held),
    )
    return [Due(**row) for row in rows]


class PutOff(NamedTuple):
    """A failed attempt, of whoever holds that lease, and when it is tried again; `refused` where the
    subscriber's system works and does not want it."""

    id: uuid.UUID
    lease: datetime
    again: datetime
    failure: str
    refused: bool


async def delete_gone(connection: Any, delivery_ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Delete what has gone; those that were there still."""
    rows = await connection.fetch(
        "DELETE FROM subscription_delivery WHERE id = ANY($1) RETURNING id", list(delivery_ids)
    )
    return {row["id"] for row in rows}


async def put_off(connection: Any, failed: Sequence[PutOff], now: datetime) -> set[uuid.UUID]:
    """Let what failed wait; those that were leased as it says."""
    rows = await connection.fetch(
        """UPDATE subscription_delivery d
           SET attempts = attempts + 1, next_attempt_at = f.again, last_failure = f.failure, leased = false,
               refusals = CASE WHEN f.refused THEN d.refusals + 1 ELSE 0 END,
               refused_since = CASE WHEN f.refused THEN least(d.refused_since, $6) END
           FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::text[], $5::boolean[])
                AS f (id, lease, again, failure, refused)
           WHERE d.id = f.id AND d.leased AND d.next_attempt_at = f.lease RETURNING d.id""",
        *(list(column) for column in zip(*failed, strict=True)),
        now,
    )
    return {row["id"] for row in rows}


async def set_aside(
    connection: Any, ids: Iterable[uuid.UUID], refusals: int, longest: timedelta, now: datetime
) -> list[str]:
    """Of these events set those aside that were refused so often and for so long, by a system that took
    another one meanwhile; the names of the subscriptions of which nothing was before, whose contacts are to
    be told."""
    rows = await connection.fetch(
        """WITH aside AS (
               UPDATE subscription_delivery d SET set_aside_at = $4 FROM subscription s
               WHERE d.id = ANY($1) AND s.id = d.subscription_id
                 AND d.refusals >= $2 AND d.refused_since <= $4::timestamptz - $3::interval
                 AND coalesce(s.failing_since > d.refused_since, true)
               RETURNING d.subscription_id)
           UPDATE subscription s SET set_aside_since = $4, notice_at = $4
           WHERE s.id IN (SELECT subscription_id FROM aside) AND s.disabled_at IS NULL
             AND NOT EXISTS (SELECT FROM subscription_delivery o
                             WHERE o.subscription_id = s.id AND o.set_aside_at IS NOT NULL)
           RETURNING s.name""",
        list(ids),
        refusals,
        longest,
        now,
    )
    return [row["name"] for row in rows]


async def note_success(connection: Any, subscription_ids: Sequence[uuid.UUID]) -> None:
    """These take what they are sent."""
    await connection.execute(
        """UPDATE subscription SET failing_since = NULL
           WHERE id = ANY($1) AND failing_since IS NOT NULL""",
        list(subscription_ids),
    )


async def note_failures(
    connection: Any, failures: Mapping[uuid.UUID, str], now: datetime, longest: timedelta
) -> list[tuple[uuid.UUID, str]]:
    """These failed, and why; id and name of those that are disabled now, since they did nothing else for so
    long."""
    rows = await connection.fetch(
        """UPDATE subscription s
           SET failing_since = least(s.failing_since, $3), last_failure = f.reason,
               disabled_at = CASE WHEN s.failing_since <= $3 - $4::interval THEN $3 END,
               disabled_why = CASE WHEN s.failing_since <= $3 - $4::interval THEN 'failing' END,
               notice_at = CASE WHEN s.failing_since <= $3 - $4::interval THEN $3 ELSE s.notice_at END
           FROM unnest($1::uuid[], $2::text[]) AS f (id, reason)
           WHERE s.id = f.id AND s.disabled_at IS NULL RETURNING s.id, s.name, s.disabled_at""",
        list(failures),
        list(failures.values()),
        now,
        longest,
    )
    return [(row["id"], row["name"]) for row in rows if row["disabled_at"]]


async def bring_forward(connection: Any, now: datetime, longest: timedelta) -> int:
    """Let go at once what is put off for longer than anything ever is: the clock has gone back since."""
    brought = await connection.execute(
        """UPDATE subscription_delivery SET next_attempt_at = $1::timestamptz
           WHERE next_attempt_at > $1::timestamptz + $2::interval AND set_aside_at IS NULL""",
        now,
        longest,
    )
    return int(brought.rpartition(" ")[2])


class Backlog(NamedTuple):
    """What waits for subscriptions that are called, since when, what is set aside, and how many are disabled,
    by why."""

    open: int
    set_aside: int
    since: datetime | None
    failing: int
    command: int


async def backlog(connection: Any) -> Backlog:
    """What waits."""
    row = await connection.fetchrow(
        """SELECT (SELECT count(*) FROM subscription_delivery WHERE set_aside_at IS NULL) AS open,
                  (SELECT count(*) FROM subscription_delivery WHERE set_aside_at IS NOT NULL) AS set_aside,
                  (SELECT min(d.queued_at) FROM subscription_delivery d
                   JOIN subscription s ON s.id = d.subscription_id
                   WHERE s.disabled_at IS NULL AND d.set_aside_at IS NULL) AS since,
                  count(*) FILTER (WHERE disabled_why = 'failing') AS failing,
                  count(*) FILTER (WHERE disabled_why = 'command') AS command
           FROM subscription"""
    )
    return Backlog(**row)
