"""What rules leave to those behind them: exact, whatever the conditions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notify.core.routing import Facts, Route, route, routes
from shared.municipality import Rule, When
from shared.municipality.coverage import UNIVERSES, Box, Values, box_of, common, left_of
from shared.municipality.findings import Findings
from shared.municipality.references import check_order, overlaps
from tests.unit.test_notify_routing import WHENS

SOME = st.lists(WHENS.filter(lambda when: bool(when.conditions())), min_size=1, max_size=5)


def rules_of(whens: list[When], unit: str | None = None) -> list[Rule]:
    return [
        Rule(id=f"r{place}", unit=unit or f"u{place}", reason="x", when=when)
        for place, when in enumerate(whens)
    ]


def box(rule: Rule) -> Box:
    """Where nothing is known of categories."""
    return box_of(rule, {})


def witness(box: Box) -> Facts:
    """A report in the box; of a fact that may be anything, something that no rule names. A report has each of
    the facts whose values are all known."""
    known = {fact: (min(values),) for fact, values in UNIVERSES.items()}
    return known | {fact: (_one(fact, values),) for fact, values in box.items()}


def _one(fact: str, values: Values) -> str:
    if not values.but:
        return min(values.named)
    return min(UNIVERSES.get(fact, frozenset({"something else"})) - values.named)


def first_of(rules: list[Rule], facts: Facts) -> Route:
    last = Rule(id="last", unit="last", reason="x")
    return route(routes([*rules, last]), facts)


@given(SOME)
def test_what_is_left_of_a_rule_reaches_it_and_nothing_else_does(whens: list[When]) -> None:
    """Each piece holds a report that this rule decides; where no piece is left, none that fits it does."""
    rules = rules_of(whens)
    *before, last = rules
    left = left_of(box(last), map(box, before))
    for piece in left:
        assert first_of(rules, witness(piece)).rule == last.id
    if not left:
        for facts in map(witness, _corners(rules)):
            assert first_of(rules, facts).rule != last.id


@given(SOME)
def test_two_rules_overlap_where_a_report_fits_both(whens: list[When]) -> None:
    """Where the order decides, a report shows it: turned round, it goes to the other unit."""
    rules = rules_of(whens)
    for first, second in overlaps(rules, {}):
        both = common(box(first), box(second))
        assert both is not None
        facts = witness(both)
        assert first_of([first, second], facts).rule == first.id
        assert first_of([second, first], facts).rule == second.id


def _corners(rules: list[Rule]) -> list[Box]:
    """What any two, three … of the rules have in common."""
    found: list[Box] = [{}]
    for rule in rules:
        found += [both for one in found if (both := common(one, box(rule))) is not None]
    return found


@pytest.mark.parametrize(
    ("before", "last", "reached"),
    [
        ([When(kind=("tip",)), When(kind=("issue",))], When(category=("light",)), False),
        ([When(kind=("tip",))], When(category=("light",)), True),
        ([When(hour=("00-12",)), When(hour=("10-24",))], When(day=("sun",)), False),
        ([When(hour=("00-12",)), When(hour=("13-24",))], When(day=("sun",)), True),
        ([When(category=("light",)), When(category=("waste",))], When(category=("light", "waste")), False),
        # A place that is not known lies in no area that rules could name.
        ([When(area={"district": ("north", "south")})], When(category=("light",)), True),
    ],
)
def test_several_rules_together_take_all_of_one(before: list[When], last: When, reached: bool) -> None:
    """Where a fact has no other values than they name."""
    rules = rules_of([*before, last])
    assert bool(left_of(box(rules[-1]), map(box, rules[:-1]))) is reached


SORTS = {"light": ("issue", "normal"), "waste": ("issue", "normal"), "weapons": ("tip", "urgent")}


@pytest.mark.parametrize(
    ("before", "last", "told"),
    [
        ([When(kind=("issue",))], When(category=("light",)), "is never reached: 'r0' before it takes"),
        (
            [When(category=("light", "waste"))],
            When(kind=("issue",)),
            "is never reached: 'r0' before it takes",
        ),
        ([When(category=("light", "waste")), When(urgency=("urgent",))], When(language=("nl",)), "r0"),
        ([When(kind=("issue",))], When(category=("light", "weapons")), None),
        ([], When(category=("light",), kind=("tip",)), "can never hold"),
        ([], When(kind=("issue",), urgency=("urgent",)), "can never hold"),
    ],
)
def test_a_category_says_of_what_kind_and_urgency_a_report_is(
    before: list[When], last: When, told: str | None
) -> None:
    """So a rule by kind may leave nothing to one by category, or never hold at all."""
    findings = Findings()
    rules: list[Rule | None] = [*rules_of([*before, last]), Rule(id="last", unit="u", reason="x")]
    check_order(findings, "routing.toml", rules, SORTS)
    assert [told in one.problem for one in findings.mistakes if told] == ([True] if told else [])
    assert bool(findings.mistakes) is (told is not None)


def test_rules_whose_categories_are_of_other_kinds_do_not_overlap() -> None:
    """No report fits both: no warning that the order decides."""
    rules = rules_of([When(kind=("issue",)), When(category=("weapons",))])
    assert overlaps(rules, SORTS) == []
    assert len(overlaps(rules, {})) == 1
