"""What `tips` does with dispatches: steps that the resident sees, and the status that follows; of an issue
the public sees it too."""

import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from services.tips import publishing
from services.tips.core import lifecycle
from services.tips.core.emails import NEWS, email_id, told
from services.tips.core.lifecycle import Step
from services.tips.queries import emails, reports, steps
from shared.cloudevents import Envelope, derived_id
from shared.errors import Poison
from shared.events import Event, IssueChanged, ReportEvent

# Records applied at a time: this process takes reports meanwhile, and a batch of thousands holds it up for a
# tenth of a second.
AT_MOST = 250


async def apply(connection: Any, envelopes: Sequence[Envelope[Event]]) -> None:
    """Apply a batch inside the caller's transaction; applying it again changes nothing.

    Raises Poison: `unknown_report` for a report that this database does not have (after a restore: the dead
    letter waits until it is replayed), `wrong_kind` where the event takes a tip for an issue or the reverse.
    """
    dispatches = [(envelope, envelope.event) for envelope in envelopes]
    report_ids = {event.report_id for _, event in dispatches if isinstance(event, ReportEvent)}
    kinds = await reports.lock_reports(connection, report_ids)
    found = []
    for envelope, event in dispatches:
        if not isinstance(event, ReportEvent) or type(event) not in lifecycle.STEPS:
            raise Poison("unexpected_type", event.type)
        if event.report_id not in kinds:
            raise Poison("unknown_report")
        if event.kind != kinds[event.report_id]:
            raise Poison("wrong_kind")
        found.append(lifecycle.step_of(envelope, event.kind))
    new = await steps.insert_steps(connection, found)
    known = await steps.steps_of(connection, kinds)
    statuses = {report_id: lifecycle.status(of_report) for report_id, of_report in known.items()}
    await steps.set_statuses(connection, statuses)
    # The last event about each report: what it changes publicly follows from it.
    causes = {step.report_id: _cause(envelope) for step, envelope in zip(found, envelopes, strict=True)}
    await publishing.announce(connection, causes)
    fresh = [step for step in found if (step.report_id, step.cause) in new]
    of_issues = [step for step in fresh if kinds[step.report_id] == "issue"]
    await emails.add_news(connection, _news(of_issues, known, statuses))


def _news(
    fresh: Sequence[Step], known: Mapping[uuid.UUID, Sequence[Step]], statuses: Mapping[uuid.UUID, str]
) -> dict[uuid.UUID, tuple[uuid.UUID, str]]:
    """What those who wait for e-mail are told of new steps, by the e-mail's id: where an issue stands now, if
    that is news and another than before; and each day that is chosen."""
    by_report: dict[uuid.UUID, list[Step]] = defaultdict(list)
    for step in fresh:
        by_report[step.report_id].append(step)
    news = {}
    for report_id, new in by_report.items():
        after = told(statuses[report_id])
        if after not in NEWS:
            continue
        causes = {step.cause for step in new}
        before = told(lifecycle.status(step for step in known[report_id] if step.cause not in causes))
        days = [step for step in new if step.step == after == "planned"]
        if telling := new if after != before else days:
            news[email_id(telling[-1].cause)] = report_id, after
    return news


def _cause(envelope: Envelope[Any]) -> publishing.Cause:
    # Both services name the same municipality: /<municipality>/notify and /<municipality>/tips.
    source = f"{envelope.source.rpartition('/')[0]}/tips"
    return publishing.Cause(derived_id(envelope.id, IssueChanged), envelope.time, source)
