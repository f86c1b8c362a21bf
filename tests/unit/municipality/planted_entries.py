"""Mistakes in categories, units, reasons and rules."""

from tests.unit.municipality.edits import CENTRE, LAMP, URL, C, Planted, R, U, W, append, swap, write

RULE = '\n[[rules]]\nid = "extra"\nunit = "front_desk"\nreason = "front_desk_decides"\n'
POLICE = 'unit = "neighbourhood_police_north"\nreason'

ENTRIES: dict[str, Planted] = {
    # categories
    "id": Planted(
        swap(C, "street_light", "Street-Light"), C, "categories[0].id", "not written", "lower-case"
    ),
    "id with a line break": Planted(
        swap(U, '"front_desk"', r'"front_desk\n"'),
        U,
        "units[0].id",
        "not written",
        "lower-case",
    ),
    "kind": Planted(swap(C, '"issue"', '"report"'), C, "categories[0].kind", "'report'", '"tip" or "issue"'),
    "regime": Planted(
        swap(C, 'regime = "gdpr"', 'regime = "avg"'),
        C,
        "categories[0].regime",
        "'avg'",
        '"gdpr" or "led"',
    ),
    "text for a flag": Planted(
        swap(C, "public = true", 'public = "yes"'),
        C,
        "categories[0].public",
        "'yes'",
        "true or false",
    ),
    "public tip": Planted(
        swap(C, 'id = "fraud"\nkind = "tip"\npublic = false', 'id = "fraud"\nkind = "tip"\npublic = true'),
        C,
        "categories[14].public",
        "never published",
        "public = false",
    ),
    "no time to acknowledge": Planted(
        swap(C, "acknowledge_hours = 24", "acknowledge_hours = 0"),
        C,
        "categories[0].targets.acknowledge_hours",
        "too small: 0",
        "above 0",
    ),
    "time is a text": Planted(
        swap(C, "resolve_hours = 120", 'resolve_hours = "5 days"'),
        C,
        "categories[0].targets.resolve_hours",
        "no number",
        "such as 72",
    ),
    "endless time": Planted(
        swap(C, "resolve_hours = 120", "resolve_hours = inf"),
        C,
        "categories[0].targets.resolve_hours",
        "finite",
        "such as 72",
    ),
    "resolved before acknowledged": Planted(
        swap(C, "resolve_hours = 120", "resolve_hours = 12"),
        C,
        "categories[0].targets.resolve_hours",
        "shorter",
        "at least",
    ),
    "wait of an issue": Planted(
        swap(C, LAMP, LAMP + "\ndelivery_wait_minutes = 5"),
        C,
        "categories[0].delivery_wait_minutes",
        "delivered at once",
        "leave the key out",
    ),
    "wait too long": Planted(
        swap(C, 'id = "fraud"\nkind = "tip"', 'id = "fraud"\nkind = "tip"\ndelivery_wait_minutes = 31'),
        C,
        "categories[14].delivery_wait_minutes",
        "too large: 31",
        "0 to 30",
    ),
    "id of a category twice": Planted(
        swap(C, '"bulky_waste"', '"street_light"'),
        C,
        "categories[1].id",
        "categories[0]",
        "one of its own",
    ),
    # units
    "id of a unit twice": Planted(
        swap(U, '"parking"', '"front_desk"'),
        U,
        "units[2].id",
        "units[0]",
        "one of its own",
    ),
    "no channel": Planted(
        swap(U, '[[units.channels]]\nkind = "webhook"\nurl = "' + URL + '"', "channels = []"),
        U,
        "units[0].channels",
        "empty",
        "at least one",
    ),
    "channel of another kind": Planted(
        swap(U, '"webhook"', '"pigeon"'),
        U,
        "units[0].channels[0].kind",
        "'pigeon'",
        '"webhook"',
    ),
    "no address": Planted(swap(U, URL, "front-desk"), U, "units[0].channels[0].url", "no http", "https://"),
    "address that is broken": Planted(
        swap(U, URL, "https://[1"),
        U,
        "units[0].channels[0].url",
        "no http",
        "https://",
    ),
    "port that is none": Planted(
        swap(U, URL, "https://a.example:b"),
        U,
        "units[0].channels[0].url",
        "no http",
        "write",
    ),
    "address with a blank": Planted(
        swap(U, URL, "https://a.example/ b"),
        U,
        "units[0].channels[0].url",
        "no http",
        "",
    ),
    "no encryption": Planted(
        swap(U, "https://units", "http://units"),
        U,
        "units[0].channels[0].url",
        "without encryption",
        "https://",
    ),
    "password in the address": Planted(
        swap(U, "https://units", "https://me:secret@units"),
        U,
        "units[0].channels[0].url",
        "password",
        "take it out",
    ),
    "field that is none": Planted(
        swap(U, '"case.accepted"', '"case..accepted"'),
        U,
        "units[1].channels[0].acknowledged_field",
        "not written",
        "dotted name",
    ),
    # reasons
    "no reasons": Planted(write(W, b""), W, "reasons", "empty", "[reasons.street_works]"),
    "code of a reason": Planted(
        append(W, '\n[reasons.Bad-Code]\nnl = "a"\nen = "b"\n'),
        W,
        "reasons.Bad-Code",
        "not",
        "",
    ),
    # rules
    "unknown unit": Planted(
        swap(R, POLICE, POLICE.replace("north", "nort")),
        R,
        "rules[0].unit",
        'unit "neighbourhood_police_nort"',
        'did you mean "neighbourhood_police_north"?',
    ),
    "unknown reason": Planted(
        swap(R, '"police_on_duty"', '"police_duty"'),
        R,
        "rules[2].reason",
        '"police_duty"',
        '"police_on_duty"?',
    ),
    "unknown category": Planted(
        swap(R, 'category = ["fraud"]', 'category = ["threats", "frauds"]'),
        R,
        "rules[3].when.category[1]",
        '"frauds"',
        'did you mean "fraud"?',
    ),
    "unknown area": Planted(
        swap(R, CENTRE + '"station_quarter", "oakwood"', CENTRE + '"station_quarter", "oakwod"'),
        R,
        "rules[0].when.area.district[1]",
        'area "oakwod"',
        'did you mean "oakwood"?',
    ),
    "unknown area set": Planted(
        swap(R, CENTRE, "area = { quarter = ["),
        R,
        "rules[0].when.area.quarter",
        'area set "quarter"',
        "district",
    ),
    "unknown language of a rule": Planted(
        swap(R, 'category = ["fraud"]', 'language = ["fr"]'),
        R,
        "rules[3].when.language[0]",
        '"fr"',
        "en, nl",
    ),
    "condition that nothing fits": Planted(
        swap(R, 'category = ["fraud"]', "category = []"),
        R,
        "rules[3].when.category",
        "empty",
        "at least one value",
    ),
    "area condition that nothing fits": Planted(
        swap(R, CENTRE + '"centre", "harbour"]', CENTRE + "]"),
        R,
        "rules[6].when.area.district",
        "empty",
        "lists of areas",
    ),
    "condition that is no list": Planted(
        swap(R, 'category = ["fraud"]', 'kind = "tip"'),
        R,
        "rules[3].when.kind",
        "no list",
        '"tip", "issue"',
    ),
    "value of a condition": Planted(
        swap(R, 'category = ["fraud"]', 'urgency = ["high"]'),
        R,
        "rules[3].when.urgency[0]",
        "'high'",
        '"normal", "urgent"',
    ),
    "value of a condition twice": Planted(
        swap(R, 'category = ["fraud"]', 'category = ["fraud", "fraud"]'),
        R,
        "rules[3].when.category",
        "twice",
        "once",
    ),
    "unknown condition": Planted(
        swap(R, 'category = ["fraud"]', 'categories = ["fraud"]'),
        R,
        "rules[3].when.categories",
        '"categories"',
        'did you mean "category"?',
    ),
    "id of a rule twice": Planted(
        swap(R, 'id = "worry"', 'id = "fraud"'), R, "rules[4].id", "rules[3]", "its own"
    ),
    "no last rule": Planted(
        append(R, '[rules.when]\nlanguage = ["nl"]\n'),
        R,
        "rules[13].when",
        "may reach nobody",
        "without when",
    ),
    "default rule before the end": Planted(
        append(R, RULE), R, "rules[13]", "takes every report", "to the end"
    ),
    "rule that is never reached": Planted(
        swap(
            R,
            '[[rules]]\nid = "fraud"',
            RULE.replace("extra", "drugs")
            + '[rules.when]\ncategory = ["drug_dealing"]\nlanguage = ["nl"]\n\n[[rules]]\nid = "fraud"',
        ),
        R,
        "rules[3]",
        "'drugs' is never reached: 'police_without_area'",
        "move it before",
    ),
}
