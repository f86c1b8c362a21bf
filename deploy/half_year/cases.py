"""The city's requests, a row each: what it wrote of them, and the report that tips would announce."""

import csv
import gzip
import tomllib
import uuid
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from deploy.half_year.promises import Promise, read_promises
from deploy.local.load import request_of
from services.tips.areas import Areas
from services.tips.body import Location
from services.tips.core.report import accept
from services.tips.intake import check_place
from shared.cloudevents import Envelope
from shared.errors import Refusal
from shared.events import ReportAccepted
from shared.municipality import Municipality
from shared.web import Problem

COLUMNS = (
    *("open_dt", "target_dt", "closed_dt", "ontime", "reason", "subject", "type", "queue", "department"),
    *("police_district", "latitude", "longitude"),
)
_ON_TIME = {"ONTIME": True, "OVERDUE": False, "": None}


@dataclass(frozen=True)
class Export:
    """types.toml: what a city's export says, in the folder's words. `types` are categories; `departments` and
    `subjects` are units; `promises` by type."""

    types: Mapping[str, str]
    departments: Mapping[str, str]
    subjects: Mapping[str, str]
    promises: Mapping[str, Promise]


def read_export(folder: Path) -> Export:
    """Read a folder's types.toml. Raises Refusal where it is not there or has not all four tables."""
    path = folder / "types.toml"
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise Refusal(
            f"{path} is not there, which says what each type of the export is; name a folder with one by "
            "--municipality, such as deploy/municipalities/boston"
        ) from None
    except (OSError, ValueError) as error:
        raise Refusal(f"{path} cannot be read ({type(error).__name__}); mend it") from None
    if missing := [one for one in ("types", "departments", "subjects", "promises") if one not in tables]:
        raise Refusal(f"{path} has no table [{missing[0]}]; see deploy/municipalities/boston/types.toml")
    promises = read_promises(tables["promises"])
    return Export(tables["types"], tables["departments"], tables["subjects"], promises)


@dataclass(frozen=True, slots=True)
class Case:
    """One request. Moments are UTC; `wall` and `wall_target` are the city's wall time, without a zone.
    `number` is the row, `unit` the department that the city chose, `on_time` what its column says; None
    where it says nothing."""

    number: int
    type: str
    category: str
    subject: str
    queue: str
    unit: str
    opened: datetime
    wall: datetime
    target: datetime | None
    wall_target: datetime | None
    closed: datetime | None
    on_time: bool | None
    row: Mapping[str, str]


def read_cases(file: Path, town: Municipality, export: Export, rows: int | None = None) -> list[Case]:
    """The requests of a 311 export (CSV, may be gzipped), the first `rows` of them. Raises Refusal that names
    what is wrong with the file, and where."""
    cases = []
    try:
        for number, row in enumerate(_rows(file), 1):
            if rows is not None and number > rows:
                break
            cases.append(_case(number, row, town, export, f"{file}: row {number}"))
    except FileNotFoundError:
        raise Refusal(
            f"{file} is not there; name the city's export with --file, or leave --file out for the folder's "
            "sample (README.md of the folder says where the export is from)"
        ) from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise Refusal(
            f"{file} cannot be read ({type(error).__name__}); give a CSV, gzipped if its name ends with .gz"
        ) from None
    if not cases:
        raise Refusal(
            f"{file} has no rows; give a CSV with a line of names and a request on each line after it"
        )
    return cases


def _rows(file: Path) -> Iterator[Mapping[str, str]]:
    unpack = gzip.open if file.suffix == ".gz" else open
    with unpack(file, "rt", encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines)
        if missing := set(COLUMNS).difference(reader.fieldnames or ()):
            raise Refusal(
                f"{file} has no column {', '.join(sorted(missing))}; give the export as the city publishes it"
            )
        yield from reader


def _case(number: int, row: Mapping[str, str], town: Municipality, export: Export, where: str) -> Case:
    for column, table in (("type", export.types), ("department", export.departments)):
        if row[column] not in table:
            raise Refusal(f"{where}: the {column} {row[column]!r} is not in types.toml; add it there")
    if row["ontime"] not in _ON_TIME:
        raise Refusal(f"{where}: ontime is {row['ontime']!r}; it must be ONTIME, OVERDUE or empty")
    try:
        wall = datetime.fromisoformat(row["open_dt"])
        wall_target, closed = (
            datetime.fromisoformat(row[name]) if row[name] else None for name in ("target_dt", "closed_dt")
        )
    except ValueError:
        raise Refusal(f"{where}: a time cannot be read; write them as 2011-07-01 01:32:33") from None
    opened = _utc(wall, town.tz)
    return Case(
        number,
        row["type"],
        export.types[row["type"]],
        row["subject"],
        row["queue"],
        export.departments[row["department"]],
        opened,
        wall,
        _utc(wall_target, town.tz) if wall_target else None,
        wall_target,
        _closed(closed, opened, town.tz, where) if closed else None,
        _ON_TIME[row["ontime"]],
        row,
    )


def _utc(wall: datetime, zone: ZoneInfo) -> datetime:
    """Of an hour that comes twice, the first."""
    return wall.replace(tzinfo=zone).astimezone(UTC)


def _closed(wall: datetime, opened: datetime, zone: ZoneInfo, where: str) -> datetime:
    closed = _utc(wall, zone)
    if closed < opened:
        closed = _utc(wall.replace(fold=1), zone)
    if closed < opened:
        raise Refusal(f"{where}: it was closed before it was opened; mend or leave out the row")
    return closed


class Announcing:
    """Says of requests what tips would: the demo's request, placed and accepted by tips' own code."""

    def __init__(self, town: Municipality, export: Export) -> None:
        self._town = town
        self._types = export.types
        self._areas = Areas(town)

    def accepted(self, case: Case) -> Envelope[ReportAccepted]:
        """The announcement of a request, at the moment at which it was opened."""
        town = self._town
        category = town.categories[case.category]
        areas = self._placed(request_of(case.row, town, self._types).bodies)
        _, event = accept(uuid.uuid4(), category, areas, town.languages[0], town.version, case.opened)
        return Envelope.of(event, id=uuid.uuid4(), source=f"/{town.slug}/tips", now=case.opened)

    def _placed(self, bodies: tuple[Mapping[str, object], ...]) -> dict[str, str]:
        """The areas of the first place that tips takes; none where it takes none, as without a place."""
        for body in bodies:
            try:
                return check_place(Location.model_validate(body["location"]), self._town, self._areas)
            except (Problem, ValidationError):
                continue
        return {}
