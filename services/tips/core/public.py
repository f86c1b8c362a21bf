"""What is public of an issue, and what follows from a change of its report.

An issue is made public once, when its report is accepted, and never later: who sent it under a category that
is not public was told so. Once gone it does not come back.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from services.tips.core.grid import Place
from services.tips.core.report import Report
from shared.events import IssueChanged, Status
from shared.municipality import Category

# What the public sees of each status of a report; None: the issue is gone. That a system has it and that a
# person has seen it are two statuses for the resident, and for the public the first is none.
PUBLIC_STATUS: Mapping[str, Status | None] = {
    "accepted": "accepted",
    "routed": "routed",
    "delivered": "routed",
    "acknowledged": "acknowledged",
    "planned": "planned",
    "refused": "refused",
    "resolved": "resolved",
    "withdrawn": "withdrawn",
    "erased": None,
}
# The statuses in which there is still something to be done.
OPEN: tuple[Status, ...] = ("accepted", "routed", "acknowledged", "planned")
TextBy = Literal["unit", "resident"]


@dataclass(frozen=True, slots=True)
class Issue:
    """The public state of an issue, as it was last said on the topic. Times are UTC."""

    issue_id: uuid.UUID
    report_id: uuid.UUID
    category: str
    areas: Mapping[str, str]
    place: Place | None
    status: Status
    version: int
    page: str
    accepted_at: datetime
    changed_at: datetime

    def event(self) -> IssueChanged:
        return IssueChanged(
            issue_id=self.issue_id,
            version=self.version,
            category=self.category,
            areas=dict(self.areas),
            latitude=self.place.latitude if self.place else None,
            longitude=self.place.longitude if self.place else None,
            status=self.status,
            page=self.page,
        )


@dataclass(frozen=True, slots=True)
class Publicly:
    """What its sender is told of a report's public issue: its page, and the text that everybody reads."""

    page: str
    text: str | None = None
    text_by: TextBy | None = None


def page_of(public_url: str, issue_id: uuid.UUID) -> str:
    """The page for people of an issue; `public_url` is where residents reach this service."""
    return f"{public_url.rstrip('/')}/issues/{issue_id}"


def first(
    issue_id: uuid.UUID, report: Report, category: Category, place: Place | None, public_url: str
) -> Issue | None:
    """What is public of a report that is accepted; None where nothing ever is. `place` is on the grid."""
    if report.kind != "issue" or category.kind != "issue" or not category.public:
        return None
    return Issue(
        issue_id=issue_id,
        report_id=report.report_id,
        category=report.category,
        areas=report.areas,
        place=place,
        status="accepted",
        version=1,
        page=page_of(public_url, issue_id),
        accepted_at=report.accepted_at,
        changed_at=report.accepted_at,
    )


def after(issue: Issue, status: str, category: str, page: str, at: datetime) -> Issue | None:
    """The issue after its report has come to this status and category, which is public; the same one when
    nothing public is different, None when it is gone."""
    public = PUBLIC_STATUS[status]
    if public is None:
        return None
    same = replace(issue, status=public, category=category, page=page)
    # Events of others may come late: no change is dated before the one before it.
    changed = replace(same, version=issue.version + 1, changed_at=max(issue.changed_at, at))
    return issue if same == issue else changed
