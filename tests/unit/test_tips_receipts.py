"""The receipt: what a person may get wrong and what is noticed."""

import hashlib
import hmac
import random
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.tips import receipts

# From an ASCII character to the same one, full-width.
FULL_WIDTH = 0xFEE0
PEPPER, LOOKUP_PEPPER = b"p" * 32, b"q" * 32
KEYS = st.text("ABCDEFGHIJabcdefghij0123456789_-", min_size=22, max_size=128)
RECEIPTS = st.text(receipts.ALPHABET, min_size=20, max_size=20)


def plain(receipt: str) -> str:
    return receipts.shown(receipt).replace("-", "")


@given(KEYS)
def test_the_same_key_gives_the_same_receipt_of_20_characters(key: str) -> None:
    """A retry after a lost answer shows it again; another pepper gives another one."""
    receipt = receipts.from_key(key, PEPPER)
    assert len(receipt) == 20
    assert set(receipt) <= set(receipts.ALPHABET)
    assert receipts.from_key(key, PEPPER) == receipt
    assert receipts.from_key(key, LOOKUP_PEPPER) != receipt


def test_the_receipt_is_the_first_100_bits_of_the_hmac() -> None:
    """A fixed example, from the definition: whoever changes it loses every receipt that was given out."""
    digest = hmac.new(PEPPER, b"A" * 22, hashlib.sha256).digest()
    bits = "".join(f"{byte:08b}" for byte in digest)[:100]
    expected = "".join(receipts.ALPHABET[int(bits[place : place + 5], 2)] for place in range(0, 100, 5))
    assert receipts.from_key("A" * 22, PEPPER) == expected


def test_what_is_derived_stays_the_same_for_ever() -> None:
    """Stored lookup ids must be found by every later version: these values may never change."""
    receipt = receipts.from_key("0123456789abcdefghijkl", PEPPER)
    assert receipts.shown(receipt) == "2RYW-83NW-NQFG-YY6N-BZF87"
    assert (
        receipts.lookup_id(receipt, LOOKUP_PEPPER).hex()
        == "04f40fabd3de795b838ec43059ade18447e0748e14349dad83458d0dca6c61f7"
    )


@given(RECEIPTS)
def test_what_is_shown_can_be_read(receipt: str) -> None:
    """Five groups, the last one with the check character."""
    shown = receipts.shown(receipt)
    assert [len(group) for group in shown.split("-")] == [4, 4, 4, 4, 5]
    assert receipts.read(shown) == receipt


@given(RECEIPTS, st.randoms(use_true_random=False))
def test_case_spaces_hyphens_and_look_alikes_are_forgiven(receipt: str, chance: random.Random) -> None:
    """O is 0, I and L are 1, whatever the case, wherever the spaces and hyphens are."""
    alike = {"0": "0Oo\uff10", "1": "1IiLl\uff11"}
    typed = "".join(
        chance.choice(
            ["", " ", "-", "\u2013", "\t", "\u00a0", "\u202f", "\u3000", "\uff0d", "\u00ad", "\u200b"]
        )
        + chance.choice(
            alike.get(character, character + character.lower() + chr(ord(character) + FULL_WIDTH))
        )
        for character in plain(receipt)
    )
    assert receipts.read(f" {typed} ") == receipt


def test_any_one_wrong_character_is_noticed() -> None:
    """Every character of every place of some receipts replaced by every other one."""
    for receipt in [receipts.NO_RECEIPT, "Z" * 20, *random_receipts(40)]:
        code = plain(receipt)
        for place in range(21):
            for other in receipts.ALPHABET:
                if other != code[place]:
                    assert receipts.read(code[:place] + other + code[place + 1 :]) is None


def test_any_two_exchanged_characters_are_noticed() -> None:
    """Not only neighbours: the check character's weights are all different."""
    for receipt in random_receipts(200):
        code = plain(receipt)
        for one in range(21):
            for two in range(one + 1, 21):
                if code[one] != code[two]:
                    swapped = list(code)
                    swapped[one], swapped[two] = swapped[two], swapped[one]
                    assert receipts.read("".join(swapped)) is None


def test_all_pairs_of_neighbours_at_all_places_are_told_from_their_exchange() -> None:
    """Exhaustive over the pairs: the check is linear, so zeros around them lose no case."""
    for place in range(19):
        for one in receipts.ALPHABET:
            for two in receipts.ALPHABET:
                if one != two:
                    before, after = "0" * place, "0" * (18 - place)
                    code = plain(before + one + two + after)
                    assert receipts.read(before + two + one + after + code[20]) is None


@pytest.mark.parametrize(
    "code",
    [
        "",
        " ",
        "-----",
        "0" * 20,
        "0" * 22,
        "U" * 21,
        "é" * 21,
        "0" * 21 + "!",
        "\0" * 21,
        "0" * 100_000,
        "٠" * 21,
    ],
)
def test_what_is_no_receipt_is_none(code: str) -> None:
    """Whatever is sent, reading it raises nothing."""
    assert receipts.read(code) is None


@given(st.text())
def test_reading_never_raises(code: str) -> None:
    """Any text is a receipt or none."""
    receipt = receipts.read(code)
    assert receipt is None or len(receipt) == 20


def test_lookup_ids_differ_by_receipt_and_by_pepper() -> None:
    """32 bytes that tell nothing without the pepper."""
    one, two = random_receipts(2)
    assert len(receipts.lookup_id(one, PEPPER)) == 32
    assert len({receipts.lookup_id(r, p) for r in (one, two) for p in (PEPPER, LOOKUP_PEPPER)}) == 4


def test_a_submissions_macs_depend_on_key_body_and_pepper() -> None:
    """The body's MAC cannot be tried out without the key, even with the pepper."""
    macs = {
        receipts.submission_macs(key, body, pepper)
        for key in ("a" * 22, "b" * 22)
        for body in (b"1", b"2")
        for pepper in (PEPPER, LOOKUP_PEPPER)
    }
    assert len({body_mac for _, body_mac in macs}) == 8
    assert len({key_mac for key_mac, _ in macs}) == 4


@pytest.mark.parametrize(
    ("key", "strong"),
    [
        pytest.param(secrets.token_urlsafe(64), True, id="made by secrets"),
        ("abcdefghij" + "a" * 12, True),
        ("abcdefghi" + "a" * 13, False),
        ("abcdefghijklmnopqrstu", False),
        ("abcdefghij" * 13, False),
        ("abcdefghij klmnopqrstuv", False),
        ("abcdefghijklmnopqrstuv\n", False),
        ("éabcdefghijklmnopqrstuv", False),
    ],
)
def test_a_key_has_the_form_of_128_random_bits(key: str, strong: bool) -> None:
    """22 to 128 characters of base64url, at least 10 of them different."""
    assert receipts.is_strong_key(key) is strong


def random_receipts(count: int) -> list[str]:
    """Receipts of a fixed seed, so that a failure comes again."""
    chance = random.Random(7)
    return ["".join(chance.choice(receipts.ALPHABET) for _ in range(20)) for _ in range(count)]
