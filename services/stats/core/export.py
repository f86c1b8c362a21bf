"""Lines of a police export as incidents, by a mapping. Pure.

A line is a row: an open quote spoils its own line, never those after it.
"""

import csv
import json
import math
import tomllib
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from shared.errors import Refusal
from shared.events import IncidentRecorded

# The namespace of incidents' ids: with another, every incident ever imported would count again.
NAMESPACE = uuid.UUID("7c0b6a52-3f0e-4f6b-9a51-5a4c0a1f6f0d")
OLDEST = datetime(1900, 1, 1, tzinfo=UTC)


def _zone(name: object) -> ZoneInfo:
    try:
        return ZoneInfo(str(name))
    except (OSError, ValueError) as error:
        raise ValueError("write a time zone such as America/Toronto") from error


class ExportMapping(BaseModel):
    """Which columns of an export say what, and what their codes mean here."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)
    source: str = Field(min_length=1, description="a name of the export, part of every incident's id")
    key: tuple[str, ...] = Field(min_length=1, description="the columns that tell incidents apart")
    zone: Annotated[ZoneInfo, BeforeValidator(_zone)]
    time: str
    time_format: str
    hour: str | None = Field(None, description="a column with the local hour, where `time` is a day")
    encoding: str = "utf-8-sig"
    category: str
    categories: Mapping[str, str]
    area: str
    area_set: str
    areas: Mapping[str, str]
    box: tuple[float, float, float, float] | None = Field(None, description="south, west, north, east")
    latitude: str = "Lat"
    longitude: str = "Long"


class Rejected(Exception):  # noqa: N818 - named for what became of the line
    """A line that is no incident, and why."""


def read_mapping(text: str) -> ExportMapping:
    """Read a mapping. Raises Refusal."""
    try:
        return ExportMapping.model_validate(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise Refusal(f"the mapping cannot be used: {error}") from error


def row_of(line: str, header: Sequence[str] | None) -> dict[str, str]:
    """The columns of a line, of CSV with this header or else of JSON. Raises Rejected."""
    if header is None:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise Rejected("no JSON object") from error
        if not isinstance(row, dict):
            raise Rejected("no JSON object")
        return {name: "" if value is None else str(value) for name, value in row.items()}
    cells = cells_of(line)
    if len(cells) != len(header):
        raise Rejected(f"{len(cells)} columns instead of {len(header)}")
    return dict(zip(header, cells, strict=True))


def cells_of(line: str) -> list[str]:
    """The cells of a line of CSV. Raises Rejected."""
    try:
        return next(csv.reader([line.rstrip("\r\n")], strict=True), [])
    except csv.Error as error:
        raise Rejected("no row of CSV") from error


def incident_of(row: Mapping[str, str], by: ExportMapping, now: datetime) -> IncidentRecorded:
    """The incident that a row records. Raises Rejected."""
    key = [_cell(row, name) for name in by.key]
    if not all(key):
        raise Rejected(f"no key in {', '.join(by.key)}")
    hour = _hour(row, by)
    if not OLDEST <= hour <= now:
        raise Rejected(f"time {_cell(row, by.time)!r} is in the future or before 1900")
    code, place = _cell(row, by.category), _cell(row, by.area)
    if code not in by.categories:
        raise Rejected(f"unknown offence code {code!r}")
    if place not in by.areas:
        raise Rejected(f"unknown place {place!r}")
    if by.box is not None:
        _check_point(row, by, by.box)
    identity = uuid.uuid5(NAMESPACE, json.dumps([by.source, *key]))
    areas = {by.area_set: by.areas[place]}
    return IncidentRecorded(incident_id=identity, category=by.categories[code], areas=areas, hour=hour)


def _cell(row: Mapping[str, str], name: str) -> str:
    if name not in row:
        raise Rejected(f"no column {name}")
    return row[name].strip()


def _hour(row: Mapping[str, str], by: ExportMapping) -> datetime:
    text = _cell(row, by.time)
    try:
        time = datetime.strptime(text, by.time_format)  # noqa: DTZ007 - its zone is the next line's
        time = time.replace(tzinfo=by.zone) if time.tzinfo is None else time.astimezone(by.zone)
        if by.hour is not None:
            of_day = int(_cell(row, by.hour))
            time = time.replace(hour=of_day)
        return time.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    except (ValueError, OverflowError) as error:
        raise Rejected(f"broken time {text!r}") from error


def _check_point(row: Mapping[str, str], by: ExportMapping, box: tuple[float, float, float, float]) -> None:
    try:
        latitude, longitude = float(_cell(row, by.latitude)), float(_cell(row, by.longitude))
    except ValueError as error:
        raise Rejected("missing coordinates") from error
    if not (math.isfinite(latitude) and math.isfinite(longitude)) or -1 in (latitude, longitude):
        raise Rejected("missing coordinates")
    south, west, north, east = box
    if south <= longitude <= north and west <= latitude <= east:
        raise Rejected("swapped coordinates")
    if not (south <= latitude <= north and west <= longitude <= east):
        raise Rejected("coordinates outside the municipality")
