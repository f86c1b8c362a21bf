"""What a unit does with a report: checked against the folder and the table, stored and said in one
transaction, whichever way it came."""

import hashlib
import uuid
from collections.abc import Callable, Collection
from dataclasses import astuple
from datetime import datetime
from typing import Any, NamedTuple

from services.notify import queries, queries_deliveries
from services.notify.core.acts import FOLDER, LINK, Act, transition
from services.notify.core.clocks import Due
from services.notify.core.deliveries import route_step
from services.notify.core.responsible import MOVED_TOO_OFTEN, Responsible
from services.notify.core.steps import Dispatch, Moved, advance
from services.notify.core.turns import MOVES_MOST
from services.notify.dispatches import Dispatches
from services.notify.saying import say
from services.notify.telling import Telling
from shared.cloudevents import Envelope, derived_id
from shared.events import UNIT_LEFT, ReportAccepted, time_of

MOVES = ("refuse", "hand_over")
# What ends a wait for the resident, besides the answer.
ENDS_WAIT = ("resolve", *MOVES)
# Far more than anybody needs for one report; whoever holds a link fills no table with it.
LINK_ACTS_MOST = 50


class NotHere(Exception):  # noqa: N818 - an outcome
    """There is no such report, or nobody of this unit may know that there is."""


class MovedOn(Exception):  # noqa: N818 - an outcome
    """The report is with another `unit` by now."""

    def __init__(self, unit: str) -> None:
        super().__init__(unit)
        self.unit = unit


class UsedUp(Exception):  # noqa: N818 - an outcome
    """The unit's links to this report were used as often as they may be."""


class Unsuitable(Exception):  # noqa: N818 - an outcome
    """A field of the act that the folder does not allow; `allowed` are the values that it does."""

    def __init__(self, field: str, allowed: Collection[str], why: str) -> None:
        super().__init__(field)
        self.field = field
        self.allowed = tuple(allowed)
        self.why = why


class Done(NamedTuple):
    """Where the report stood before and stands now; the same where that was done before."""

    before: Dispatch
    after: Dispatch


