"""HTTP: the internal API by which the desk sees reports and does something with them."""

import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse, Response

from services.notify import queries
from services.notify.acting import Acting, Done, MovedOn, NotHere, Unsuitable
from services.notify.body import Doing, NewAct
from services.notify.core.acts import Impossible, Status, is_day_of_work, possible
from services.notify.core.clocks import written
from services.notify.core.deliveries import Failed, Gone
from services.notify.core.overdue import Clocks
from services.notify.core.steps import Dispatch
from services.notify.queries import Listed, StepRow
from services.notify.tips import MESSAGE_REUSED, Tips
from shared import postgres, web
from shared.documented import BODY, INSIDE, TOKEN, body, problems
from shared.municipality import Municipality
from shared.web import Problem

OPEN: tuple[Status, ...] = ("routed", "delivered", "acknowledged", "planned")
AT_ONCE = 100
# Below every version of a report: what was asked has its answer.
ANSWERED = 0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Microseconds until the year 5138 at most, and an id.
_AFTER = "^[0-9]{1,17}_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"


@dataclass(frozen=True)
class Desk:
    """What the handlers work with. `appended` is called when events were committed."""

    pool: Any
    municipality: Municipality
    acting: Acting
    tips: Tips
    # Of each unit that has a webhook, the newest first.
    secrets: Mapping[str, tuple[str, ...]]
    clock: Callable[[], datetime]
    appended: Callable[[], None]
    clocks: Clocks

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Raises Problem 503 where the database is away in the block."""
        try:
            yield
        except Exception as error:
            if not postgres.is_transient(error):
                raise
            raise web.not_now() from None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A connection of the pool. Raises Problem 503 where the database is away."""
        async with self.connected(), self.pool.acquire() as connection:
            yield connection

    async def do(
        self, report_id: uuid.UUID, unit: str, act_id: uuid.UUID, doing: Doing, via: str, actor: str
    ) -> Done:
        """Do what somebody of a unit does, `actor`, and write what they write to the resident. Raises
        Problem."""
        act = doing.act(via)
        self._check(doing)
        asked: int | None = None
        try:
            if doing.text is not None:
                # First: a question that is not stored must stop no clock. What is impossible is not written.
                async with self.connection() as connection:
                    await self.acting.look(connection, report_id, unit, act, act_id)
                asked = await self._write(report_id, unit, act_id, doing, actor)
            async with self.connection() as connection, connection.transaction():
                done = await self.acting.act(connection, report_id, unit, act, act_id, actor, asked)
        except (NotHere, MovedOn, Unsuitable, Impossible, queries.Reused) as error:
            raise _refused(error) from None
        if done.after != done.before:
            self.appended()
        return done

    def _check(self, doing: Doing) -> None:
        today = self.clock().astimezone(self.municipality.tz).date()
        if doing.action == "plan" and not (doing.day and is_day_of_work(doing.day, today)):
            raise unsuitable("day", "give a day from today on, at most two years ahead", ())
        if doing.action == "ask" and doing.text is None:
            raise unsuitable("text", "write what is asked", ())

    async def _write(
        self, report_id: uuid.UUID, unit: str, act_id: uuid.UUID, doing: Doing, actor: str
    ) -> int | None:
        """Write to the resident; of a question the report's version then, none below where it has been
        answered by now."""
        message_id = uuid.uuid5(act_id, "message")
        text, asks = doing.text or "", doing.action == "ask"
        written = await self.tips.write(report_id, message_id, unit, actor, text, asks=asks)
        if isinstance(written, Gone):
            raise _refused(NotHere())
        if not isinstance(written, Failed):
            return _asked(written) if asks else None
        if not written.tips_up:
            raise web.not_now()
        if written.reason == MESSAGE_REUSED:
            raise _refused(queries.Reused())
        raise Problem(
            409,
            "not-written",
            "Not written",
            "tips does not take what is written to the resident; `why` says why. Nothing was done.",
            why=written.reason,
        )


def _asked(written: Mapping[str, Any]) -> int:
    return int(written["report_version"]) if written["question_open"] else ANSWERED


