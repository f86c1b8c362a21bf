"""From open counts to releases: frozen once, released once, shown when they were read back."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest_asyncio

from services.stats.core.release import NOTHING_BEFORE, digest
from services.stats.signing import is_signed
from tests.conftest import Infrastructure, MakeDatabase
from tests.integration.stats_harness import SPEC, Stats, days, on_topic, report, stats_of

# The first week-part of October 2026 is Thursday 1 to Sunday 4.
FIRST = "2026-W40-2026-10"
NOON = datetime(2026, 10, 2, 10, tzinfo=UTC)
CLOSED = datetime(2026, 10, 6, 22, tzinfo=UTC)


@pytest_asyncio.fixture
async def stats(
    infrastructure: Infrastructure, fresh_topics: None, database: MakeDatabase
) -> AsyncIterator[Stats]:
    async with stats_of(infrastructure.bootstrap, await database()) as made:
        yield made


async def test_a_closed_period_is_released_with_its_noise_and_shown_when_it_was_read_back(
    stats: Stats,
) -> None:
    """Drawn before it opened, frozen 48 hours after its end and not a second earlier, signed."""
    noise = await stats.value("SELECT noise FROM period WHERE name = $1 AND table_id LIKE 'reports%'", FIRST)
    await stats.count([report(NOON), report(NOON), report(NOON, "harbour"), report(NOON, "atlantis")])
    async with stats.serving():
        stats.now = CLOSED - days(0.00001)
        await stats.closing.step()
        assert await stats.released() == []
        stats.now = CLOSED
        await stats.closing.step()
        [release] = await stats.released()
        await stats.shown(1)
    assert [cell.cell for cell in release.cells] == [("oakwood",), ("harbour",), ("unknown",)]
    assert [cell.value for cell in release.cells] == [
        count + error for count, error in zip((2, 1, 1), noise, strict=True)
    ]
    assert (release.number, release.previous, release.spec) == (1, NOTHING_BEFORE, SPEC.id)
    assert (release.table, release.period, release.state) == ("reports.week_part", FIRST, "released")
    assert release.digest == digest(release)
    assert is_signed(release)
    assert release.signing_key == stats.signer.public
    assert await on_topic(stats.bootstrap) == [release]
    assert await stats.rows("SELECT table_id, period, numerator, denominator FROM ledger") == [
        ("reports.week_part", FIRST, 1, 5)
    ]


async def test_what_is_late_counts_once_in_the_next_open_period_and_changes_no_release(stats: Stats) -> None:
    """Also the report of which only a dispatch had come."""
    async with stats.serving():
        stats.now = CLOSED
        await stats.closing.step()
        before = await stats.chain()
        late = report(NOON)
        await stats.count([late, late])
        await stats.count([late])
        stats.now = datetime(2026, 10, 14, 0, tzinfo=UTC)
        await stats.closing.step()
        await stats.shown(2)
    assert (await stats.chain())[:1] == before
    assert await stats.counts("reports.week_part", FIRST) == {
        ("oakwood",): 0,
        ("harbour",): 0,
        ("unknown",): 0,
    }
    assert (await stats.counts("reports.week_part", "2026-W41-2026-10"))["oakwood",] == 1
