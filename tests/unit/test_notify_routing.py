"""Routing: exactly one rule decides, and it is the first that holds."""

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from holidays import country_holidays
from hypothesis import given
from hypothesis import strategies as st

from services.notify.core.deliveries import channels, delivery_id
from services.notify.core.routing import Route, explained, facts_of, route, routes
from shared import municipality
from shared.events import ReportAccepted
from shared.municipality import Rule, Unit, Webhook, When
from shared.municipality.hours import Holidays

IBUURT = municipality.read(Path(__file__).parents[2] / "deploy/municipalities/ibuurt")
TOWN = IBUURT.model_copy(update={"holidays": Holidays(country="NL")})
HOUR = datetime(2026, 11, 2, 9, tzinfo=UTC)
CATEGORIES, AREAS, SETS = ("light", "waste", "drugs"), ("north", "south"), ("district", "ward")
QUESTIONS, OPTIONS = ("what", "who"), ("red", "green", "blue")


def report(**changes: Any) -> ReportAccepted:
    facts: dict[str, Any] = {
        "report_id": uuid.UUID(int=1),
        "kind": "issue",
        "version": 1,
        "category": "street_light",
        "areas": {},
        "hour": HOUR,
        "regime": "gdpr",
        "urgency": "normal",
        "source": "web",
        "language": "nl",
        "municipality_version": "v1",
    } | changes
    return ReportAccepted(**facts)


def sent_to(rules: Iterable[Rule], one: ReportAccepted) -> Route:
    return route(routes(rules), facts_of(one, TOWN))


@pytest.mark.parametrize(
    ("category", "kind", "areas", "rule", "unit"),
    [
        ("street_light", "issue", {}, "public_space", "public_space"),
        ("drug_dealing", "tip", {"district": "oakwood"}, "police_north", "neighbourhood_police_north"),
        ("drug_dealing", "tip", {"district": "harbour"}, "police_south", "neighbourhood_police_south"),
        ("weapons", "tip", {}, "police_without_area", "neighbourhood_police_south"),
        ("weapons", "tip", {"ward": "oakwood"}, "police_without_area", "neighbourhood_police_south"),
        ("noise", "issue", {"district": "centre"}, "noise_in_the_centre", "inspection"),
        ("noise", "issue", {"district": "meadow"}, "noise_elsewhere_north", "neighbourhood_police_north"),
        ("noise", "issue", {}, "everything_else", "front_desk"),
        ("never_heard_of", "issue", {"district": "centre"}, "everything_else", "front_desk"),
    ],
)
def test_ibuurts_rules_send_a_report_where_they_say(
    category: str, kind: str, areas: dict[str, str], rule: str, unit: str
) -> None:
    """The table that a clerk would write beside routing.toml."""
    chosen = sent_to(IBUURT.rules, report(category=category, kind=kind, areas=areas))
    assert (chosen.rule, chosen.unit) == (rule, unit)
    assert chosen.reason in IBUURT.reasons


@pytest.mark.parametrize(
    ("answers", "unit"),
    [
        ({"what": ("bags", "chemicals")}, "inspection"),
        ({"what": "chemicals"}, "inspection"),
        ({"what": ("bags",)}, "public_space"),
        ({"what": ()}, "public_space"),
        ({"blocks_the_way": "chemicals"}, "public_space"),
        ({}, "public_space"),
    ],
)
def test_an_answer_that_a_rule_reads_decides(answers: dict[str, str | tuple[str, ...]], unit: str) -> None:
    """Chemicals among the waste go to the inspectors; another answer, another question or none does not."""
    waste = report(category="bulky_waste", answers=answers)
    assert sent_to(IBUURT.rules, waste).unit == unit


def subset(values: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...] | None]:
    return st.none() | st.lists(st.sampled_from(values), min_size=1, unique=True).map(tuple)


WHENS = st.builds(
    When,
    category=subset(CATEGORIES),
    kind=subset(("tip", "issue")),
    urgency=subset(("normal", "urgent")),
    language=subset(("nl", "en")),
    area=st.none() | st.dictionaries(st.sampled_from(SETS), subset(AREAS).filter(bool), min_size=1),
    answers=st.none() | st.dictionaries(st.sampled_from(QUESTIONS), subset(OPTIONS).filter(bool), min_size=1),
    day=subset(("mon", "wed", "fri", "sat", "sun", "holiday")),
    hour=subset(("00-06", "08-17", "22-24")),
)
REPORTS = st.builds(
    lambda **facts: report(**facts),
    category=st.sampled_from((*CATEGORIES, "other")),
    kind=st.sampled_from(("tip", "issue")),
    urgency=st.sampled_from(("normal", "urgent")),
    language=st.sampled_from(("nl", "en", "fr")),
    hour=st.integers(0, 24 * 366).map(lambda hours: HOUR + timedelta(hours=hours)),
    areas=st.dictionaries(st.sampled_from(SETS), st.sampled_from(AREAS)),
    answers=st.dictionaries(
        st.sampled_from(QUESTIONS), st.sampled_from(OPTIONS) | st.lists(st.sampled_from(OPTIONS)).map(tuple)
    ),
)