class Acting:
    """Does what units do. `appended` is called by whoever commits (delivery.py and the relay have work)."""

    def __init__(
        self,
        dispatches: Dispatches,
        telling: Telling,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._municipality = dispatches.municipality
        self._dispatches = dispatches
        self._responsibility = dispatches.responsibility
        self._telling = telling
        self._clock = clock

    async def act(
        self,
        connection: Any,
        report_id: uuid.UUID,
        unit: str,
        act: Act,
        act_id: uuid.UUID,
        actor: str,
        asked: int | None = None,
    ) -> Done:
        """Do it in the caller's transaction, once for each `act_id`; `actor` is who does it. `asked` is the
        report's version at tips when the resident was asked: no clock stands where the answer has been read
        since. Raises NotHere, MovedOn, UsedUp, queries.Reused, Unsuitable, and Impossible with what is
        possible."""
        dispatch = (await queries.lock_dispatches(connection, [report_id])).get(report_id)
        if dispatch is None:
            raise NotHere
        by_link = unit if act.via == LINK else None
        if not await queries.note_act(connection, act_id, report_id, _digest(unit, act), by_link):
            return Done(dispatch, dispatch)
        if dispatch.unit != unit:
            raise MovedOn(dispatch.unit)
        if by_link and await queries.acts_by_link(connection, report_id, unit) > LINK_ACTS_MOST:
            raise UsedUp
        self._check(dispatch, act)
        if act.action == "plan" and (dispatch.status, dispatch.day) == ("planned", act.day):
            return Done(dispatch, dispatch)
        now = self._clock()
        ends_wait = act.action in ENDS_WAIT
        going_on, waited = self._dispatches.go_on(dispatch, now) if ends_wait else (dispatch, ())
        moves = act.action in MOVES and dispatch.status not in ("resolved", "withdrawn", "erased")
        to = await self._next(connection, going_on, act, now) if moves else None
        after, events = advance(going_on, act, now, self._municipality.version, to)
        if asked is not None and await queries.report_version(connection, report_id) > asked:
            after = after._replace(waits_since=dispatch.waits_since)
        # Each says by when it is then: under an id of its own.
        wait_id = uuid.uuid5(act_id, "waited")
        await self._write(connection, dispatch, (going_on, waited), wait_id, now, actor)
        await self._write(connection, going_on, (after, events), act_id, now, actor)
        return Done(dispatch, after)

    async def unit_left(self, connection: Any, dispatch: Dispatch) -> None:
        """Its unit has left the folder: the report moves on as if that had refused it, in the caller's
        transaction. The row is locked before."""
        now = self._clock()
        to = await self._after_leaving(connection, dispatch, time_of(dispatch.kind, now))
        act = Act("hand_over", FOLDER, reason=UNIT_LEFT)
        moved = advance(dispatch, act, now, self._municipality.version, to)
        act_id = uuid.uuid5(dispatch.report_id, f"{UNIT_LEFT}/{dispatch.turn}")
        await self._write(connection, dispatch, moved, act_id, now, None)

    async def _write(
        self,
        connection: Any,
        before: Dispatch,
        moved: Moved,
        act_id: uuid.UUID,
        now: datetime,
        actor: str | None,
    ) -> None:
        after, events = moved
        if events:
            await self._dispatches.update(connection, [after], {before.report_id: before})
            source = self._dispatches.source
            said = [
                Envelope.of(event, id=derived_id(act_id, type(event)), source=source, now=now)
                for event in events
            ]
            await say(connection, said, actor)
        if after.turn != before.turn:
            await queries_deliveries.cancel_deliveries(connection, [before.report_id], "moved")
            await self._telling.unit(connection, after, route_step(after.turn))

    async def look(
        self, connection: Any, report_id: uuid.UUID, unit: str, act: Act, act_id: uuid.UUID
    ) -> None:
        """Raise as `act` where it could not be done now; changes nothing."""
        if await queries.is_done(connection, act_id, report_id, _digest(unit, act)):
            return
        dispatch = await queries.dispatch_of(connection, report_id)
        if dispatch is None:
            raise NotHere
        if dispatch.unit != unit:
            raise MovedOn(dispatch.unit)
        self._check(dispatch, act)
        transition(dispatch.status, act.action)

    def _check(self, dispatch: Dispatch, act: Act) -> None:
        """Raise Unsuitable where the folder does not allow it."""
        town = self._municipality
        if act.action == "resolve" and act.outcome not in town.outcomes:
            raise Unsuitable("outcome", town.outcomes, "this is no outcome of the folder")
        if act.action not in MOVES:
            return
        if act.reason not in town.refusals:
            raise Unsuitable("reason", town.refusals, "this is no reason to refuse of the folder")
        others = [one for one in town.units if one != dispatch.unit]
        if act.to_unit is None:
            if act.action == "hand_over":
                raise Unsuitable("to_unit", others, "name the unit that is to have it")
            if dispatch.unit == self._responsibility.last:
                raise Unsuitable("to_unit", others, "nobody comes after this unit: name one")
        elif act.to_unit not in others:
            raise Unsuitable("to_unit", others, "this is no other unit")

    async def _next(self, connection: Any, dispatch: Dispatch, act: Act, now: datetime) -> Responsible:
        # A tip's times are of the hour: when it moved on would tell when somebody read it.
        start = time_of(dispatch.kind, now)
        decided = dispatch.unit == self._responsibility.last
        if len(dispatch.past) >= MOVES_MOST and not decided:
            return self._responsibility.person(MOVED_TOO_OFTEN, dispatch.category, start, _times(dispatch))
        if act.to_unit and (act.action == "hand_over" or decided):
            return self._responsibility.handed(act.to_unit, dispatch.category, start, _times(dispatch))
        found = await self._by_rules(connection, dispatch, act.to_unit, start)
        if found is None:
            raise NotHere
        return found

    async def _after_leaving(self, connection: Any, dispatch: Dispatch, start: datetime) -> Responsible:
        known = dispatch.category in self._municipality.categories
        found = await self._by_rules(connection, dispatch, None, start) if known else None
        return found or self._responsibility.person(UNIT_LEFT, dispatch.category, start, _times(dispatch))

    async def _by_rules(
        self, connection: Any, dispatch: Dispatch, named: str | None, start: datetime
    ) -> Responsible | None:
        """Who is responsible after its unit, which `named` somebody or nobody; None where it is not known any
        more what the rules are to be asked of."""
        stored = await queries.routed(connection, dispatch.report_id)
        if stored is None or stored.report is None:
            return None
        report = ReportAccepted.model_validate_json(stored.report)
        refused = {*dispatch.refused_by, dispatch.unit}
        return self._responsibility.after(report, refused, named, start, _times(dispatch))


def _times(dispatch: Dispatch) -> Due:
    return Due(dispatch.acknowledge_by, dispatch.answer_by, dispatch.resolve_by)


def _digest(unit: str, act: Act) -> bytes:
    """What was done, so that the same id for something else is noticed; that something was written besides
    makes it something else."""
    *done, writes = astuple(act)
    what = (unit, tuple(done), "writes") if writes else (unit, tuple(done))
    return hashlib.sha256(repr(what).encode()).digest()
