"""What the routes behind a receipt share: how the report stands, and the refusal of what cannot be."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from services.tips.core.acts import Act, Standing, Waiting, possible, reopen_until
from services.tips.core.certificate import Erasure, certificate
from services.tips.core.conversation import Message, open_question, unread
from services.tips.core.keeping import backups_until, last_moment, spam_until
from services.tips.core.lifecycle import Step, done_at, in_order
from services.tips.core.public import Publicly
from services.tips.core.report import Report
from services.tips.core.view import view
from services.tips.http.desk import Desk
from services.tips.http.unsealing import erased, restricted
from services.tips.queries import erasures, holds, keeping, listing, messages, ratings, steps
from services.tips.queries.holds import Hold
from shared.web import Problem


@dataclass(frozen=True, slots=True)
class Mine:
    """A report, its steps in order, its messages without their texts, and how it stands."""

    report: Report
    steps: Sequence[Step]
    messages: Sequence[Message]
    standing: Standing
    reopen_until: datetime | None

    def view(self, desk: Desk, now: datetime) -> dict[str, Any]:
        return view(self.report, self.steps, desk.municipality, self.standing, now)

    def check(self, act: Act, now: datetime) -> None:
        """Raises Problem 410 where the report is erased or locked away, 409 where the act is not possible
        now."""
        if self.report.status == "erased":
            raise erased()
        if self.standing.waiting and self.standing.waiting.held:
            raise restricted()
        can = possible(self.report.status, self.standing, self.reopen_until, now)
        if act not in can:
            raise Problem(
                409,
                "not-possible-now",
                "Not possible now",
                f"The report is {self.report.status}; choose one of those in `possible`.",
                status_of_report=self.report.status,
                possible=can,
            )


async def stand(connection: Any, report: Report, desk: Desk) -> Mine:
    """How a report stands, in the caller's transaction."""
    had = in_order((await steps.steps_of(connection, [report.report_id]))[report.report_id])
    written = await messages.heads_of(connection, report.report_id)
    rating = await ratings.rating_of(connection, report.report_id)
    hold = await holds.of(connection, report.report_id)
    if hold and hold.erase_when_lifted:
        standing = Standing(rating=rating, waiting=Waiting(hold.erase_when_lifted, hold.until, held=True))
    else:
        erasure = await erasures.erasure_of(connection, report.report_id)
        shown = await listing.shown_of(connection, report.report_id)
        name, spam_on = await keeping.stay_of(connection, report.report_id)
        end = last_moment(name) if name and not hold else None
        standing = Standing(
            open_question(written),
            unread(written),
            rating,
            _backups_until(desk, erasure) if erasure else None,
            Waiting("spam", _spam_until(spam_on, hold), held=False) if spam_on else None,
            end.date() if end else None,
            Publicly(shown.issue.page, shown.text, shown.text_by) if shown else None,
        )
    return Mine(report, had, written, standing, reopen_until(done_at(had), desk.municipality.reopen_days))


async def certificate_of(connection: Any, desk: Desk, report: Report) -> dict[str, Any] | None:
    """What was destroyed of a report, as JSON; None where it is not erased."""
    erasure = await erasures.erasure_of(connection, report.report_id)
    if erasure is None:
        return None
    readings = await erasures.readings_of(connection, report.report_id)
    confirmations = await erasures.confirmations_of(connection, report.report_id)
    return certificate(erasure, readings, confirmations, _backups_until(desk, erasure))


def _spam_until(marked_on: date, hold: Hold | None) -> date:
    until = spam_until(marked_on)
    return max(until, hold.until) if hold else until


def _backups_until(desk: Desk, erasure: Erasure) -> datetime | None:
    destroyed_at = desk.keys.destroyed_at(erasure.key_name) if erasure.key_name else None
    return backups_until(erasure, destroyed_at, desk.clock())