def holds(when: When | None, one: ReportAccepted) -> bool:
    """The rule's meaning, written once more and differently."""
    if when is None:
        return True
    plain = all(
        getattr(one, field) in values
        for field in ("category", "kind", "urgency", "source", "language")
        if (values := getattr(when, field)) is not None
    )
    given = {
        question: {answer} if isinstance(answer, str) else set(answer)
        for question, answer in one.answers.items()
    }
    local = one.hour.astimezone(ZoneInfo("Europe/Amsterdam"))
    resting = local.date() in country_holidays("NL")
    day = "holiday" if resting else local.strftime("%a").lower()
    return (
        plain
        and (when.day is None or day in when.day)
        and (when.hour is None or any(int(one[:2]) <= local.hour < int(one[3:]) for one in when.hour))
        and all(one.areas.get(name) in ids for name, ids in (when.area or {}).items())
        and all(given.get(name, set()) & set(ids) for name, ids in (when.answers or {}).items())
    )


@given(st.lists(WHENS, max_size=6), REPORTS)
def test_the_first_rule_that_holds_decides(whens: list[When], one: ReportAccepted) -> None:
    """Whatever the rules and the report: one rule is chosen, it holds, and none before it does."""
    rules = [
        Rule(id=f"r{place}", unit="u", reason="x", when=when) for place, when in enumerate([*whens, None])
    ]
    chosen = int(sent_to(rules, one).rule[1:])
    assert holds(rules[chosen].when, one)
    assert not any(holds(rule.when, one) for rule in rules[:chosen])


@pytest.mark.parametrize(
    ("at", "day", "hour"),
    [
        ("2026-11-28T22:00Z", "sat", "23"),
        ("2026-11-28T23:00Z", "sun", "00"),
        ("2026-07-03T22:00Z", "sat", "00"),
        ("2026-12-24T23:00Z", "holiday", "00"),
        ("2026-12-25T22:00Z", "holiday", "23"),
    ],
)
def test_hour_and_day_are_of_the_towns_clock(at: str, day: str, hour: str) -> None:
    """Midnight is the town's own, in winter and in summer; a holiday is no day of the week."""
    facts = facts_of(report(hour=datetime.fromisoformat(at)), TOWN)
    assert (facts["day"], facts["hour"]) == ((day,), (hour,))


def test_each_rule_that_does_not_hold_says_which_of_its_conditions_do_not() -> None:
    """All of them, so that nobody mends one to find the next."""
    rules = [
        Rule(id="night", unit="u", reason="x", when=When(kind=("tip",), hour=("22-24",), language=("nl",))),
        Rule(id="rest", unit="v", reason="x"),
        Rule(id="never", unit="v", reason="x"),
    ]
    asked = explained(routes(rules), facts_of(report(), TOWN))
    assert [(one.route.rule, one.fails) for one in asked] == [("night", ["kind", "hour"]), ("rest", [])]


def test_rules_without_an_end_are_refused() -> None:
    """Where no rule holds the report is not lost silently: the mend is named."""
    with pytest.raises(LookupError, match="without conditions"):
        route((Route("r", "u", "x", (("kind", frozenset({"tip"})),)),), facts_of(report(), IBUURT))


def test_channels_have_stable_names() -> None:
    """A second channel of a kind gets a number; the first keeps its name when one is added."""
    hook = Webhook(kind="webhook", url="https://a.example/")
    one = Unit(id="u", names={"nl": "U"}, channels=(hook,))
    two = one.model_copy(update={"channels": (hook, hook)})
    assert list(channels(one)) == ["webhook"]
    assert list(channels(two)) == ["webhook", "webhook.2"]


def test_an_idempotency_key_names_report_unit_channel_and_step() -> None:
    """The same four give the same key for ever (pinned), and another of any of them another key."""
    key = delivery_id(uuid.UUID(int=7), "parks", "webhook", "route")
    assert key == uuid.UUID("8f9148ba-875d-562b-9c7f-ce5952e7042e")
    others = [
        delivery_id(uuid.UUID(int=8), "parks", "webhook", "route"),
        delivery_id(uuid.UUID(int=7), "park", "webhook", "route"),
        delivery_id(uuid.UUID(int=7), "parks", "webhook.2", "route"),
        delivery_id(uuid.UUID(int=7), "parks", "webhook", "remind"),
    ]
    assert len({key, *others}) == 5
