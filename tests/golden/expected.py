"""What every golden sample must be read as, for ever: by file name without `.json`."""

from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from shared import events
from shared.cloudevents import Envelope

TIP = UUID("0b7d1a52-6c3e-4f0a-9d8e-2f4c5b6a7d81")
ISSUE = UUID("5e9c0d34-1f27-4b68-8a90-c1d2e3f4a5b6")
PUBLIC_ISSUE = UUID("c7a1f0e2-93d4-4e85-b6f7-08192a3b4c5d")
INCIDENT = UUID("2d4f6a8c-0b1e-4c3d-9e5f-7a8b9c0d1e2f")
RELEASE = UUID("91e8d7c6-b5a4-4938-a7b6-c5d4e3f2a1b0")
TIPS, NOTIFY = "/ibuurt/tips", "/ibuurt/notify"
HOUR = datetime(2026, 11, 5, 14, tzinfo=UTC)
SIGNATURE = "a3" * 64


def _envelope(event_id: str, source: str, time: datetime, event: events.Event) -> Envelope[Any]:
    return Envelope(UUID(event_id), source, time, event)


def _issue_time(hour: int, minute: int, second: int, microsecond: int) -> datetime:
    return datetime(2026, 11, 5, hour, minute, second, microsecond, tzinfo=UTC)


