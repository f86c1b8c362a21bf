"""What schemathesis does for us besides: run by it (SCHEMATHESIS_HOOKS), in its own process.

It knows the receipts and ids that are there (IBUURT_OPENAPI_KNOWN) and puts them into requests that are sound
anyhow. It leaves out what openapi_by_design.py excuses, and tells how often (IBUURT_OPENAPI_EXCUSED).
"""

import atexit
import hashlib
import itertools
import json
import os
import secrets
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import strategies
from schemathesis import AuthContext, Case, HookContext, Response
from schemathesis.core.failures import Failure
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation.meta import TestPhase

from shared.municipality import read
from tests.integration.openapi_by_design import EXCUSES
from tests.integration.openapi_seed import READER
from tests.integration.tips_server import IBUURT, LATITUDE, LONGITUDE, SECRET_WORDS
from tests.photos import encoded, picture

KNOWN: dict[str, Any] = json.loads(Path(os.environ["IBUURT_OPENAPI_KNOWN"]).read_text())
EXCUSED = Path(os.environ["IBUURT_OPENAPI_EXCUSED"])
MINE = "/v1/reports/mine"
PHOTOS = [encoded(picture(), kind) for kind in ("JPEG", "PNG", "WEBP", "HEIF")] + [b"no photo", b""]
# What would use up the reports that are there.
ENDING = (f"DELETE {MINE}", f"POST {MINE}/withdrawal")

_numbers = itertools.count()
_excused: Counter[int] = Counter()
# What answers gave: receipts, photos that wait for a report, and cursors.
_fresh: list[str] = []
_staged: list[str] = []
_cursors: list[str] = []


for kind in ("jpeg", "png", "webp", "heic"):
    # A photo of another kind than it says is taken too: what it is, its bytes say.
    schemathesis.openapi.media_type(f"image/{kind}", strategies.sampled_from(PHOTOS))


def _turn(*of: Sequence[Any]) -> Iterator[Any]:
    return itertools.cycle([one for each in of for one in each])


RECEIPTS = _turn(KNOWN["receipts"], KNOWN["ended"])
ENDED = _turn(KNOWN["ended"])
REPORTS = _turn(KNOWN["reports"], KNOWN["erased"])
SPAM = _turn(KNOWN["spam"], KNOWN["erased"])
STORED = _turn(KNOWN["photos"])
ISSUES = _turn(KNOWN["issues"], KNOWN["gone"])
ERASED = _turn(KNOWN["erased"])
CATEGORIES = {
    kind: _turn([one.id for one in read(IBUURT).categories.values() if one.kind == kind])
    for kind in ("issue", "tip")
}


@schemathesis.auth(refresh_interval=None)
class _Credentials:
    """A real receipt or token where one is wanted; one in ten is another or none at all."""

    def get(self, case: Case[Any], context: AuthContext) -> str | None:
        path, number = context.operation.path, next(_numbers)
        if path.startswith(MINE):
            return f"Receipt {_receipt(context.operation.label, number)}"
        for begin, token in KNOWN["tokens"].items():
            if path.startswith(begin):
                return f"Bearer {'of somebody else' if number % 10 == 9 else token}"
        return None

    def set(self, case: Case[Any], data: str, context: AuthContext) -> None:
        case.headers["Authorization"] = data


def _receipt(operation: str, number: int) -> str:
    if number % 10 == 9:
        return "0000-0000-0000-0000-00000" if number % 20 == 9 else "what was it"
    if operation not in ENDING:
        return str(next(RECEIPTS))
    if number % 2 or not (_fresh or _sent()):
        return str(next(ENDED))
    return _fresh.pop()


