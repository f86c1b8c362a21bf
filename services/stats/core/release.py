"""A release: the figures of one closed period as they were published, each chained to the one before.

What is hashed and signed is the canonical JSON of the event without `digest`, `signing_key` and `signature`:
keys in order, no spaces, as `jq -acSj 'del(.digest, .signing_key, .signature)'` writes it.
"""

import hashlib
import json
import uuid
from collections.abc import Collection
from datetime import date
from itertools import product
from typing import Literal, NamedTuple

from services.stats.core import adjusting
from services.stats.core.periods import periods
from services.stats.core.spec import Spec, Table
from shared.errors import Refusal
from shared.events import ReleasedCell, StatisticsReleased

# What the first release names as the digest of the one before.
NOTHING_BEFORE = "0" * 64
# A count that none is above, in a month of as many week-parts as there can be.
MOST = 9_999_999
SIX_PARTS = date(2026, 8, 1), date(2026, 9, 1)
# Digest, key, signature and margins.
SIGNED_BYTES = 1_000
_NAMESPACE = uuid.UUID("6f9d6b1e-5b5a-4c0e-9d0b-7f5a6e1c2d3f")
_UNHASHED = ("digest", "signing_key", "signature")
Edition = Literal["first", "final"]


class Link(NamedTuple):
    """The newest release of the chain: its number and its digest."""

    number: int
    digest: str


def unsigned(
    spec: Spec,
    table: Table,
    period: str,
    after: Link,
    cells: tuple[ReleasedCell, ...],
    *,
    edition: Edition = "first",
    withheld: bool = False,
    margins: dict[str, int] | None = None,
) -> StatisticsReleased:
    """The next release of the chain, its digest in it, its signature still to be made."""
    release = StatisticsReleased(
        release_id=uuid.uuid5(_NAMESPACE, f"{spec.id}/{table.id}/{period}/{edition}"),
        number=after.number + 1,
        spec=spec.id,
        table=table.id,
        period=period,
        edition=edition,
        state="withheld" if withheld else "released",
        reason="incomplete" if withheld else None,
        cells=cells,
        scale=table.scale if edition == "first" and not withheld else None,
        margins=margins or {},
        previous=after.digest,
        digest="none",
        signing_key="none",
        signature="none" * 4,
    )
    return release.model_copy(update={"digest": digest(release)})


def canonical(release: StatisticsReleased) -> bytes:
    """What is hashed and signed: every member of its value, known or not, and none that it has not."""
    told = release.model_dump(mode="json", exclude=set(_UNHASHED))
    return json.dumps(told, sort_keys=True, separators=(",", ":")).encode()


def digest(release: StatisticsReleased) -> str:
    return hashlib.sha256(canonical(release)).hexdigest()


def fault(
    release: StatisticsReleased,
    after: Link,
    known: Collection[str],
    retired: Collection[str],
    *,
    signed: bool,
) -> str | None:
    """Why this is not the release that follows `after`, as a code; None where it is. `signed` says whether
    its signature is that of its `signing_key`; `retired` are the keys that another one has followed."""
    if digest(release) != release.digest:
        return "broken_digest"
    if not signed:
        return "forged_release"
    if (release.number, release.previous) != (after.number + 1, after.digest):
        return "broken_chain"
    # Asked last: only what would be the next release may be one of ours by a key that was forgotten.
    if release.signing_key not in known:
        return "unknown_signing_key"
    return "retired_signing_key" if release.signing_key in retired else None


def check_size(spec: Spec) -> None:
    """Raise Refusal where the largest release of a spec is more than its topic takes, whatever its scales."""
    of_one = {"tables": tuple(table.model_copy(update={"scale": 1}) for table in spec.tables)}
    spec = spec.model_copy(update=of_one)
    for table in spec.tables:
        cells = noisy(table, [MOST] * len(table.cells()), [0] * len(table.cells()))
        if table.grain == "month":
            parts = [part.name for part in periods("week_part", *SIX_PARTS)]
            week_part = spec.table(adjusting.names_of(table).week_part)
            whole = dict.fromkeys(table.cells(), MOST)
            weeks: dict[adjusting.Cell, int] = dict.fromkeys(product(parts, week_part.codes[0]), MOST)
            cells = adjusting.cells_of(adjusting.adjust(table, week_part, whole, weeks))
        size = len(unsigned(spec, table, "x" * 20, Link(MOST, NOTHING_BEFORE), cells).model_dump_json())
        if size + SIGNED_BYTES > StatisticsReleased.max_bytes:
            raise Refusal(
                f"a release of {table.id} would have {len(cells)} figures in {size} bytes, and the topic "
                f"takes {StatisticsReleased.max_bytes}: count by fewer areas or categories, or give them "
                "shorter ids"
            )


def noisy(table: Table, counts: list[int], noise: list[int]) -> tuple[ReleasedCell, ...]:
    """The figures: each count with its noise."""
    return tuple(
        ReleasedCell(table=table.id, cell=cell, value=count + error)
        for cell, count, error in zip(table.cells(), counts, noise, strict=True)
    )
