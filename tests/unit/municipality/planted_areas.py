"""Mistakes in the areas' outlines."""

from tests.unit.municipality.edits import G, Planted, areas, feature, polygon, ring, turn, write

GEOMETRY = "features[2].geometry"
COORDINATES = f"{GEOMETRY}.coordinates"

AREAS: dict[str, Planted] = {
    # areas
    "no features": Planted(
        write(G, b'{"type": "FeatureCollection"}'),
        G,
        "features",
        "no FeatureCollection",
        "export",
    ),
    "areas are a list": Planted(write(G, b"[]"), G, "features", "no FeatureCollection", "export"),
    "no feature": Planted(
        areas(lambda v: v["features"].append(7)),
        G,
        "features[8]",
        "no feature",
        "write a Feature",
    ),
    "id property missing": Planted(
        feature(2, properties={"names": {"nl": "a", "en": "b"}}),
        G,
        "features[2].properties.id",
        "missing",
        "beginning with a letter",
    ),
    "id of an area": Planted(
        feature(7, properties={"id": "Zuider veld", "names": "Zuiderveld"}),
        G,
        "features[7].properties.id",
        "not written",
        "1 to 40",
    ),
    "id of an area twice": Planted(
        feature(2, properties={"id": "oakwood", "names": "Oakwood"}),
        G,
        "features[2].properties.id",
        "twice",
        "of its own",
    ),
    "name of an area": Planted(
        feature(1, properties={"id": "oakwood", "names": 5}),
        G,
        "features[1].properties.names",
        "no table: 5",
        "one text per language",
    ),
    "no geometry": Planted(feature(2, geometry=None), G, GEOMETRY, "missing geometry", "Polygon"),
    "geometry of another type": Planted(
        feature(2, geometry={"type": "Point", "coordinates": [5.6, 52.0]}),
        G,
        GEOMETRY,
        "Point",
        "a MultiPolygon",
    ),
    "empty polygon": Planted(
        feature(2, geometry={"type": "Polygon", "coordinates": []}),
        G,
        COORDINATES,
        "empty",
        "rings",
    ),
    "empty multipolygon": Planted(
        feature(2, geometry={"type": "MultiPolygon", "coordinates": []}),
        G,
        COORDINATES,
        "empty",
        "rings",
    ),
    "ring of a multipolygon": Planted(
        feature(2, geometry={"type": "MultiPolygon", "coordinates": [[[[5, 52], [6, 52], [5, 52]]]]}),
        G,
        f"{COORDINATES}[0][0]",
        "fewer than 4",
        "at least 4",
    ),
    "ring is not closed": Planted(
        ring(2, lambda r: r.pop() and None),
        G,
        f"{COORDINATES}[0]",
        "not closed",
        "begins with",
    ),
    "ring of too few positions": Planted(
        feature(2, geometry=polygon([5.6, 52.0], [5.7, 52.0], [5.6, 52.0])),
        G,
        f"{COORDINATES}[0]",
        "fewer than 4",
        "at least 4",
    ),
    "ring around nothing": Planted(
        feature(2, geometry=polygon([5.6, 52.0], [5.7, 52.0], [5.7, 52.0], [5.6, 52.0])),
        G,
        f"{COORDINATES}[0]",
        "encloses nothing",
        "at least 4",
    ),
    "position that is none": Planted(
        ring(2, lambda r: r.insert(1, [5.6])),
        G,
        f"{COORDINATES}[0]",
        "no list of two finite numbers",
        "[longitude, latitude]",
    ),
    "position beyond all numbers": Planted(
        ring(2, lambda r: r.insert(1, [10**400, 52])),
        G,
        f"{COORDINATES}[0]",
        "finite",
        "[longitude, latitude]",
    ),
    "swapped beyond the pole": Planted(
        feature(2, geometry=polygon([42.3, -171.0], [42.4, -171.0], [42.4, -171.1], [42.3, -171.0])),
        G,
        f"{COORDINATES}[0]",
        "no place on Earth",
        "swap the two numbers",
    ),
    "swapped, by the time zone": Planted(
        ring(2, turn),
        G,
        f"{COORDINATES}[0]",
        "swapped it is near",
        "swap the two",
    ),
    "coordinates of a projection": Planted(
        feature(
            2,
            geometry=polygon(
                [171000.0, 450000.0], [171500.0, 450000.0], [171500.0, 1.0], [171000.0, 450000.0]
            ),
        ),
        G,
        f"{COORDINATES}[0]",
        "no place on Earth",
        "WGS 84",
    ),
}
