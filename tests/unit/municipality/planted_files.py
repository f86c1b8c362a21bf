"""Mistakes of whole files, of keys, of municipality.toml and of texts."""

from tests.unit.municipality.edits import (
    IBUURT,
    LAMP,
    URL,
    C,
    G,
    M,
    Planted,
    R,
    U,
    W,
    append,
    feature,
    remove,
    swap,
    write,
)

TARGETS = "targets = { acknowledge_hours = 24, resolve_hours = 120 }"

FILES: dict[str, Planted] = {
    # files
    "file missing": Planted(remove(U), U, "(whole file)", "missing", "add it"),
    "area file missing": Planted(remove(G), G, "(whole file)", "missing", "add it"),
    "file is a folder": Planted(
        remove(W, then_a_folder=True),
        W,
        "(whole file)",
        "cannot be read",
        "readable",
    ),
    "byte order mark": Planted(
        write(C, b"\xef\xbb\xbf[[categories]]"),
        C,
        "line 1",
        "byte order mark",
        "without BOM",
    ),
    "not UTF-8": Planted(write(W, b"# a\n# caf\xe9\n"), W, "line 2", "not UTF-8", "UTF-8"),
    "TOML syntax": Planted(write(R, b"[[rules]]\nid = nonsense\n"), R, "line 2", "no TOML", "mend the line"),
    "TOML ends early": Planted(write(R, b'a = 1\nb = "'), R, "line 2", "no TOML", "mend the line"),
    "TOML nested too deep": Planted(write(R, b"a = " + b"[" * 9999), R, "(whole file)", "too deep", "flat"),
    "JSON syntax": Planted(write(G, b'{\n"type": }'), G, "line 2", "no JSON", "export"),
    "JSON nested too deep": Planted(write(G, b"[" * 99999), G, "(whole file)", "too deep", "export"),
    "JSON not a number": Planted(write(G, b'{"a": NaN}'), G, "(whole file)", "NaN", "export"),
    "JSON null": Planted(write(G, b"null"), G, "(whole file)", "null", "export"),
    "nothing in it": Planted(write(C, b""), C, "categories", "no list", "[[categories]]"),
    "a table for a list": Planted(write(U, b"[units]"), U, "units", "no list", "[[units]]"),
    "an entry that is no table": Planted(
        write(U, b"units = [3]"),
        U,
        "units[0]",
        "no table",
        "write a table with id",
    ),
    # keys
    "unknown key of a file": Planted(
        write(W, b"[reason.a]"),
        W,
        "reason",
        'key "reason"',
        'did you mean "reasons"?',
    ),
    "unknown key": Planted(
        swap(C, LAMP, LAMP + "\nurgnt = true"), C, "categories[0].urgnt", '"urgnt"', '"urgent"?'
    ),
    "unknown key, nothing near": Planted(
        swap(C, LAMP, LAMP + "\nzzz = 1"),
        C,
        "categories[0].zzz",
        '"zzz"',
        "allowed: id, kind, public",
    ),
    "unknown key inside a table": Planted(
        swap(C, TARGETS, TARGETS.replace("resolve_hours", "solve_hours")),
        C,
        "categories[0].targets.solve_hours",
        '"solve_hours"',
        'did you mean "resolve_hours"?',
    ),
    "unknown key of a channel": Planted(
        swap(U, f'"{URL}"', f'"{URL}"\nsecret = "x"'),
        U,
        "units[0].channels[0].secret",
        '"secret"',
        "allowed: kind, url, acknowledged_field",
    ),
    "unknown key of the municipality": Planted(
        append(M, '\n[areas]\na = "b"\n'),
        M,
        "areas",
        '"areas"',
        '"area_sets"?',
    ),
    "key missing": Planted(
        swap(C, 'kind = "issue"\n', ""), C, "categories[0].kind", "missing", '"tip" or "issue"'
    ),
    # municipality.toml
    "slug": Planted(swap(M, '"ibuurt"', '"I Buurt"'), M, "slug", "not written", "lower-case"),
    "zone": Planted(swap(M, "Europe/Amsterdam", "Europe/Ede"), M, "zone", "no IANA", "Europe/Amsterdam"),
    "zone that is a folder": Planted(
        swap(M, "Europe/Amsterdam", "Europe"),
        M,
        "zone",
        "no IANA",
        "Europe/Amsterdam",
    ),
    "emergency number": Planted(swap(M, '"112"', '"call us"'), M, "emergency_number", "not written", "112"),
    "number for a text": Planted(swap(M, '"112"', "112"), M, "emergency_number", "no text: 112", "112"),
    "privacy notice in one language": Planted(
        swap(M, 'nl = "Wij vragen', '# "Wij vragen'), M, "privacy_notice.nl", "missing", "add nl"
    ),
    "no languages": Planted(swap(M, '["nl", "en"]', "[]"), M, "languages", "empty", "default first"),
    "language tag": Planted(
        swap(M, '"nl", "en"', '"nl", "en", "EN"'), M, "languages[2]", "not written", "tag"
    ),
    "language twice": Planted(swap(M, '"nl", "en"', '"nl", "en", "nl"'), M, "languages", "twice", "once"),
    "no area sets": Planted(
        write(M, IBUURT.joinpath(M).read_bytes().split(b"[[")[0]),
        M,
        "area_sets",
        "no list",
        "[[area_sets]]",
    ),
    "area file outside the folder": Planted(
        swap(M, '"districts.geojson"', '"../boston/neighborhoods.geojson"'),
        M,
        "area_sets[0].file",
        "not written",
        "in this folder",
    ),
    "name property missing": Planted(
        swap(M, 'name_property = "names"', ""),
        M,
        "area_sets[0].name_property",
        "missing",
        "area's name",
    ),
    # texts
    "language missing": Planted(
        swap(C, ', en = "Broken street light"', ""),
        C,
        "categories[0].names.en",
        "missing",
        "add en",
    ),
    "language unknown": Planted(
        swap(U, 'en = "Town', 'fr = "Mairie", en = "Town'),
        U,
        "units[0].names.fr",
        '"fr"',
        "nl, en",
    ),
    "reason's language missing": Planted(
        swap(W, 'en = "The neighbourhood police of', '# "'),
        W,
        "reasons.police_of_your_district.en",
        "missing",
        "add en",
    ),
    "area's language missing": Planted(
        feature(1, properties={"id": "oakwood", "names": {"nl": "Oakwood"}}),
        G,
        "features[1].properties.names.en",
        "missing",
        "add en",
    ),
    "text empty": Planted(
        swap(C, '"Broken street light"', '" "'),
        C,
        "categories[0].names.en",
        "empty",
        "write the words",
    ),
    "text of two lines": Planted(
        swap(C, '"Broken street light"', r'"Broken\nlight"'),
        C,
        "categories[0].names.en",
        "line break",
        "one line",
    ),
}