def add_desk(internal: FastAPI, desk: Desk, desk_token: str) -> None:
    """Add the desk's routes to the internal application."""
    tokens = {"desk": desk_token}

    @internal.get("/internal/v1/reports/{report_id}", responses=problems(*INSIDE), dependencies=TOKEN)
    async def get_report(report_id: uuid.UUID, request: Request) -> Response:
        """Where a report stands, what was done with it, and what can be done now. No words: those are at
        tips."""
        web.caller(request, tokens)
        async with desk.connection() as connection:
            dispatch = await queries.dispatch_of(connection, report_id)
            steps = await queries.steps_of(connection, report_id) if dispatch else []
        if dispatch is None:
            raise _refused(NotHere())
        return JSONResponse({"report": _report(dispatch) | {"history": [_step(one) for one in steps]}})

    @internal.get("/internal/v1/units/{unit}/reports", responses=problems(*INSIDE), dependencies=TOKEN)
    async def list_reports(
        unit: str,
        request: Request,
        after: Annotated[str | None, Query(pattern=_AFTER)] = None,
        limit: Annotated[int, Query(ge=1, le=AT_ONCE)] = AT_ONCE,
    ) -> Response:
        """A unit's open reports, and those of others of which it is told since nobody answers there
        (`others`; `unit` says whose they are), what is to be solved first before; `after` is what the page
        before says."""
        web.caller(request, tokens)
        if unit not in desk.municipality.units:
            raise unsuitable("unit", "this is no unit", desk.municipality.units)
        place = None if after is None else _place(after)
        async with desk.connection() as connection:
            told_at = desk.clocks.levels_of(unit)
            found = await queries.listed(connection, unit, told_at, OPEN, place, limit)
        return JSONResponse(
            {
                "reports": [_listed(one, unit) for one in found],
                "after": _after(found[-1].dispatch) if len(found) == limit else None,
            }
        )

    @internal.post(
        "/internal/v1/reports/{report_id}/acts",
        responses=problems(*INSIDE, *BODY, 409),
        dependencies=TOKEN,
        openapi_extra=body(NewAct),
    )
    async def post_act(report_id: uuid.UUID, request: Request) -> Response:
        """Do something with a report, for a unit; `changed` is false where it was done before. What is
        impossible is refused with what is possible."""
        web.caller(request, tokens)
        sent = await web.read_json(request, NewAct)
        done = await desk.do(report_id, sent.unit, sent.act_id, sent, "desk", sent.by)
        return JSONResponse({"report": _report(done.after), "changed": done.after != done.before})


def _after(last: Dispatch) -> str:
    return f"{(last.resolve_by - _EPOCH) // timedelta(microseconds=1)}_{last.report_id}"


def _place(after: str) -> tuple[datetime, uuid.UUID]:
    """By when (UTC) what a page ended with was to be solved, and its id, as `_after` wrote it."""
    microseconds, _, report_id = after.partition("_")
    return _EPOCH + timedelta(microseconds=int(microseconds)), uuid.UUID(report_id)


def _report(one: Dispatch) -> dict[str, Any]:
    return {
        "report_id": str(one.report_id),
        "kind": one.kind,
        "category": one.category,
        "unit": one.unit,
        "rule": one.rule,
        "reason": one.reason,
        "status": one.status,
        "accepted_at": _time(one.accepted_at),
        "acknowledge_by": _time(one.acknowledge_by),
        "answer_by": _time(one.answer_by),
        "resolve_by": _time(one.resolve_by),
        "day": one.day.isoformat() if one.day else None,
        "seen_at": _time(one.seen_at),
        "waits_since": _time(one.waits_since),
        "turn": one.turn,
        "level": one.level,
        "refused_by": list(one.refused_by),
        "possible": list(possible(one.status)),
    }


def _listed(one: Listed, unit: str) -> dict[str, Any]:
    told = {"areas": dict(one.areas), "language": one.language, "others": one.dispatch.unit != unit}
    return _report(one.dispatch) | told


def _step(one: StepRow) -> dict[str, Any]:
    told = ("reason", "to_unit", "outcome", "day", "channel", "by", "level")
    more: Mapping[str, Any] = {name: one.said[name] for name in told if name in one.said}
    return {"step": one.step, "unit": one.unit, "at": _time(one.at), "actor": one.actor, **more}


def _time(moment: datetime | None) -> str | None:
    return written(moment) if moment else None


def _refused(error: Exception) -> Problem:
    if isinstance(error, MovedOn):
        return Problem(
            409,
            "moved-on",
            "With another unit",
            "The report is with another unit by now, which `unit` names: nothing was done.",
            unit=error.unit,
        )
    if isinstance(error, Impossible):
        return Problem(
            409,
            "impossible",
            "Not possible now",
            "Choose one of `possible`.",
            status_of_report=error.status,
            possible=list(error.possible),
        )
    if isinstance(error, Unsuitable):
        return unsuitable(error.field, error.why, error.allowed)
    if isinstance(error, queries.Reused):
        return Problem(
            409,
            "act-id-reused",
            "Something else was done under this id",
            "Mint a new act_id for each act; send the same one again only with the same act.",
        )
    return Problem(404, "report-unknown", "No such report", "Take the id from the unit's list.")


def unsuitable(field: str, why: str, allowed: Iterable[str]) -> Problem:
    """A value that the municipality does not have; `allowed` are those that it does, where they are fixed."""
    return Problem(
        422,
        "unsuitable",
        "Not as the municipality has it",
        "Mend the field named in `errors`; `allowed` are the values that it may have, where they are fixed.",
        errors=[(f"/{field}", why)],
        allowed=list(allowed),
    )
