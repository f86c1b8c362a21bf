"""GeoJSON areas (RFC 7946), checked without a geometry library. Whether areas overlap is not checked."""

from datetime import datetime, timedelta
from typing import TypeGuard
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field

from shared.municipality.findings import Findings, join
from shared.municipality.model import Area
from shared.municipality.parts import Id, Texts
from shared.municipality.references import check_texts

SWAPPED = "swap the two numbers: GeoJSON writes [longitude, latitude]"
PROJECTED = "convert the file to WGS 84 degrees: [longitude, latitude]"
# Beyond what any projection writes; NaN and the infinities are not below it.
FAR = 1e12
EXPORT_AGAIN = "write a Polygon or a MultiPolygon with rings of at least 4 positions"


class AreaFile(BaseModel):
    """An entry of `area_sets` in municipality.toml: where the areas are and which properties name them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Id
    names: Texts
    file: str = Field(
        pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*\.(geo)?json$",
        description='the name of a file in this folder that ends in ".geojson", of A-Z a-z 0-9 _ . -',
    )
    id_property: str = Field(min_length=1, description="the property that holds the id of an area")
    name_property: str = Field(
        min_length=1,
        description="the property that holds an area's name: a text for all languages, or one per language",
    )


class AreaReader:
    """Reads the features of one file."""

    def __init__(
        self, findings: Findings, entry: AreaFile, languages: tuple[str, ...] | None, zone: str | None
    ) -> None:
        # The ids that the file claims, right or wrong; None where it could not be read.
        self.ids: frozenset[str] | None = None
        self._findings = findings
        self._entry = entry
        self._languages = languages
        self._meridian = _meridian(zone) if zone else None

    def read(self, value: object) -> dict[str, Area]:
        """The areas in the order of the file, after adding every mistake; `value` None has its own."""
        if value is None:
            return {}
        collection = value if isinstance(value, dict) else {}
        features = collection.get("features")
        if collection.get("type") != "FeatureCollection" or not isinstance(features, list) or not features:
            self._add("features", "there is no FeatureCollection with features", "export the areas again")
            return {}
        self.ids = self._claimed(features)
        areas: dict[str, Area] = {}
        for number, feature in enumerate(features):
            area = self._area(join("features", number), feature)
            if area is None:
                continue
            if area.id in areas:
                path = join("features", number, "properties", self._entry.id_property)
                self._add(path, f"the id {area.id!r} stands twice", "give each area an id of its own")
            areas.setdefault(area.id, area)
        return areas

    def _claimed(self, features: list[object]) -> frozenset[str]:
        tables = (feature.get("properties") for feature in features if isinstance(feature, dict))
        ids = (table.get(self._entry.id_property) for table in tables if isinstance(table, dict))
        return frozenset(str(one) for one in ids if isinstance(one, str | int))

    def _add(self, path: str, problem: str, mend: str) -> None:
        self._findings.add(self._entry.file, path, problem, mend)

    def _area(self, path: str, feature: object) -> Area | None:
        properties = feature.get("properties") if isinstance(feature, dict) else None
        if not isinstance(feature, dict) or not isinstance(properties, dict):
            self._add(path, "this is no feature with properties", "write a Feature with its id and name")
            return None
        geometry = feature.get("geometry")
        sound = self._geometry(join(path, "geometry"), geometry)
        keys = {"id": self._entry.id_property, "names": self._entry.name_property}
        found = {field: properties[key] for field, key in keys.items() if properties.get(key) is not None}
        # Exports number their areas; a name that is the same in every language is written once.
        if type(found.get("id")) is int:
            found["id"] = str(found["id"])
        if isinstance(found.get("names"), str):
            found["names"] = dict.fromkeys(self._languages or (), found["names"])
        found["geometry"] = geometry if sound else {}
        path = join(path, "properties")
        area = self._findings.model(self._entry.file, path, Area, found, keys)
        if area is not None:
            names = join(path, self._entry.name_property)
            check_texts(self._findings, self._entry.file, names, area.names, self._languages)
        return area

    def _geometry(self, path: str, geometry: object) -> bool:
        kind = geometry.get("type") if isinstance(geometry, dict) else None
        if not isinstance(geometry, dict) or kind not in ("Polygon", "MultiPolygon"):
            self._add(path, f"an area cannot be a {kind or 'missing geometry'}", EXPORT_AGAIN)
            return False
        coordinates = geometry.get("coordinates")
        path = join(path, "coordinates")
        if kind == "Polygon":
            return self._polygon(path, coordinates)
        if not isinstance(coordinates, list) or not coordinates:
            self._add(path, "the geometry is empty", EXPORT_AGAIN)
            return False
        sound = [self._polygon(join(path, number), polygon) for number, polygon in enumerate(coordinates)]
        return all(sound)

    def _polygon(self, path: str, rings: object) -> bool:
        if not isinstance(rings, list) or not rings:
            self._add(path, "the geometry is empty", EXPORT_AGAIN)
            return False
        mistakes = [self._ring_mistake(ring) for ring in rings]
        for number, mistake in enumerate(mistakes):
            if mistake:
                self._add(join(path, number), *mistake)
        return not any(mistakes)

    def _ring_mistake(self, ring: object) -> tuple[str, str] | None:
        """Problem and mend; the first position that is wrong stands for the ring."""
        if not isinstance(ring, list) or len(ring) < 4:
            return "a ring has fewer than 4 positions", EXPORT_AGAIN
        for position in ring:
            if mistake := _position_mistake(position):
                return mistake
        if ring[0] != ring[-1]:
            return "the ring is not closed", "end it with the position that it begins with"
        if len({tuple(position[:2]) for position in ring}) < 3:
            return "the ring encloses nothing", EXPORT_AGAIN
        longitude, latitude = ring[0][0], ring[0][1]
        if self._meridian is not None and _looks_swapped(longitude, latitude, self._meridian):
            return f"[{longitude}, {latitude}] is far from the time zone, swapped it is near", SWAPPED
        return None


def _position_mistake(position: object) -> tuple[str, str] | None:
    if not _is_position(position):
        return "a position is no list of two finite numbers", "write [longitude, latitude]"
    longitude, latitude = position[0], position[1]
    if abs(longitude) <= 180 and abs(latitude) <= 90:
        return None
    problem = f"[{longitude:.9g}, {latitude:.9g}] is no place on Earth"
    return problem, SWAPPED if abs(longitude) <= 90 and abs(latitude) <= 180 else PROJECTED


def _is_position(value: object) -> TypeGuard[list[float]]:
    return (
        isinstance(value, list)
        and len(value) in (2, 3)
        and all(type(number) in (int, float) and abs(number) < FAR for number in value)
    )


def _meridian(zone: str) -> float:
    """The longitude that a zone's standard time belongs to, in degrees east."""
    now = datetime(2026, 1, 15, tzinfo=ZoneInfo(zone))
    return (now.utcoffset() or timedelta()).total_seconds() / 240


def _looks_swapped(longitude: float, latitude: float, meridian: float) -> bool:
    """Most towns' two numbers are possible either way round, so the time zone has to tell.

    Of the 312 places of the tz database none is taken for swapped; 207 are noticed when they are.
    """
    return _apart(longitude, meridian) > 30 and _apart(latitude, meridian) < 20


def _apart(one: float, other: float) -> float:
    return abs((one - other + 180) % 360 - 180)
