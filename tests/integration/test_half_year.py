"""Boston's requests on a compressed clock, through the real notify and its database (deploy/half_year)."""

import os
from pathlib import Path

import pytest

from deploy.half_year.account import Account, account, written
from deploy.half_year.cases import Announcing, read_cases, read_export
from deploy.half_year.playing import Played, play
from shared import postgres
from shared.municipality import read
from tests.conftest import MakeDatabase

ROOT = Path(__file__).parents[2]
BOSTON = ROOT / "deploy/municipalities/boston"
SAMPLE = BOSTON / "sample.csv.gz"
WHOLE = ROOT.parent / "shared/data/boston/boston_311_2011H2.csv.gz"
LONG = os.environ.get("IBUURT_TEST_LONG") == "1"


async def half_year(file: Path, dsn: str) -> tuple[Account, list[Played]]:
    town, export = read(BOSTON), read_export(BOSTON)
    cases = read_cases(file, town, export)
    played = await play(cases, town, Announcing(town, export), dsn, print)
    book = account(cases, played, town, export)
    print("\n".join(written(book, town)))
    return book, played


def holds(book: Account, rows: int, department: float, due: float, on_time: float) -> None:
    """Every request is routed, every difference explained, and the shares are what README.md says."""
    assert (book.rows, book.routed, book.unexplained) == (rows, rows, 0)
    assert book.right
    assert book.agreement >= department
    assert book.due_agreement >= due
    assert book.on_time_agreement >= on_time


async def test_the_sample_goes_where_the_city_sent_it_or_it_is_said_why(database: MakeDatabase) -> None:
    """5,000 requests: each with its unit, its turns, its due time and whether that was kept, by notify's own
    consumer, acts and database; what is not as the city had it has a named kind."""
    dsn = await database()
    book, played = await half_year(SAMPLE, dsn)
    holds(book, 5_000, department=0.959, due=0.777, on_time=0.972)
    for one in played:
        assert one.unit == one.case.unit
        assert one.turn == (1 if one.first_unit == one.case.unit else 2)
        assert (one.status == "resolved") == (one.in_time is not None) == (one.case.closed is not None)
        if one.case.closed:
            assert one.in_time == (one.case.closed <= one.resolve_by)
    connection = await postgres.connect(dsn, "test")
    steps = dict(await connection.fetch("SELECT step, count(*) FROM report_step GROUP BY step"))
    late = await connection.fetchval(
        """SELECT count(*) FROM report_step s JOIN dispatch d USING (report_id)
           WHERE s.step = 'ReportResolved' AND s.at <> d.resolved_at"""
    )
    await connection.close()
    handed_over = sum(one.turn == 2 for one in played)
    assert steps["ReportRouted"] == 5_000 + handed_over
    assert steps["ReportHandedOver"] == handed_over
    assert steps["ReportResolved"] == book.resolved
    assert late == 0


@pytest.mark.skipif(
    not LONG or not WHOLE.exists(),
    reason="takes minutes and needs ../shared/data/boston; IBUURT_TEST_LONG=1 runs it where that is",
)
async def test_all_58251_requests_of_the_half_year_are_routed_and_explained(database: MakeDatabase) -> None:
    """The whole export, with the figures of the folder's README.md."""
    book, _ = await half_year(WHOLE, await database())
    holds(book, 58_251, department=0.9574, due=0.7806, on_time=0.9746)
