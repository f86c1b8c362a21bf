"""What `apply` reads: the lives of reports as events, and what `stats` must make of them."""

import random
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from bench.records import NOW, SOURCE, VALUE_BYTES, accepted, partition_of
from services.stats.core.periods import part_of
from shared.events import (
    REPORTS,
    ReportAccepted,
    ReportAnswered,
    ReportEvent,
    ReportRecategorised,
    ReportSupplemented,
    ReportWithdrawn,
    hour_of,
)
from shared.outbox import Numbered

# The first day of a week-part, an area, a category.
Counted = tuple[date, str, str]
LIFE: tuple[type[ReportEvent], ...] = (
    ReportAccepted,
    ReportRecategorised,
    ReportSupplemented,
    ReportAnswered,
    ReportWithdrawn,
)
REPEAT_AFTER, REPEATED = 500, 5
SPAN = timedelta(days=20)
AREAS = tuple(f"area_{number:02d}" for number in range(20))
CATEGORIES = tuple(f"category_{number:03d}" for number in range(12))
ZONE, AREA_SET = ZoneInfo("Europe/Amsterdam"), "district"


class Lives:
    """The events of `count` random reports, one after another with all other reports in between."""

    def __init__(self, count: int) -> None:
        self.reports = sorted(uuid.uuid4() for _ in range(count))
        random.shuffle(self.reports)
        self.events = count * len(LIFE)

    def records(self) -> Iterator[Numbered]:
        """What the relay sends, in order: after each REPEAT_AFTER of a partition, the last REPEATED again."""
        numbers = dict.fromkeys(range(REPORTS.partitions), 0)
        latest: dict[int, list[Numbered]] = {partition: [] for partition in numbers}
        for report_id, event_type, time in self._times():
            key = str(report_id).encode()
            partition = partition_of(key, REPORTS.partitions)
            numbers[partition] += 1
            value = _value(report_id, event_type, hour_of(time))
            sent = Numbered(
                uuid.uuid4(),
                event_type.type,
                REPORTS.name,
                key,
                value,
                SOURCE,
                time,
                partition,
                numbers[partition],
            )
            yield sent
            latest[partition].append(sent)
            if len(latest[partition]) == REPEAT_AFTER:
                yield from latest[partition][-REPEATED:]
                latest[partition].clear()

    @cache  # noqa: B019 - a bench makes one of these
    def wanted_counts(self) -> Counter[Counted]:
        """How many must count in each week-part, area and category."""
        return Counter(
            (part_of(hour_of(time), ZONE), _area(report_id), _category(report_id, 1))
            for report_id, event_type, time in self._times()
            if event_type is ReportAccepted
        )

    def wanted_rows(self) -> list[tuple[uuid.UUID, int, str, bool, str]]:
        """Each report's id, last version, last category, whether it was withdrawn, and area; by id."""
        return [(each, len(LIFE), _category(each, 2), True, _area(each)) for each in sorted(self.reports)]

    def _times(self) -> Iterator[tuple[uuid.UUID, type[ReportEvent], datetime]]:
        step = SPAN / self.events
        for number, event_type in enumerate(LIFE):
            for index, report_id in enumerate(self.reports, start=number * len(self.reports)):
                yield report_id, event_type, NOW - SPAN + index * step


def _area(report_id: uuid.UUID) -> str:
    return AREAS[report_id.int % len(AREAS)]


def _category(report_id: uuid.UUID, version: int) -> str:
    return CATEGORIES[(report_id.int + version) % len(CATEGORIES)]


def _value(report_id: uuid.UUID, event_type: type[ReportEvent], hour: datetime) -> bytes:
    """The event's JSON, VALUE_BYTES long: filled up by a field that this version does not read."""
    version = LIFE.index(event_type) + 1
    event: ReportEvent
    if event_type is ReportAccepted:
        told = {"report_id": report_id, "category": _category(report_id, version), "hour": hour}
        event = _ACCEPTED.model_copy(update=told | {"areas": {"district": _area(report_id)}})
    elif event_type is ReportRecategorised:
        event = ReportRecategorised(
            report_id=report_id,
            kind="issue",
            version=version,
            category=_category(report_id, version),
            regime="gdpr",
            urgency="normal",
        )
    else:
        event = event_type(report_id=report_id, kind="issue", version=version)
    text = event.model_dump_json()
    room = VALUE_BYTES - len(text) - len(',"later":""')
    return (f'{text[:-1]},"later":"{"a" * room}"}}' if room >= 0 else text).encode()


_ACCEPTED = accepted(uuid.UUID(int=0))