EXPECTED: dict[str, Envelope[Any]] = {
    "ReportAccepted.v1": _envelope(
        "d1f3a5b7-c9e1-4a2b-8c3d-4e5f60718293",
        TIPS,
        HOUR,
        events.ReportAccepted(
            report_id=TIP,
            kind="tip",
            version=1,
            category="drug_dealing",
            areas={"district": "oakwood"},
            hour=HOUR,
            regime="led",
            urgency="normal",
            source="web",
            language="nl",
            municipality_version="3f9a1c07d2e4b586",
            answers={"how_often": "every_week", "seen": ("car", "cash")},
        ),
    ),
    "ReportRecategorised.v1": _envelope(
        "e2041b6c-8d7f-4e90-a1b2-c3d4e5f60718",
        TIPS,
        _issue_time(15, 2, 11, 480213),
        events.ReportRecategorised(
            report_id=ISSUE, kind="issue", version=2, category="road_damage", regime="gdpr", urgency="urgent"
        ),
    ),
    "ReportSupplemented.v1": _envelope(
        "f3152c7d-9e80-4fa1-b2c3-d4e5f6071829",
        TIPS,
        datetime(2026, 11, 6, 9, tzinfo=UTC),
        events.ReportSupplemented(report_id=TIP, kind="tip", version=2),
    ),
    "ReportAnswered.v1": _envelope(
        "04263d8e-af91-40b2-83d4-e5f60718293a",
        TIPS,
        datetime(2026, 11, 6, 19, tzinfo=UTC),
        events.ReportAnswered(report_id=TIP, kind="tip", version=3),
    ),
    "ReportReopened.v1": _envelope(
        "15374e9f-b0a2-41c3-94e5-f60718293a4b",
        TIPS,
        datetime(2026, 11, 9, 8, 30, 0, 5, tzinfo=UTC),
        events.ReportReopened(report_id=ISSUE, kind="issue", version=3),
    ),
    "ReportWithdrawn.v1": _envelope(
        "26485fa0-c1b3-42d4-a5f6-0718293a4b5c",
        TIPS,
        datetime(2026, 11, 10, 7, tzinfo=UTC),
        events.ReportWithdrawn(report_id=TIP, kind="tip", version=4),
    ),
    "ReportErased.v1": _envelope(
        "375960b1-d2c4-43e5-b607-18293a4b5c6d",
        TIPS,
        datetime(2027, 2, 3, 1, tzinfo=UTC),
        events.ReportErased(report_id=TIP, kind="tip", version=5, reason="retention"),
    ),
    "ReportRouted.v1": _envelope(
        "486a71c2-e3d5-54f6-8718-293a4b5c6d7e",
        NOTIFY,
        _issue_time(14, 41, 7, 123456),
        events.ReportRouted(
            report_id=ISSUE,
            kind="issue",
            version=1,
            unit="public_works",
            rule="lights_and_roads",
            rules_version="3f9a1c07d2e4b586",
            reason="street_works",
            acknowledge_by=datetime(2026, 11, 6, 14, 41, 7, 123456, tzinfo=UTC),
            resolve_by=datetime(2026, 11, 10, 14, 41, 7, 123456, tzinfo=UTC),
        ),
    ),
    "ReportDelivered.v1": _envelope(
        "597b82d3-f4e6-5507-9829-3a4b5c6d7e8f",
        NOTIFY,
        _issue_time(14, 41, 8, 901234),
        events.ReportDelivered(
            report_id=ISSUE, kind="issue", version=2, unit="public_works", channel="webhook"
        ),
    ),
    "DeliveryFailed.v1": _envelope(
        "6a8c93e4-05f7-5618-a93a-4b5c6d7e8f90",
        NOTIFY,
        datetime(2026, 11, 5, 18, tzinfo=UTC),
        events.DeliveryFailed(
            report_id=TIP,
            kind="tip",
            version=2,
            unit="police_oakwood",
            channel="webhook",
            reason="http_503",
            attempts=12,
        ),
    ),
    "ReportAcknowledged.v1": _envelope(
        "7b9da4f5-1608-5729-ba4b-5c6d7e8f90a1",
        NOTIFY,
        _issue_time(16, 12, 33, 7),
        events.ReportAcknowledged(
            report_id=ISSUE, kind="issue", version=3, unit="public_works", by="link", took="4h"
        ),
    ),
    "ReportAnswerAsked.v1": _envelope(
        "8caeb506-2719-483a-8b5c-6d7e8f90a1b2",
        NOTIFY,
        datetime(2026, 11, 6, 10, tzinfo=UTC),
        events.ReportAnswerAsked(report_id=TIP, kind="tip", version=3, unit="police_oakwood"),
    ),
    "ReportPlanned.v1": _envelope(
        "9dbfc617-382a-494b-9c6d-7e8f90a1b2c3",
        NOTIFY,
        datetime(2026, 11, 6, 8, 5, 59, 999999, tzinfo=UTC),
        events.ReportPlanned(
            report_id=ISSUE, kind="issue", version=4, unit="public_works", day=date(2026, 11, 9)
        ),
    ),
    "ReportResolved.v1": _envelope(
        "aec0d728-493b-4a5c-ad7e-8f90a1b2c3d4",
        NOTIFY,
        datetime(2026, 11, 9, 13, 20, 1, 20, tzinfo=UTC),
        events.ReportResolved(
            report_id=ISSUE, kind="issue", version=5, unit="public_works", outcome="repaired", in_time=True
        ),
    ),
    "ReportRefused.v1": _envelope(
        "bfd1e839-5a4c-4b6d-be8f-90a1b2c3d4e5",
        NOTIFY,
        datetime(2026, 11, 6, 8, 44, 12, 0, tzinfo=UTC),
        events.ReportRefused(
            report_id=ISSUE, kind="issue", version=6, unit="public_works", reason="private_ground"
        ),
    ),
    "ReportHandedOver.v1": _envelope(
        "c0e2f94a-6b5d-4c7e-8f90-a1b2c3d4e5f6",
        NOTIFY,
        datetime(2026, 11, 6, 8, 50, 0, 250000, tzinfo=UTC),
        events.ReportHandedOver(
            report_id=ISSUE,
            kind="issue",
            version=7,
            unit="public_works",
            to_unit="parks",
            reason="other_unit_owns_it",
        ),
    ),
    "ReportEscalated.v1": _envelope(
        "d1f30a5b-7c6e-4d8f-90a1-b2c3d4e5f607",
        NOTIFY,
        datetime(2026, 11, 8, 14, tzinfo=UTC),
        events.ReportEscalated(
            report_id=TIP,
            kind="tip",
            version=4,
            unit="police_oakwood",
            level=1,
            reason="not_acknowledged_in_time",
        ),
    ),
    "IssueChanged.v1": _envelope(
        "e2041b6c-8d7f-5e90-a1b2-c3d4e5f60719",
        TIPS,
        _issue_time(14, 41, 9, 0),
        events.IssueChanged(
            issue_id=PUBLIC_ISSUE,
            version=2,
            category="street_light",
            areas={"district": "oakwood"},
            latitude=52.37,
            longitude=4.895,
            status="routed",
            page="https://ibuurt.example/issues/c7a1f0e2-93d4-4e85-b6f7-08192a3b4c5d",
        ),
    ),
    "IssueGone.v1": _envelope(
        "f3152c7d-9e80-5fa1-b2c3-d4e5f607182a",
        TIPS,
        datetime(2027, 2, 3, 1, 0, 0, 1, tzinfo=UTC),
        events.IssueGone(issue_id=PUBLIC_ISSUE),
    ),
    "IncidentRecorded.v1": _envelope(
        "04263d8e-af91-50b2-83d4-e5f60718293b",
        "/ibuurt/police",
        datetime(2026, 11, 7, 6, 15, 0, 0, tzinfo=UTC),
        events.IncidentRecorded(
            incident_id=INCIDENT, category="bicycle_theft", areas={"district": "harbour"}, hour=HOUR
        ),
    ),
    "StatisticsReleased.v1": _envelope(
        "15374e9f-b0a2-51c3-94e5-f60718293a4c",
        "/ibuurt/stats",
        datetime(2026, 11, 11, 0, 5, 0, 0, tzinfo=UTC),
        events.StatisticsReleased(
            release_id=RELEASE,
            number=17,
            spec="week_part-1",
            period="2026-W45-2026-11",
            state="released",
            cells=(
                events.ReleasedCell(table="week_part", cell=("oakwood",), value=41),
                events.ReleasedCell(table="week_part", cell=("harbour",), value=-3),
            ),
            previous="9b" * 32,
            digest="4c" * 32,
            signing_key="d7" * 32,
            signature=SIGNATURE,
        ),
    ),
}
