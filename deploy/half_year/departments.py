"""Why the rules chose another department than the city: kinds, each with the rule that finds it. Pure."""

from collections.abc import Collection, Mapping
from typing import Final

from deploy.half_year.cases import Case, Export
from deploy.half_year.playing import Played
from shared.municipality import Municipality, Rule

UNEXPLAINED: Final = "unexplained"
KINDS: Final[Mapping[str, str]] = {
    "comment": "A comment for the Hotline that the city passed on to the department that it is about: which"
    " one, only the words tell.",
    "given_back": "The city filed it with the department that we chose, which gave it back: it stands in "
    "the Hotline's queue for reallocation.",
    "kept_at_hotline": "The type belongs to the department that we chose, and the Hotline kept it in a "
    "queue of its own, such as that for other requests.",
    "no_queue": "The city set no queue.",
    "by_hand": "It went to a department that no rule names, as no type belongs to it: somebody chose it by "
    "hand.",
    "by_area": "A rule reads the neighborhood: there the city sent most of the group to the department that"
    " we chose, and this one to the other.",
    "moved": "The city filed it with the department that we chose and moved it to another, most often "
    "because another kind of work was needed than the type says.",
    "coarser_group": "The type belongs to another department than most of its group, and the group is all "
    "that a report says.",
    UNEXPLAINED: "None of these.",
}


class Departments:
    """Explains disagreements about the department of `cases`, which are all of the export."""

    def __init__(self, town: Municipality, export: Export, cases: Collection[Case]) -> None:
        self._subjects = export.subjects
        self._rules: Mapping[str, Rule] = {rule.id: rule for rule in town.rules}
        self._named = {rule.unit for rule in town.rules}
        self._last = town.rules[-1].unit
        filed: dict[str, set[str]] = {}
        for case in cases:
            filed.setdefault(case.category, set()).add(export.subjects.get(case.subject, ""))
        self._filed = filed

    def kind(self, played: Played) -> str:
        """The kind of a disagreement: the first that holds."""
        case = played.case
        home = self._subjects.get(case.subject)
        ours = played.first_unit
        if case.row["department"] == "No Q":
            return "no_queue"
        if home == ours == self._last:
            return "comment"
        if case.unit not in self._named:
            return "by_hand"
        if home == ours:
            if case.unit != self._last:
                return "moved"
            return "given_back" if "reallocation" in case.queue.lower() else "kept_at_hotline"
        rule = self._rules.get(played.rule)
        if rule and rule.when and rule.when.area:
            return "by_area"
        # Filed with neither by most: the group has types of more than one department, ours among them.
        if home and ours in self._filed[case.category]:
            return "coarser_group"
        return UNEXPLAINED
