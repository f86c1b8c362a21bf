"""statistics.toml: what is published of reports and of recorded crime, since when and with how much noise.

All of it is public. What is changed here is published under a new `version`.
"""

from collections.abc import Mapping
from datetime import date
from fractions import Fraction
from typing import Annotated, Any

from pydantic import AfterValidator, Field, Strict, ValidationInfo, field_validator

from shared.municipality.parts import AreaId, Identified, Part, Texts, wrong

Count = Annotated[int, Strict()]


def _begins_a_quarter(day: date) -> date:
    if day.day != 1 or day.month not in (1, 4, 7, 10):
        raise wrong(f"{day} is not the first day of a quarter", "write a day such as 2026-10-01")
    return day


Scale = Annotated[
    int,
    Strict(),
    Field(ge=1, le=1_000, description="a whole number from 1 to 1000: the larger, the more noise"),
]
Since = Annotated[
    date,
    AfterValidator(_begins_a_quarter),
    Field(description="the first day of a quarter, such as 2026-10-01"),
]


def _within_budget(scale: int, info: ValidationInfo, *others: str) -> int:
    scales = [scale, *(info.data[name] for name in others if name in info.data)]
    if (spent := sum(Fraction(1, one) for one in scales)) > 1:
        raise wrong(
            f"the tables spend {spent} on one of them, which is more than 1",
            "write larger scales, until their 1/scale add up to 1 or less",
        )
    return scale


class ReportStatistics(Part):
    """Of what residents report, and how it was answered. Each report is counted once in each table."""

    since: Since
    month: Scale
    week_part: Scale
    took: Scale
    outcome: Scale
    closes_hours: Count = Field(48, ge=1, le=720, description="whole hours, 1 to 720")
    horizon_days: Count = Field(30, ge=1, le=120, description="whole days, 1 to 120")

    @field_validator("outcome")
    @classmethod
    def _budget(cls, scale: int, info: ValidationInfo) -> int:
        return _within_budget(scale, info, "month", "week_part", "took")

    @field_validator("horizon_days")
    @classmethod
    def _after_its_parts(cls, days: int, info: ValidationInfo) -> int:
        # What came while its last week-part was still open would be in no quarter.
        if days * 24 < (hours := info.data.get("closes_hours", 0)):
            raise wrong(
                f"a quarter would close {days * 24} hours after its end, and its last week-part {hours}",
                "write horizon_days of at least closes_hours",
            )
        return days


class Crime(Identified):
    """A category of recorded crime, as the police's incidents name it."""

    names: Texts


class IncidentStatistics(Part):
    """Of recorded crime. The police record late, so its periods close later."""

    since: Since
    month: Scale
    week_part: Scale
    closes_days: Count = Field(35, ge=1, le=365, description="whole days, 1 to 365")
    categories: tuple[Crime, ...] = Field(
        min_length=1, description="a list of [[incidents.categories]] with id and names"
    )

    @field_validator("week_part")
    @classmethod
    def _budget(cls, scale: int, info: ValidationInfo) -> int:
        return _within_budget(scale, info, "month")


class Statistics(Part):
    """The whole file."""

    version: Count = Field(
        ge=1,
        le=9_999,
        description="a whole number, one more than before whenever "
        "anything here, or an area or a category, is changed",
    )
    license: str = Field(
        "CC0-1.0",
        pattern=r"^[A-Za-z0-9.+-]{1,64}$",
        description="the license of what is downloaded, by its SPDX identifier, such as CC-BY-4.0",
    )
    reports: ReportStatistics = Field(description="a table [reports] with since and a scale for each table")
    incidents: IncidentStatistics = Field(
        description="a table [incidents] with since, a scale for each table and categories"
    )
    inhabitants: Mapping[AreaId, Annotated[Count, Field(ge=0)]] = Field(
        default_factory=dict, description="by area of the first area set, a whole number"
    )


def crimes_of(table: Mapping[str, Any] | None) -> list[Any]:
    """The categories of recorded crime as they are written, whatever else is wrong."""
    incidents = (table or {}).get("incidents")
    listed = incidents.get("categories") if isinstance(incidents, dict) else None
    return listed if isinstance(listed, list) else []
