"""What the topic of releases says by itself: which records are the chain, and why the others are none of it.

Whoever reads the topic alone comes to the same (docs/subscribing.md): the first record that continues the
chain is the release of its number.
"""

from collections.abc import Collection, Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

from services.stats.core.periods import begin_of
from services.stats.core.release import NOTHING_BEFORE, Link, fault
from services.stats.core.spec import Debit, Spec
from shared.events import StatisticsReleased


class Read(NamedTuple):
    """A release as it stands on the topic; `signed` says whether its signature is that of its key."""

    offset: int
    release: StatisticsReleased
    signed: bool


class Left(NamedTuple):
    """A record that is no part of the chain, and why, as a code."""

    offset: int
    number: int
    why: str


def chain(read: Iterable[Read], known: Collection[str]) -> tuple[list[StatisticsReleased], list[Left]]:
    """The releases in order, and the records that are none. The same record again is no fault: a writer that
    died sends it twice, and what comes before its place was sent again after a loss."""
    releases: list[StatisticsReleased] = []
    left: list[tuple[Left, StatisticsReleased]] = []
    seen: set[tuple[str | None, str, str | None]] = set()
    signers: list[str] = []
    for offset, release, signed in read:
        if release.number <= len(releases) and releases[release.number - 1] == release:
            continue
        after = Link(len(releases), releases[-1].digest if releases else NOTHING_BEFORE)
        why = fault(release, after, known, signers[:-1], signed=signed)
        taken = _named(release) in seen if why is None else release.number <= len(releases)
        if why in (None, "broken_chain") and taken:
            why = "second_release"
        if why is not None:
            left.append((Left(offset, release.number, why), release))
            continue
        seen.add(_named(release))
        releases.append(release)
        if signers[-1:] != [release.signing_key]:
            signers.append(release.signing_key)
    by_digest = {release.digest: release for release in releases}
    return releases, [one for one, release in left if by_digest.get(release.digest) != release]


def unfit(release: StatisticsReleased, specs: Sequence[Spec]) -> str | None:
    """Why a release is not what its spec promises, as a sentence; None where it is."""
    spec = next((one for one in specs if one.id == release.spec), None)
    if spec is None:
        return f"{release.spec} is not known here"
    table = next((one for one in spec.tables if one.id == release.table), None)
    if table is None:
        return f"{spec.id} has no table {release.table}"
    if begin_of(release.period) < table.since:
        return f"{spec.id} begins {table.id} on {table.since}"
    if release.state == "withheld":
        return "it is withheld and has figures all the same" if release.cells else None
    if release.edition == "final":
        return None
    if release.scale != table.scale:
        return f"its scale is {release.scale}, and {spec.id} promises {table.scale}"
    if [cell.cell for cell in release.cells] != table.cells():
        return f"its cells are not those of {table.id}"
    return None


def spent(releases: Iterable[StatisticsReleased]) -> dict[tuple[str, str], Debit]:
    """What the ledger must say, by table and period: each first edition with figures, once."""
    return {
        (table, release.period): Debit(table, begin_of(release.period), Fraction(1, release.scale))
        for release in releases
        if release.scale and (table := release.table or "")
    }


def _named(release: StatisticsReleased) -> tuple[str | None, str, str | None]:
    return release.table, release.period, release.edition
