"""Lines of a police export as incidents, by a mapping. Pure.

A line is a row: an open quote spoils its own line, never those after it.
"""

import csv
import json
import math
import re
import tomllib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, time
from functools import lru_cache
from typing import Annotated, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from services.stats.core.spec import spec_of
from shared.errors import Refusal
from shared.events import IncidentRecorded
from shared.municipality import Municipality

# The namespace of incidents' ids: with another, every incident ever imported would count again.
NAMESPACE = uuid.UUID("7c0b6a52-3f0e-4f6b-9a51-5a4c0a1f6f0d")


def _zone(name: object) -> ZoneInfo:
    try:
        return ZoneInfo(str(name))
    except (KeyError, OSError, ValueError) as error:
        raise ValueError("write a time zone such as America/Toronto") from error


def _encoding(name: str) -> str:
    try:
        if "a\n".encode(name).endswith(b"a\n"):
            return name
    except LookupError:
        pass
    raise ValueError("write an encoding in which a line ends with one byte, such as utf-8-sig or cp1252")


def _delimiter(mark: str) -> str:
    if len(mark) != 1 or mark in '"\r\n ':
        raise ValueError('write the one mark between two cells, such as ";" or "\\t"')
    return mark


def _form(form: str) -> str:
    moment = datetime(2026, 10, 25, 13, tzinfo=UTC)
    try:
        datetime.strptime(moment.strftime(form), form)  # noqa: DTZ007 - whether it can be read at all
    except (ValueError, re.error) as error:
        raise ValueError("write it as Python's strptime reads it, such as %Y-%m-%d %H:%M:%S") from error
    return form