def _sent() -> bool:
    """Whether another report could be sent."""
    body = {"kind": "issue", "category": "street_light", "description": "One more"}
    request = urllib.request.Request(
        KNOWN["url"] + "/v1/reports",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Idempotency-Key": secrets.token_urlsafe(24)},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            _fresh.append(json.load(answer)["receipt"])
    except urllib.error.HTTPError as error:
        error.close()
        return False
    return True


@schemathesis.hook
def after_call(context: HookContext, case: Case[Any], response: Response) -> None:
    """Remember what the answer gives."""
    if response.status_code == 201 and case.operation.label == "POST /v1/reports":
        _fresh.append(response.json()["receipt"])
    elif response.status_code == 201 and case.operation.label == "POST /v1/photos":
        _staged.append(response.json()["photo"])
    elif response.status_code == 200 and case.operation.label == "GET /v1/issues":
        _, _, cursor = (response.json()["next"] or "").partition("cursor=")
        _cursors.extend([cursor[:32]] if cursor else [])


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
    """Put what is there in the place of what was made up, but for one in four, and where it is meant to be
    wrong; a sequence of requests keeps the ids of its own answers."""
    number, meta = next(_numbers), case.meta
    if meta is None or number % 4 == 3:
        return
    if meta.phase.name != TestPhase.STATEFUL and not meta.is_negative_at(ParameterLocation.PATH):
        _put_ids(case)
    if "Idempotency-Key" in case.headers and not meta.is_negative_at(ParameterLocation.HEADER):
        case.headers["Idempotency-Key"] = f"a-key-of-0123456789-{number // 2:06}"
    if meta.generation.mode.is_positive:
        _put_query(case)
        _put_body(case, number)


def _put_ids(case: Case[Any]) -> None:
    ids = case.path_parameters
    if "unit" in ids:
        ids["unit"] = "public_space"
    if "photo_id" in ids:
        receipt, report_id, ids["photo_id"] = next(STORED)
        if "report_id" in ids:
            ids["report_id"] = report_id
        elif case._has_explicit_auth:
            case.headers["Authorization"] = f"Receipt {receipt}"
    elif "destination" in ids:
        ids["report_id"], ids["destination"] = next(ERASED), READER
    elif "report_id" in ids:
        ids["report_id"] = next(SPAM if case.path.endswith("/spam") else REPORTS)
    elif "issue_id" in ids:
        ids["issue_id"] = next(ISSUES)


def _put_query(case: Case[Any]) -> None:
    known = {"language": "nl", "area": "district:oakwood", "cursor": _cursors[-1] if _cursors else None}
    for name, value in known.items():
        if name in case.query and value:
            case.query[name] = value
    if "category" in case.query:
        case.query["category"] = "graffiti" if "latitude" in case.query else ["graffiti", "street_light"]


def _put_body(case: Case[Any], number: int) -> None:
    body = case.body
    if not isinstance(body, dict):
        return
    if "photos" in body:
        body["photos"] = [_staged.pop()] if _staged and number % 2 else []
    if "unit" in body:
        body["unit"] = "public_space"
    if body.get("digest"):
        body["digest"] = hashlib.sha256(SECRET_WORDS.encode()).hexdigest()
    if case.operation.label == "POST /v1/reports":
        _put_report(body, number)


def _put_report(body: dict[str, Any], number: int) -> None:
    """Make it one that this municipality takes, as far as the document cannot say that; but for one part."""
    left = number % 16
    if left != 0:
        body["category"] = next(CATEGORIES[body["kind"]])
    if left != 1:
        body["answers"] = {}
    if left != 2:
        body["happened"] = {"from": "2020-01-31", "to": None} if body.get("happened") else None
    if left != 4:
        body["not_an_emergency"] = True
    if left != 5 and body.get("language") is not None:
        body["language"] = "en"
    if left != 6 and body["kind"] == "tip":
        body["contact"] = None
    location = body.get("location") or {}
    if left != 8 and location.get("point"):
        location["point"] = {"latitude": LATITUDE, "longitude": LONGITUDE}
    if left != 9 and location.get("area"):
        location["area"] = {"district": "oakwood"}


@schemathesis.hook
def filter_failure(context: HookContext, failure: Failure, case: Case[Any], response: Response) -> bool:
    """Whether it counts: what openapi_by_design.py excuses does not."""
    try:
        problem = response.json()
    except ValueError:
        return True
    if not isinstance(problem, dict):
        return True
    code = str(problem.get("type", "")).rpartition(":")[2]
    pointers = [error["pointer"] for error in problem.get("errors", [])]
    for number, one in enumerate(EXCUSES):
        if one.covers(type(failure).__name__, case.operation.label, code, pointers):
            _excused[number] += 1
            return False
    return True


@atexit.register
def _tell() -> None:
    """How often each excuse was needed, by its place."""
    EXCUSED.write_text(json.dumps(_excused))
