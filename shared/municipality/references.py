"""What one file says about another: ids that must exist, texts in every language, rules in order."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.municipality.coverage import Sorts, box_of, common, is_empty, left_of
from shared.municipality.findings import Findings, join, listed
from shared.municipality.hours import LONGEST_WEEKS, hours_in
from shared.municipality.model import Category, Level, Unit
from shared.municipality.rules import Rule


@dataclass(frozen=True)
class Known:
    """The ids that may be referred to. None or empty: their file told none, so nothing is held against it."""

    units: frozenset[str] | None
    categories: frozenset[str] | None
    # Per category, its choice questions with the ids of their options.
    questions: Mapping[str, Mapping[str, frozenset[str]]]
    reasons: frozenset[str] | None
    areas: Mapping[str, frozenset[str] | None] | None
    languages: tuple[str, ...] | None


def check_texts(
    findings: Findings, file: str, path: str, texts: object, languages: tuple[str, ...] | None
) -> None:
    """A text has every language of the municipality and no other."""
    if languages is None or not isinstance(texts, dict):
        return
    for language in languages:
        if language not in texts:
            findings.add(
                file, join(path, language), "the text in this language is missing", f"add {language} = ..."
            )
    for language in texts:
        if language not in languages:
            findings.unknown(file, join(path, language), language, languages, "language")


def check_areas(
    findings: Findings,
    file: str,
    path: str,
    by_area: object,
    primary: tuple[str, frozenset[str] | None] | None,
) -> None:
    """Each area that something is said of is one of the first area set; None where its file tells none."""
    if primary and isinstance(by_area, dict):
        for area in by_area:
            _refer(findings, file, join(path, area), area, primary[1], f"area of {primary[0]}")


def check_levels(findings: Findings, file: str, clocks: object, known: Known) -> None:
    """Each unit that a level tells exists."""
    levels = clocks.get("levels") if isinstance(clocks, dict) else None
    for number, level in enumerate(levels if isinstance(levels, list) else []):
        if isinstance(level, dict):
            path = join("clocks", "levels", number, "unit")
            _refer(findings, file, path, level.get("unit"), known.units, "unit")


def check_targets(
    findings: Findings,
    file: str,
    categories: Sequence[Category | None],
    units: Sequence[Unit | None],
) -> None:
    """Each target can be met by every unit, since any may be handed a report of any category. None: an entry
    with other mistakes."""
    for number, category in enumerate(categories):
        for name, hours in category.targets if category else ():
            if hours is not None:
                _check_hours(findings, file, join("categories", number, "targets", name), hours, units)


def check_level_hours(
    findings: Findings, file: str, levels: Sequence[Level], units: Sequence[Unit | None]
) -> None:
    """Each level comes in the hours of every unit."""
    for number, level in enumerate(levels):
        path = join("clocks", "levels", number, "after_hours")
        _check_hours(findings, file, path, level.after_hours, units)


def _check_hours(
    findings: Findings, file: str, path: str, hours: float, units: Sequence[Unit | None]
) -> None:
    short = [one.id for one in units if one and hours > LONGEST_WEEKS * hours_in(one.week)]
    if short:
        problem = f"{hours:g} hours are more than ten years of work of {listed(short)}"
        findings.add(file, path, problem, "write fewer, or give the unit more hours in units.toml")


def check_rules(findings: Findings, file: str, rules: list[Any], known: Known) -> None:
    """What each rule refers to exists. `rules` are as written, so that no other mistake hides one here."""
    for number, rule in enumerate(rules):
        if not isinstance(rule, dict):
            continue
        path = join("rules", number)
        _refer(findings, file, join(path, "unit"), rule.get("unit"), known.units, "unit")
        _refer(findings, file, join(path, "reason"), rule.get("reason"), known.reasons, "reason")
        when = rule.get("when")
        if isinstance(when, dict):
            _check_when(findings, file, join(path, "when"), when, known)


def _check_when(findings: Findings, file: str, path: str, when: dict[str, Any], known: Known) -> None:
    _refer_all(findings, file, join(path, "category"), when.get("category"), known.categories, "category")
    _refer_all(findings, file, join(path, "language"), when.get("language"), known.languages, "language")
    _check_answers(findings, file, path, when, known)
    area = when.get("area")
    if not known.areas or not isinstance(area, dict):
        return
    for set_id, ids in area.items():
        _refer(findings, file, join(path, "area", set_id), set_id, known.areas, "area set")
        _refer_all(findings, file, join(path, "area", set_id), ids, known.areas.get(set_id), "area")


def _check_answers(findings: Findings, file: str, path: str, when: dict[str, Any], known: Known) -> None:
    """Each question that is read is a choice of every category that the rule names, with these options."""
    answers = when.get("answers")
    if not known.categories or not isinstance(answers, dict):
        return
    if not isinstance(when.get("category"), list):
        findings.add(
            file,
            join(path, "answers"),
            "the rule reads answers and does not say of which categories",
            "add category = [...] with the categories that ask these questions",
        )
        return
    named = [one for one in when["category"] if isinstance(one, str) and one in known.categories]
    for question, options in answers.items():
        place = join(path, "answers", question)
        for category in named:
            asked = known.questions.get(category, {})
            if question not in asked:
                what = f"choice question of the category {category}"
                findings.unknown(file, place, question, sorted(asked), what)
            else:
                _refer_all(findings, file, place, options, asked[question], "option")


def _refer_all(
    findings: Findings, file: str, path: str, ids: object, known: Collection[str] | None, what: str
) -> None:
    for number, one in enumerate(ids if isinstance(ids, list) else []):
        _refer(findings, file, join(path, number), one, known, what)


def _refer(
    findings: Findings, file: str, path: str, one: object, known: Collection[str] | None, what: str
) -> None:
    if known and isinstance(one, str) and one not in known:
        findings.unknown(file, path, one, sorted(known), what)


def check_order(findings: Findings, file: str, rules: list[Rule | None], sorts: Sorts) -> None:
    """Every rule can hold and be reached, and the last one takes what is left. None: a rule with other
    mistakes. `sorts` is empty where categories have mistakes."""
    last = len(rules) - 1
    for number, rule in enumerate(rules):
        if rule is None:
            continue
        path = join("rules", number)
        conditions = rule.conditions()
        if number == last and conditions:
            findings.add(
                file,
                join(path, "when"),
                "the last rule has conditions, so a report may reach nobody",
                "add a last rule without when",
            )
        elif number < last and not conditions:
            findings.add(
                file,
                path,
                "a rule without conditions takes every report, and is not the last",
                "give it a when, or move it to the end",
            )
        elif is_empty(box_of(rule, sorts)):
            findings.add(
                file,
                join(path, "when"),
                f"the rule {rule.id!r} can never hold: no category that it names is of its kind and urgency",
                "take kind or urgency out, or name other categories",
            )
        elif conditions and (before := _taken_by(rule, rules[:number], sorts)):
            names = ", ".join(repr(one.id) for one in before)
            findings.add(
                file,
                path,
                f"the rule {rule.id!r} is never reached: {names} before it {_takes(before)} all its reports",
                f"move it before {before[0].id!r}, or take it out",
            )


def _takes(rules: list[Rule]) -> str:
    return "takes" if len(rules) == 1 else "take"


def _taken_by(rule: Rule, earlier: list[Rule | None], sorts: Sorts) -> list[Rule]:
    """The earlier rules that leave nothing to this one; none where something is left."""
    # A rule without conditions has its own mistake.
    asked = [(one, box_of(one, sorts)) for one in earlier if one is not None and one.conditions()]
    box = box_of(rule, sorts)
    # The first that does it alone is told, before several that do it together.
    for one, taken in asked:
        if not left_of(box, [taken]):
            return [one]
    touching = [(one, taken) for one, taken in asked if common(box, taken)]
    return [] if left_of(box, [taken for _, taken in touching]) else [one for one, _ in touching]


def overlaps(rules: Sequence[Rule], sorts: Sorts) -> list[tuple[Rule, Rule]]:
    """Pairs of rules that some report fits both, of which neither takes all of the other's, and which send it
    to different units: there the order decides."""
    boxes = [(rule, box_of(rule, sorts)) for rule in rules]
    return [
        (first, second)
        for number, (first, one) in enumerate(boxes)
        for second, other in boxes[number + 1 :]
        if first.unit != second.unit and common(one, other) is not None and left_of(one, [other])
    ]


def check_ids(findings: Findings, file: str, key: str, entries: list[Any]) -> None:
    """Each id of a list stands once."""
    first: dict[str, int] = {}
    for number, entry in enumerate(entries):
        one = id_of(entry)
        if one is None:
            continue
        if one in first:
            findings.add(
                file,
                join(key, number, "id"),
                f"the id {one!r} is that of {join(key, first[one])} as well",
                "give it one of its own",
            )
        first.setdefault(one, number)


def id_of(entry: object) -> str | None:
    """The id that an entry claims, whether or not the rest of it is right."""
    one = entry.get("id") if isinstance(entry, dict) else None
    return one if isinstance(one, str) else None