class ExportMapping(BaseModel):
    """Which columns of an export say what, and what their codes mean here."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)
    source: str = Field(min_length=1, description="a name of the export, part of every incident's id")
    key: tuple[str, ...] = Field(min_length=1, description="the columns that tell incidents apart")
    key_repeats: bool = Field(False, description="whether rows with the same key are several incidents")
    zone: Annotated[ZoneInfo, BeforeValidator(_zone)]
    time: str
    time_format: Annotated[str, AfterValidator(_form)]
    hour: str | None = Field(None, description="a column with the local hour, where `time` is a day")
    encoding: Annotated[str, AfterValidator(_encoding)] = "utf-8-sig"
    delimiter: Annotated[str, AfterValidator(_delimiter)] = ","
    category: str
    categories: Mapping[str, str]
    area: str
    area_set: str
    areas: Mapping[str, str]
    box: tuple[float, float, float, float] | None = Field(None, description="south, west, north, east")
    latitude: str = "Lat"
    longitude: str = "Long"

    def columns(self) -> list[str]:
        """The columns that every row must have."""
        place = (self.latitude, self.longitude) if self.box else ()
        hour = (self.hour,) if self.hour else ()
        return list(dict.fromkeys((*self.key, self.time, *hour, self.category, self.area, *place)))


class Rejected(Exception):  # noqa: N818 - named for what became of the line
    """A line that is no incident, and why; `fate` is the same for all lines of its kind."""

    def __init__(self, fate: str, detail: str = "") -> None:
        super().__init__(f"{fate}: {detail}" if detail else fate)
        self.fate = fate


class Span(NamedTuple):
    """The times that an incident may have, both included."""

    first: datetime
    last: datetime


def read_mapping(text: str) -> ExportMapping:
    """Read a mapping. Raises Refusal with every mistake."""
    try:
        return ExportMapping.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise Refusal(f"the mapping cannot be used: {error}") from error
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise Refusal(f"the mapping cannot be used: {'; '.join(faults)}") from error


def check_mapping(by: ExportMapping, town: Municipality) -> None:
    """Raise Refusal that names every area and category of the mapping that the statistics do not know."""
    areas, categories = spec_of(town).table("incidents.month").codes
    faults = []
    if by.area_set != town.primary_area_set:
        faults.append(f"area_set {by.area_set!r} is not {town.primary_area_set!r}, which statistics use")
    faults += [f"no area {one!r}" for one in _strange(by.areas, areas)]
    faults += [
        f"no category {one!r} in statistics.toml; it has {', '.join(categories)}"
        for one in _strange(by.categories, categories)
    ]
    if faults:
        raise Refusal(
            f"the mapping does not fit {town.slug}: {'; '.join(faults)}; correct the mapping, or the "
            "municipality's folder"
        )


def _strange(codes: Mapping[str, str], known: Iterable[str]) -> list[str]:
    return sorted({*codes.values()} - {*known})


def counted(town: Municipality, now: datetime) -> Span:
    """The times of incidents that statistics count: since they begin, and not in the future."""
    begin = datetime.combine(town.statistics.incidents.since, time.min, town.tz)
    return Span(begin.astimezone(UTC), now)


def row_of(line: str, header: Sequence[str] | None, delimiter: str = ",") -> dict[str, str]:
    """The columns of a line, of CSV with this header or else of JSON. Raises Rejected."""
    if header is None:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise Rejected("no JSON object") from error
        if not isinstance(row, dict):
            raise Rejected("no JSON object")
        return {name: "" if value is None else str(value) for name, value in row.items()}
    cells = cells_of(line, delimiter)
    if len(cells) != len(header):
        raise Rejected("another number of columns than the first line", f"{len(cells)} of {len(header)}")
    return dict(zip(header, cells, strict=True))


def cells_of(line: str, delimiter: str = ",") -> list[str]:
    """The cells of a line of CSV. Raises Rejected."""
    try:
        return next(csv.reader([line.rstrip("\r\n")], strict=True, delimiter=delimiter), [])
    except csv.Error as error:
        raise Rejected("no row of CSV") from error


def identity_of(row: Mapping[str, str], by: ExportMapping) -> uuid.UUID | None:
    """The id of a row by its key: whenever it is read the same. None where a part of the key is blank."""
    key = [row.get(name, "").strip() for name in by.key]
    return uuid.uuid5(NAMESPACE, json.dumps([by.source, *key])) if all(key) else None


def repeated(identity: uuid.UUID, before: int) -> uuid.UUID:
    """The id of a row whose key so many rows before it have."""
    return uuid.uuid5(identity, str(before)) if before else identity


def incident_of(
    row: Mapping[str, str], by: ExportMapping, identity: uuid.UUID | None, span: Span
) -> IncidentRecorded:
    """The incident that a row records. Raises Rejected: a key that has a blank comes last, since what is
    wrong with that column says more."""
    hour = _hour(row, by)
    if hour < span.first:
        raise Rejected("before the statistics begin", _cell(row, by.time))
    if hour > span.last:
        raise Rejected("in the future", _cell(row, by.time))
    code, place = _cell(row, by.category), _cell(row, by.area)
    if code not in by.categories:
        raise Rejected(f"unknown offence code {code!r}")
    if place not in by.areas:
        raise Rejected(f"unknown place {place!r}")
    if by.box is not None:
        _check_point(row, by, by.box)
    if identity is None:
        raise Rejected("no key", " and ".join(_said(row, name) for name in by.key if not _cell(row, name)))
    areas = {by.area_set: by.areas[place]}
    return IncidentRecorded(incident_id=identity, category=by.categories[code], areas=areas, hour=hour)


def _cell(row: Mapping[str, str], name: str) -> str:
    if name not in row:
        raise Rejected(f"no column {name}")
    return row[name].strip()


def _said(row: Mapping[str, str], name: str) -> str:
    """What stands in a column, in words."""
    value = _cell(row, name)
    return f"{name} is {value!r}" if value else f"{name} is blank"


def _hour(row: Mapping[str, str], by: ExportMapping) -> datetime:
    column = by.time
    try:
        moment = _moment(_cell(row, column), by.time_format)
        moment = moment.replace(tzinfo=by.zone) if moment.tzinfo is None else moment.astimezone(by.zone)
        if by.hour is not None:
            column = by.hour
            moment = moment.replace(hour=int(_cell(row, column)))
        return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    except (ValueError, OverflowError) as error:
        raise Rejected("broken time", _said(row, column)) from error


@lru_cache(maxsize=10_000)
def _moment(text: str, form: str) -> datetime:
    return datetime.strptime(text, form)  # noqa: DTZ007 - the zone is the mapping's


def _check_point(row: Mapping[str, str], by: ExportMapping, box: tuple[float, float, float, float]) -> None:
    latitude, longitude = (_degrees(row, name) for name in (by.latitude, by.longitude))
    south, west, north, east = box
    if south <= longitude <= north and west <= latitude <= east:
        raise Rejected("swapped coordinates")
    if not (south <= latitude <= north and west <= longitude <= east):
        raise Rejected("coordinates outside the municipality")


def _degrees(row: Mapping[str, str], name: str) -> float:
    try:
        value = float(_cell(row, name))
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value == -1:
        raise Rejected("missing coordinates", _said(row, name))
    return value
