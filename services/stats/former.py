"""Earlier versions of the spec, as the municipality's folder keeps them: a database that was lost knows none,
and what is left of their periods is released by them.
"""

import re
from pathlib import Path

from pydantic import ValidationError

from services.stats.core.spec import Spec, check
from shared.errors import Refusal

FOLDER = "statistics-former"


def read(folder: Path, spec: Spec) -> list[Spec]:
    """The versions before this one that the folder keeps, oldest first. Raises Refusal with the file and what
    is wrong with it."""
    town, _, version = spec.id.rpartition("-")
    found: dict[int, Spec] = {}
    for file in sorted((folder / FOLDER).glob("*.json")):
        one = _read(file)
        if one == spec and file.stem == one.id:
            # Printed, and the folder is still to be changed.
            continue
        if one.id == spec.id:
            raise Refusal(
                f"{FOLDER}/{file.name} is another {one.id} than statistics.toml, areas and categories ask "
                "for: put them back, or write the next version"
            )
        number = re.fullmatch(rf"{re.escape(town)}-([1-9][0-9]{{0,3}})", one.id)
        if number is None or int(number[1]) >= int(version) or file.stem != one.id:
            raise Refusal(
                f"{FOLDER}/{file.name} holds {one.id}: a file there is named by what it holds, and that is a "
                f"version before {spec.id}; name it so, or take it away"
            )
        found[int(number[1])] = one
    return [found[number] for number in sorted(found)]


def _read(file: Path) -> Spec:
    try:
        spec = Spec.model_validate_json(file.read_bytes())
        check(spec)
        spec.tz  # noqa: B018 - that there is such a zone
    except ValidationError as error:
        first = error.errors()[0]
        why = f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
    except KeyError:
        why = f"there is no time zone {spec.zone!r}"
    except (OSError, ValueError, Refusal) as error:
        why = str(error)
    else:
        return spec
    raise Refusal(
        f"{FOLDER}/{file.name} is not what `stats spec` prints: {why}; print it again, from the folder as it "
        "was at that version"
    )
