"""python -m shared.municipality FOLDER: checks a municipality's folder."""

import argparse
import sys
from pathlib import Path

from shared.errors import MunicipalityError
from shared.municipality import Municipality, read
from shared.municipality.coverage import sorts_of
from shared.municipality.references import overlaps


def main(arguments: list[str]) -> int:
    """0 and one line about the municipality, and one for each two rules whose order decides; or 1 and one
    line per mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m shared.municipality",
        description="Check a municipality's folder. Prints every mistake with its file, its place in the "
        "file, what is wrong and what to write instead. Exit code 0: no mistakes; 1: mistakes.",
    )
    parser.add_argument("folder", type=Path, help="such as deploy/municipalities/ibuurt")
    folder: Path = parser.parse_args(arguments).folder
    try:
        municipality = read(folder)
        checked = _check_outlines(municipality)
    except MunicipalityError as error:
        sys.stdout.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{_summary(municipality)}{checked}\n")
    for first, second in overlaps(municipality.rules, sorts_of(municipality.categories.values())):
        sys.stdout.write(
            f"routing.toml: some reports fit both {first.id!r} and {second.id!r}; the first one decides: they"
            f" go to {first.unit}, not to {second.unit}\n"
        )
    return 0


def _check_outlines(municipality: Municipality) -> str:
    try:
        from shared.municipality.outlines import outlines
    except ImportError:
        return "; outlines not checked: shapely is not installed here"
    outlines(municipality)
    return ""


def _summary(municipality: Municipality) -> str:
    areas = ", ".join(f"{len(one.areas)} areas of {one.id}" for one in municipality.area_sets.values())
    return (
        f"{municipality.slug} is right, version {municipality.version}: {areas}, "
        f"{len(municipality.categories)} categories, {len(municipality.units)} units, "
        f"{len(municipality.rules)} rules, {len(municipality.reasons)} reasons"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
