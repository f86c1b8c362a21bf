"""How long things are kept, and why. Pure; the time is passed in."""

import re
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta

from services.tips.core.certificate import Erasure
from services.tips.sealing import key_name
from shared.municipality import Category

# The longest that a hold may last before somebody places it again: so often at least it is looked at (LED 5).
HOLD_DAYS_AT_MOST = 2 * 366
# A report that is erased stays without words for as long as its receipt should answer that it is.
ERASED_KEPT_DAYS = 366
# The log stays for as long as damages can be claimed and as long as the longest round of audits (LED 25); the
# database refuses to let go of any entry that is younger than 1,826 days.
LOG_KEPT_DAYS = 1_827
# So long a unit can take back that a report is spam, and its sender can say that it is none.
SPAM_DAYS = 7
# West of Greenwich the last of these days ends on the next one of UTC.
SPAM_KEPT = timedelta(days=SPAM_DAYS + 1)
# The key of a hold that has ended goes with the next hourly run; a tip's time is the hour that had begun.
HOLD_KEY_KEPT = timedelta(hours=2)
# A copy of the key folder is made at least once a month, and the newest two are kept (docs/operating.md, Back
# up): so long a key that was destroyed may still be in one.
KEY_COPIES_KEPT = timedelta(days=62)
# A periodic review looks so far ahead (LED 5).
REVIEW_DAYS = 30
# What no unit works on any more; anything else is open, and its words are needed.
OVER = frozenset({"resolved", "refused", "withdrawn", "erased"})

# A month's key, or the key of one hold; from the second generation on with its number.
KEY_NAME = re.compile(
    r"(?:(?P<year>[0-9]{4})-(?P<month>0[1-9]|1[0-2])-(?P<regime>[a-z]{1,10})-(?P<days>[1-9][0-9]{0,4})"
    r"|hold-(?P<held>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}))(?:\.(?P<generation>[1-9][0-9]{0,3}))?",
    re.ASCII,
)
# What the keys of uploaded photos are called by, in place of a regime and its days.
UPLOADS = ("upload", 1)


def generation(name: str, number: int) -> str:
    """The name of that generation of a key; the first has no number."""
    base = name.partition(".")[0]
    return base if number == 1 else f"{base}.{number}"


def generation_of(name: str) -> int:
    """Which generation a key is, from 1 on."""
    return int(name.partition(".")[2] or 1)


def hold_key_name(report_id: uuid.UUID) -> str:
    """The key of one report's hold, destroyed when the hold ends."""
    return f"hold-{report_id}"


def held_by(name: str) -> uuid.UUID | None:
    """The report of a hold's key; None for a month's."""
    base = name.partition(".")[0]
    return uuid.UUID(base.removeprefix("hold-")) if base.startswith("hold-") else None


def last_moment(name: str) -> datetime | None:
    """When the time of a month's key ends: its days after the end of its month (UTC). None for a hold's."""
    found = KEY_NAME.fullmatch(name)
    if found is None or found["held"]:
        return None
    month = datetime(int(found["year"]), int(found["month"]), 1, tzinfo=UTC)
    return next_month(month) + timedelta(days=int(found["days"]))


def backups_until(erasure: Erasure, destroyed_at: datetime | None, now: datetime) -> datetime | None:
    """Until when (UTC) somebody may still open a dump of before an erasure: the key that the words were under
    has copies for as long after its end as they are kept. `destroyed_at` is when it was destroyed, None while
    it is there. None where no dump opens: there were no words, or no copy of their key is left."""
    if erasure.key_name is None:
        return None
    # A key that stays longer than it should, because something under it is damaged, has not ended yet.
    end = destroyed_at or max(now, last_moment(erasure.key_name) or erasure.at + HOLD_KEY_KEPT)
    return end + KEY_COPIES_KEPT if now < end + KEY_COPIES_KEPT else None


def spam_until(marked_on: date) -> date:
    """The last day on which a report is kept that was taken for spam on a day (both UTC)."""
    return marked_on + timedelta(days=SPAM_DAYS)


def month_is_over(name: str, now: datetime) -> bool:
    """Whether no report comes under a key any more by itself."""
    return not name.startswith(f"{now.astimezone(UTC):%Y-%m}-")


def has_ended(name: str, now: datetime, held: Iterable[uuid.UUID]) -> bool:
    """Whether what is under a key must go: the month's time has ended, or the report is held no more."""
    end, report_id = last_moment(name), held_by(name)
    return end <= now if end else report_id is not None and report_id not in held


def extended(name: str, category: Category | None, accepted_at: datetime, now: datetime) -> str | None:
    """The present month's key, of the same class, for a report that is still open when the time of its key
    has ended; None where it has had its days twice: then it goes although it is open.

    A hold's key names no class: it is that of the category, or of a year under LED where that is no more.
    """
    found = KEY_NAME.fullmatch(name)
    if found and found["regime"]:
        regime, days = found["regime"], int(found["days"])
    else:
        regime, days = (category.regime, category.retention_days) if category else ("led", 365)
    if now >= next_month(accepted_at) + timedelta(days=2 * days):
        return None
    return key_name(now, regime, days)


def month_names(categories: Iterable[Category], now: datetime) -> list[str]:
    """The keys that reports of a municipality's categories come under, in the month of `now`, and its photos
    that no report has taken yet. Made ahead: the time of its file would tell that of the first under it."""
    kinds = {(one.regime, one.retention_days) for one in categories}
    return sorted(key_name(now, *kind) for kind in {*kinds, UPLOADS})


def next_month(now: datetime) -> datetime:
    """The first moment of the month after, UTC."""
    first = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=31)).replace(day=1)


def ending(counts: Mapping[str, int], now: datetime) -> int:
    """How many of the reports under keys end within REVIEW_DAYS, those that have ended included."""
    until = now + timedelta(days=REVIEW_DAYS)
    return sum(count for name, count in counts.items() if (end := last_moment(name)) and end <= until)
