"""Reads a municipality's folder whole: every mistake at once, or the municipality."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from pydantic import ValidationError

from shared.errors import Mistake, MunicipalityError
from shared.municipality.areas import AreaFile, AreaReader
from shared.municipality.coverage import sorts_of
from shared.municipality.files import Files
from shared.municipality.findings import Findings, M, join
from shared.municipality.model import AreaSet, Category, Header, Municipality, ReasonFile, Unit
from shared.municipality.phrases import EmergencyFile
from shared.municipality.questions import claimed
from shared.municipality.references import (
    Known,
    check_areas,
    check_ids,
    check_level_hours,
    check_levels,
    check_order,
    check_rules,
    check_targets,
    check_texts,
    id_of,
)
from shared.municipality.rules import Rule
from shared.municipality.statistics import Statistics, crimes_of

MUNICIPALITY = "municipality.toml"
CATEGORIES = "categories.toml"
UNITS = "units.toml"
ROUTING = "routing.toml"
REASONS = "reasons.toml"
EMERGENCY = "emergency.toml"
STATISTICS = "statistics.toml"


def read(folder: Path) -> Municipality:
    """The municipality that the folder describes.

    Blocking: for start-up. Raises MunicipalityError, and nothing else, with every mistake: its file, its
    path in the file, what is wrong and what to write instead. Whether areas overlap is not looked at.
    """
    if not _is_folder(folder):
        mend = "name the folder that holds municipality.toml"
        mistake = Mistake(repr(str(folder))[1:-1], "(folder)", "there is no such folder", mend)
        raise MunicipalityError((mistake,))
    findings = Findings()
    municipality = _Reading(folder, findings).municipality()
    if municipality is None:
        raise MunicipalityError(findings.mistakes)
    return municipality


def _is_folder(folder: Path) -> bool:
    try:
        return folder.is_dir()
    except OSError:  # such as a parent that may not be looked into
        return False


@dataclass(frozen=True)
class _Entries(Generic[M]):
    """A list of one file. A model is None where its mistakes are named; its id is claimed all the same."""

    raw: list[Any]
    models: list[M | None]
    ids: frozenset[str] | None

    def sound(self) -> list[M]:
        return [model for model in self.models if model is not None]


class _Reading:
    """One reading of one folder. A mistake in one file hides no mistake in another."""

    def __init__(self, folder: Path, findings: Findings) -> None:
        self._findings = findings
        self._files = Files(folder, findings)
        self._languages: tuple[str, ...] | None = None
        self._areas: dict[str, frozenset[str] | None] | None = None

    def municipality(self) -> Municipality | None:
        table = self._files.toml(MUNICIPALITY)
        header, area_sets = self._municipality_file(table)
        categories = self._entries(CATEGORIES, "categories", Category, self._files.toml(CATEGORIES))
        for number, entry in enumerate(categories.raw):
            self._check_questions(join("categories", number, "questions"), entry)
        units = self._entries(UNITS, "units", Unit, self._files.toml(UNITS))
        rules = self._entries(ROUTING, "rules", Rule, self._files.toml(ROUTING))
        reasons, codes = self._reasons(self._files.toml(REASONS))
        emergency = self._emergency(self._files.toml(EMERGENCY))
        statistics = self._statistics(self._files.toml(STATISTICS))
        questions = {one: claimed(entry) for entry in categories.raw if (one := id_of(entry))}
        known = Known(units.ids, categories.ids, questions, codes, self._areas, self._languages)
        check_levels(self._findings, MUNICIPALITY, (table or {}).get("clocks"), known)
        levels = header.clocks.levels if header else ()
        check_level_hours(self._findings, MUNICIPALITY, levels, units.models)
        check_targets(self._findings, CATEGORIES, categories.models, units.models)
        check_rules(self._findings, ROUTING, rules.raw, known)
        known_sorts = sorts_of(categories.sound()) if all(categories.models) else {}
        check_order(self._findings, ROUTING, rules.models, known_sorts)
        if not (header and emergency and reasons and statistics) or self._findings.mistakes:
            return None
        return Municipality(
            **dict(header),
            area_sets=area_sets,
            categories={category.id: category for category in categories.sound()},
            units={unit.id: unit for unit in units.sound()},
            rules=tuple(rules.sound()),
            **dict(reasons),
            emergency_text=emergency.text,
            emergency_wording=emergency.wording(),
            statistics=statistics,
            version=self._files.version(),
        )

    def _municipality_file(self, table: dict[str, Any] | None) -> tuple[Header | None, dict[str, AreaSet]]:
        if table is None:
            return None, {}
        self._findings.table(MUNICIPALITY, "", table, [*Header.model_fields, "area_sets"])
        plain = {key: value for key, value in table.items() if key in Header.model_fields}
        header = self._findings.model(MUNICIPALITY, "", Header, plain)
        self._languages = header.languages if header else self._claimed_languages(plain)
        for name in ("names", "privacy_notice"):
            check_texts(self._findings, MUNICIPALITY, name, plain.get(name), self._languages)
        listed = {key: value for key, value in table.items() if key == "area_sets"}
        return header, self._area_sets(listed, header.zone if header else None)

    def _area_sets(self, table: dict[str, Any], zone: str | None) -> dict[str, AreaSet]:
        entries = self._entries(MUNICIPALITY, "area_sets", AreaFile, table)
        self._areas = dict.fromkeys(entries.ids) if entries.ids is not None else None
        area_sets = {}
        for raw, sound in zip(entries.raw, entries.models, strict=True):
            entry = sound or _claimed_file(raw)
            if entry is None:
                continue
            reader = AreaReader(self._findings, entry, self._languages, zone)
            areas = reader.read(self._files.geojson(entry.file))
            area_sets[entry.id] = AreaSet(id=entry.id, names=entry.names, file=entry.file, areas=areas)
            if self._areas is not None:
                self._areas[entry.id] = reader.ids
        return area_sets

    def _entries(self, file: str, key: str, model: type[M], table: dict[str, Any] | None) -> _Entries[M]:
        """The list `key` of a file that holds nothing else."""
        if table is None:
            return _Entries([], [], None)
        self._findings.table(file, "", table, [key])
        entries = table.get(key)
        if not isinstance(entries, list) or not entries:
            self._findings.add(file, key, f"there is no list of {key}", f"write at least one [[{key}]]")
            return _Entries([], [], None)
        check_ids(self._findings, file, key, entries)
        models = []
        for number, entry in enumerate(entries):
            models.append(self._findings.model(file, join(key, number), model, entry))
            if isinstance(entry, dict):
                path = join(key, number, "names")
                check_texts(self._findings, file, path, entry.get("names"), self._languages)
        ids = frozenset(one for entry in entries if (one := id_of(entry)) is not None)
        return _Entries(entries, models, ids)

    def _reasons(self, table: dict[str, Any] | None) -> tuple[ReasonFile | None, frozenset[str]]:
        """The file, and the codes of reasons; where its text is wrong, a code is claimed all the same."""
        if table is None:
            return None, frozenset()
        kinds = list(ReasonFile.model_fields)
        self._findings.table(REASONS, "", table, kinds)
        found = self._findings.model(REASONS, "", ReasonFile, {kind: table.get(kind, {}) for kind in kinds})
        first: dict[str, str] = {}
        for kind in kinds:
            claimed = table.get(kind)
            for code, texts in claimed.items() if isinstance(claimed, dict) else ():
                place = join(kind, code)
                check_texts(self._findings, REASONS, place, texts, self._languages)
                if first.setdefault(code, place) != place:
                    problem = f"the code {code!r} is that of {first[code]} as well"
                    self._findings.add(REASONS, place, problem, "give it one of its own")
        reasons = table.get("reasons")
        return found, frozenset(reasons if isinstance(reasons, dict) else ())

    def _check_questions(self, path: str, category: object) -> None:
        """The ids and texts of a category's questions, whatever else is wrong with them."""
        listed = category.get("questions") if isinstance(category, dict) else None
        if not isinstance(listed, list):
            return
        check_ids(self._findings, CATEGORIES, path, listed)
        for number, question in enumerate(listed):
            options = question.get("options") if isinstance(question, dict) else None
            asked = [(join(path, number), question)]
            if isinstance(options, list):
                asked += [
                    (join(path, number, "options", place), option) for place, option in enumerate(options)
                ]
            for where, one in asked:
                names = one.get("names") if isinstance(one, dict) else None
                check_texts(self._findings, CATEGORIES, join(where, "names"), names, self._languages)

    def _emergency(self, table: dict[str, Any] | None) -> EmergencyFile | None:
        if table is None:
            return None
        found = self._findings.model(EMERGENCY, "", EmergencyFile, table)
        for key in ("text", "phrases"):
            check_texts(self._findings, EMERGENCY, key, table.get(key), self._languages)
        # Not every language needs harmless phrases.
        harmless = table.get("harmless", {})
        for language in harmless if isinstance(harmless, dict) and self._languages else ():
            if language not in (self._languages or ()):
                self._findings.unknown(
                    EMERGENCY, join("harmless", language), language, self._languages or (), "language"
                )
        return found

    def _statistics(self, table: dict[str, Any] | None) -> Statistics | None:
        if table is None:
            return None
        crimes = crimes_of(table)
        path = join("incidents", "categories")
        check_ids(self._findings, STATISTICS, path, crimes)
        for number, crime in enumerate(crimes):
            if isinstance(crime, dict):
                place = join(path, number, "names")
                check_texts(self._findings, STATISTICS, place, crime.get("names"), self._languages)
        primary = next(iter(self._areas.items()), None) if self._areas else None
        check_areas(self._findings, STATISTICS, "inhabitants", table.get("inhabitants"), primary)
        return self._findings.model(STATISTICS, "", Statistics, table)

    def _claimed_languages(self, table: dict[str, Any]) -> tuple[str, ...] | None:
        """The languages where only another key of the file is wrong: texts are held against them then."""
        wrong = {mistake.path for mistake in self._findings.mistakes if mistake.file == MUNICIPALITY}
        if "languages" in wrong or not isinstance(claimed := table.get("languages"), list):
            return None
        return (
            tuple(tag for number, tag in enumerate(claimed) if join("languages", number) not in wrong) or None
        )


def _claimed_file(raw: object) -> AreaFile | None:
    """Where an entry with mistakes keeps its areas, so that the file's own mistakes are told as well."""
    if not isinstance(raw, dict):
        return None
    claimed = {key: value for key, value in raw.items() if key in AreaFile.model_fields}
    try:
        return AreaFile.model_validate({**claimed, "names": {"en": "-"}})
    except ValidationError:
        return None
