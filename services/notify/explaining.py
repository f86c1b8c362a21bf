"""Why a report goes where it goes, and what would go elsewhere under changed rules: nothing is changed."""

import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from services.notify import queries
from services.notify.core.routing import Asked, Facts, Route, explained, facts_of, route, routes
from shared.errors import Refusal
from shared.events import ReportAccepted
from shared.municipality import SOURCES, Category, Municipality

Say = Callable[[str], None]
# Of what would move, so many issues are named.
NAMED = 20
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)


def explain(facts: Facts, municipality: Municipality, say: Say) -> None:
    """Say of each rule, up to the one that holds, why it does or does not."""
    asked = explained(routes(municipality.rules), facts)
    for one in asked[:-1]:
        say(f"{one.route.rule}: no; {'; '.join(_why_not(one, name, facts) for name in one.fails)}")
    chosen = asked[-1].route
    unit = municipality.units[chosen.unit]
    language = municipality.languages[0]
    say(f"{chosen.rule}: yes; to {unit.id} ({municipality.text(unit.names, language)})")
    for tag in municipality.languages:
        say(f"  its resident reads ({tag}): {municipality.reasons[chosen.reason][tag]}")


def _why_not(asked: Asked, name: str, facts: Facts) -> str:
    wanted = " or ".join(sorted(dict(asked.route.conditions)[name]))
    found = ", ".join(facts.get(name, ())) or "not told"
    return f"{name} is {found}, not {wanted}"


async def of_report(connection: Any, report_id: uuid.UUID, municipality: Municipality, say: Say) -> None:
    """Say why a report that is here goes where it goes by the rules of now, and where it went. Raises Refusal
    where the report is not here, or erased."""
    found = await queries.routed(connection, report_id)
    if found is None:
        raise Refusal(f"there is no report {report_id} here; take its id from the unit's message, or the log")
    if found.report is None:
        raise Refusal(f"report {report_id} was erased: what the rules were asked of is gone")
    report = ReportAccepted.model_validate_json(found.report)
    explain(facts_of(report, municipality), municipality, say)
    say(f"it went to {found.unit} by {found.rule} of the rules {found.rules_version}")


async def simulate(
    connection: Any,
    now: Municipality,
    changed: Municipality,
    first: datetime,
    end: datetime,
    say: Say,
) -> None:
    """Ask the rules of two folders about each report that was accepted between two moments, and say what
    would go to another unit; and of which categories that cannot be said, since `tips` announces of answers
    those alone that a rule reads."""
    before, after = routes(now.rules), routes(changed.rules)
    moves: Counter[tuple[Route, Route]] = Counter()
    used: Counter[str] = Counter()
    named: list[str] = []
    categories: Counter[str] = Counter()
    async for text in queries.reports_between(connection, first, end):
        report = ReportAccepted.model_validate_json(text)
        was, will = route(before, facts_of(report, now)), route(after, facts_of(report, changed))
        categories[report.category] += 1
        used[will.rule] += 1
        if (was.unit, was.reason) != (will.unit, will.reason):
            moves[was, will] += 1
            # A tip's id beside its unit tells more than the operator of rules has to know.
            if report.kind == "issue" and was.unit != will.unit and len(named) < NAMED:
                named.append(f"  {report.report_id}: {was.unit} -> {will.unit}")
    elsewhere = sum(number for (was, will), number in moves.items() if was.unit != will.unit)
    say(f"{categories.total()} reports; {elsewhere} would go to another unit")
    for (was, will), number in sorted(moves.items(), key=lambda move: (-move[1], move[0][0].rule)):
        what = "another unit" if was.unit != will.unit else "another reason"
        say(f"{number} {what}: {was.rule} ({was.unit}) -> {will.rule} ({will.unit}, {will.reason})")
    for line in named:
        say(line)
    for category, number in sorted(categories.items()):
        if unread := changed.answers_read(category) - now.answers_read(category):
            say(
                f"cannot be said of {number} of {category}: the answers to {', '.join(sorted(unread))} are "
                "announced once a rule that is in use reads them"
            )
    for rule in after:
        if not used[rule.rule]:
            say(f"no report: {rule.rule}")


def described(
    municipality: Municipality,
    *,
    category_id: str,
    areas: dict[str, str],
    answers: Mapping[str, tuple[str, ...]],
    source: str,
    language: str,
    hour: datetime,
) -> Facts:
    """The facts of a report that somebody describes, sent in that hour (UTC). Raises Refusal for what the
    folder does not know."""
    category = municipality.categories.get(category_id)
    if category is None:
        raise _unknown("category", category_id, municipality.categories)
    for set_id, area in areas.items():
        if set_id not in municipality.area_sets:
            raise _unknown("area set", set_id, municipality.area_sets)
        if area not in municipality.area_sets[set_id].areas:
            raise _unknown(f"area of {set_id}", area, municipality.area_sets[set_id].areas)
    _check_answers(category, answers)
    if source not in SOURCES:
        raise _unknown("source", source, SOURCES)
    if not _CODE.fullmatch(language):
        raise Refusal(f"{language} is no language; write a code of letters, digits, - and _, such as nl")
    report = ReportAccepted(
        report_id=uuid.UUID(int=0),
        kind=category.kind,
        version=1,
        category=category.id,
        areas=areas,
        hour=hour,
        regime=category.regime,
        urgency="urgent" if category.urgent else "normal",
        source=source,
        language=language,
        municipality_version=municipality.version,
        answers={**answers},
    )
    return facts_of(report, municipality)


def _check_answers(category: Category, answers: Mapping[str, tuple[str, ...]]) -> None:
    questions = {one.id: one for one in category.questions if one.kind in ("choice", "choices")}
    for question, options in answers.items():
        if question not in questions:
            raise _unknown(f"choice question of {category.id}", question, questions)
        if len(options) > 1 and questions[question].kind == "choice":
            raise Refusal(f"{question} has one answer; give --answer {question}=OPTION once")
        known = [option.id for option in questions[question].options]
        for option in options:
            if option not in known:
                raise _unknown(f"answer to {question}", option, known)


def _unknown(what: str, given: object, known: Iterable[str]) -> Refusal:
    return Refusal(f"there is no {what} {given}; they are {', '.join(known) or 'none'}")
