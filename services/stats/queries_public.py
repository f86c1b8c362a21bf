"""SQL of what everybody may read: only releases that were read back from their topic, and nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any


async def listed(connection: Any, table: str | None, after: int, limit: int) -> list[Mapping[str, Any]]:
    """What is shown, in the order of the chain, after a number; of one table, or of all."""
    return list(
        await connection.fetch(
            """SELECT number, digest, spec, table_id, period, edition, state, released_at FROM release
               WHERE shown_at IS NOT NULL AND number > $1 AND ($2::text IS NULL OR table_id = $2)
               ORDER BY number LIMIT $3""",
            after,
            table,
            limit,
        )
    )


async def content_of(connection: Any, digest: str) -> bytes | None:
    """A release as it was published, where it is shown."""
    content: bytes | None = await connection.fetchval(
        "SELECT content FROM release WHERE digest = $1 AND shown_at IS NOT NULL", digest
    )
    return content


async def best(
    connection: Any, table: str, since: str, until: str, *, final: bool
) -> Sequence[Mapping[str, Any]]:
    """By period, in their order, the release that says most: one that is not withheld, a final one. Names of
    one kind of period sort as the periods do. `final`: only final editions."""
    rows: Sequence[Mapping[str, Any]] = await connection.fetch(
        """SELECT DISTINCT ON (period COLLATE "C") period, digest, edition, state FROM release
           WHERE shown_at IS NOT NULL AND table_id = $1 AND (NOT $4 OR edition = 'final')
             AND period COLLATE "C" >= $2 AND period COLLATE "C" <= $3
           ORDER BY period COLLATE "C", state = 'released' DESC, edition = 'final' DESC""",
        table,
        since,
        until,
        final,
    )
    return rows


async def best_of_weeks(connection: Any, table: str, since: str, until: str) -> Sequence[Mapping[str, Any]]:
    """The same of a table of week-parts: their month's final edition where that is out, which has
    them too, and better. The name of a week-part ends with that of its month."""
    rows: Sequence[Mapping[str, Any]] = await connection.fetch(
        """SELECT p.period, coalesce(f.digest, p.digest) AS digest, coalesce(f.edition, p.edition) AS edition,
               coalesce(f.state, p.state) AS state
           FROM release p LEFT JOIN release f
             ON f.shown_at IS NOT NULL AND f.edition = 'final' AND f.state = 'released'
             AND f.table_id = replace(p.table_id, '.week_part', '.month') AND f.period = right(p.period, 7)
           WHERE p.shown_at IS NOT NULL AND p.table_id = $1
             AND p.period COLLATE "C" >= $2 AND p.period COLLATE "C" <= $3
           ORDER BY p.period COLLATE "C" """,
        table,
        since,
        until,
    )
    return rows


async def newest(connection: Any, table: str) -> Mapping[str, Any] | None:
    """The newest period of a table, and the release that says most of it: of a week-part its month's final
    edition, once that is out, as `best_of_weeks`."""
    row: Mapping[str, Any] | None = await connection.fetchrow(
        """SELECT p.period, coalesce(f.digest, p.digest) AS digest, coalesce(f.edition, p.edition) AS edition,
               coalesce(f.state, p.state) AS state, coalesce(f.content, p.content) AS content
           FROM (SELECT * FROM release WHERE shown_at IS NOT NULL AND table_id = $1
                 ORDER BY period COLLATE "C" DESC, state = 'released' DESC, edition = 'final' DESC
                 LIMIT 1) p
           LEFT JOIN release f
             ON f.shown_at IS NOT NULL AND f.edition = 'final' AND f.state = 'released'
             AND f.table_id = replace(p.table_id, '.week_part', '.month')
             AND f.period = right(p.period, 7)""",
        table,
    )
    return row
