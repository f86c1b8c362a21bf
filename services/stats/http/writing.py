"""Figures as JSON, CSV (RFC 4180, UTF-8) and a Frictionless data package. Pure; the same figures give the
same bytes.
"""

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from services.stats.core.figures import COLUMNS, Figure, Rate

JSON, CSV, ZIP = "application/json", "text/csv", "application/zip"
RELEASE_HEADER = ("table", "period", *COLUMNS, "value", "margin")
_SAYS: Mapping[str, str] = {
    "table": "the table of the figure",
    "period": "the period that was released",
    "week_part": "the part of an ISO week that lies in one month",
    "area": "an area of the municipality; unknown where it is not known",
    "category": "what it is about; other where it is none of the list",
    "took": "how long it took a unit to acknowledge",
    "outcome": "how it ended",
    "value": "how many, with noise that protects people: it may be below 0, which is not to be cut off",
    "margin": "in 95 % of all cells the count lies no more than this from the value",
}
# What a spreadsheet would take for a formula.
_ACTIVE = ("=", "+", "-", "@", "\t", "\r")
_LONG_AGO = (1980, 1, 1, 0, 0, 0)


def plain(value: float) -> float | int:
    """A whole number without a point."""
    return int(value) if value == int(value) else value


def as_json(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def rows_as_csv(header: Sequence[str] | None, rows: Iterable[Sequence[Any]]) -> bytes:
    """Lines of CSV; a text that a spreadsheet would run has an apostrophe before it."""
    written = io.StringIO()
    writer = csv.writer(written)
    if header:
        writer.writerow(header)
    writer.writerows([_safe(value) for value in row] for row in rows)
    return written.getvalue().encode()


def _safe(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_ACTIVE) else value


def figure_as_json(figure: Figure, rate: Rate | None = None) -> dict[str, Any]:
    shown: dict[str, Any] = {
        **figure.place,
        "value": plain(figure.value),
        "margin": plain(figure.margin),
    }
    if rate:
        shown |= {
            "inhabitants": rate.inhabitants,
            "per_1000": plain(rate.value),
            "per_1000_margin": plain(rate.margin),
        }
    return shown


def release_as_csv(release: Mapping[str, Any], figures: Iterable[Figure]) -> bytes:
    """All figures of a release, one a line."""
    return rows_as_csv(
        RELEASE_HEADER,
        (
            (
                one.table,
                release["period"],
                *(one.place.get(column, "") for column in COLUMNS),
                plain(one.value),
                plain(one.margin),
            )
            for one in figures
        ),
    )


def data_package(release: Mapping[str, Any], files: Mapping[str, bytes], license_id: str) -> dict[str, Any]:
    """The description of a release's `figures.csv` and `release.json` (Frictionless Data Package 1.0), with
    their license by its SPDX identifier."""
    fields: list[dict[str, Any]] = [
        {
            "name": name,
            "type": "number" if name in ("value", "margin") else "string",
            "description": _SAYS[name],
        }
        for name in RELEASE_HEADER
    ]
    for field in fields:
        if field["name"] in ("table", "period", "value", "margin"):
            field["constraints"] = {"required": True}
    csv_file, json_file = "figures.csv", "release.json"
    return {
        "profile": "data-package",
        "name": f"{release['table']}-{release['period']}-{release['edition']}".lower(),
        "id": release["digest"],
        "title": f"{release['table']}, {release['period']}, {release['edition']} edition",
        "description": "Counts with noise of differential privacy. No figure is exact: see `margin`.",
        "licenses": [{"name": license_id, "path": f"https://spdx.org/licenses/{license_id}.html"}],
        "resources": [
            {
                "profile": "tabular-data-resource",
                **_resource("figures", csv_file, CSV, files[csv_file]),
                "rows": files[csv_file].count(b"\r\n") - 1,
                "dialect": {"delimiter": ",", "lineTerminator": "\r\n", "quoteChar": '"', "header": True},
                "schema": {"fields": fields, "missingValues": [""]},
            },
            {
                "profile": "data-resource",
                **_resource("release", json_file, JSON, files[json_file]),
                "description": "the release as it was published and signed",
            },
        ],
    }


def _resource(name: str, path: str, media_type: str, content: bytes) -> dict[str, Any]:
    return {
        "name": name,
        "path": path,
        "format": path.rpartition(".")[2],
        "mediatype": media_type,
        "encoding": "utf-8",
        "bytes": len(content),
        "hash": f"sha256:{hashlib.sha256(content).hexdigest()}",
    }


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A zip that is the same whenever it is made."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _LONG_AGO)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return whole.getvalue()
