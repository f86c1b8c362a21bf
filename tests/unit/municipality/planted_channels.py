"""Mistakes in the ways to reach a unit, and in what may leave by them."""

from tests.unit.municipality.edits import URL, C, Edit, Planted, U, append, swap

HOOK = f'[[units.channels]]\nkind = "webhook"\nurl = "{URL}"'
FRAUD = 'id = "fraud"\nkind = "tip"'
LAMP_ENDS = 'public_text = "words"\ncontact = true'
LAST = "units[7]"


def channel(*lines: str) -> Edit:
    """The first unit's only channel, in the place of its webhook."""
    return swap(U, HOOK, "\n".join(("[[units.channels]]", *lines)))


def leaves(table: str, of: str = FRAUD) -> Edit:
    return swap(C, of, f"{of}\nleaves = {table}")


CHANNELS: dict[str, Planted] = {
    "channel without a kind": Planted(
        swap(U, 'kind = "webhook"\n', ""), U, "units[0].channels[0].kind", "missing", '"email"'
    ),
    "channel that is no table": Planted(
        swap(U, HOOK, "channels = [3]"), U, "units[0].channels[0]", "no table", "at least one"
    ),
    "e-mail without an address": Planted(
        channel('kind = "email"'), U, "units[0].channels[0].address", "missing", "team@town.example"
    ),
    "address of no mailbox": Planted(
        channel('kind = "email"', 'address = "front desk@town"'),
        U,
        "units[0].channels[0].address",
        "not written",
        "team@town.example",
    ),
    "two addresses in one": Planted(
        channel('kind = "email"', 'address = "a@town.example, b@town.example"'),
        U,
        "units[0].channels[0].address",
        "not written",
        "team@town.example",
    ),
    "line break in an address": Planted(
        channel('kind = "email"', 'address = "a@town.example\\nBcc: b@town.example"'),
        U,
        "units[0].channels[0].address",
        "not written",
        "team@town.example",
    ),
    "address of a webhook": Planted(
        channel('kind = "webhook"', f'url = "{URL}"', 'address = "team@town.example"'),
        U,
        "units[0].channels[0].address",
        "unknown key",
        "allowed: kind, url, acknowledged_field",
    ),
    "url of a desk": Planted(
        channel('kind = "desk"', f'url = "{URL}"'),
        U,
        "units[0].channels[0].url",
        "unknown key",
        "allowed: kind",
    ),
    "fallback of another kind": Planted(
        append(U, '\n[[units.fallback]]\nkind = "letter"\n'),
        U,
        f"{LAST}.fallback[0].kind",
        "'letter'",
        '"desk"',
    ),
    "fallback that is the channel again": Planted(
        append(
            U,
            '\n[[units.fallback]]\nkind = "webhook"\nurl = "https://south.police.ibuurt.example/tips"\n'
            'acknowledged_field = "officer.assigned"\n',
        ),
        U,
        f"{LAST}.fallback",
        "that channel again",
        "another way",
    ),
    "words of a tip by e-mail": Planted(
        leaves('{ email = "words" }'), C, "categories[14].leaves", "of a tip ever", 'email = "notice"'
    ),
    "codes of a tip by e-mail": Planted(
        leaves('{ webhook = "codes", email = "codes" }'),
        C,
        "categories[14].leaves",
        "of a tip ever",
        'email = "notice"',
    ),
    "words by e-mail where the police prevents": Planted(
        swap(
            C,
            'urgent = false\nregime = "gdpr"\nnames = { nl = "Straatverlichting kapot"',
            'urgent = false\nleaves = { email = "words" }\nregime = "led"\n'
            'names = { nl = "Straatverlichting kapot"',
        ),
        C,
        "categories[0].leaves",
        "prevented or detected",
        'email = "codes"',
    ),
    "more than everything": Planted(
        leaves('{ webhook = "photos" }'), C, "categories[14].leaves.webhook", "'photos'", '"notice"'
    ),
    "what leaves by the desk": Planted(
        leaves('{ desk = "words" }'),
        C,
        "categories[14].leaves.desk",
        "unknown key",
        "allowed: webhook, email",
    ),
}
