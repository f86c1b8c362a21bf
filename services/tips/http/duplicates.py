"""Possible duplicates: what is public nearby, and "this is mine too"."""

import json
import uuid
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse, Response

from services.tips import intake, receipts
from services.tips.core import grid, public_view
from services.tips.core.duplicates import NEAR_ISSUES, near
from services.tips.core.public import OPEN
from services.tips.core.report import drop_after
from services.tips.http.desk import Desk, connection
from services.tips.http.documented import KEY_HEADER, problems
from services.tips.http.issues import JSON, LIST_URL, feed_of, issue_gone, issue_unknown
from services.tips.http.open_data import answered, documented
from services.tips.queries import issues, listing
from shared.events import Code
from shared.municipality import Category
from shared.web import Problem

# Of the issues around a place, the newest so many are looked at.
LOOKED_AT = 200
_NEAR_SCHEMA = {
    "type": "object",
    "required": ["issues"],
    "properties": {"issues": {"type": "array", "maxItems": NEAR_ISSUES, "items": {"type": "object"}}},
}
_SUPPORT_SCHEMA = {
    "type": "object",
    "required": ["id", "supporters", "page", "feed"],
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "supporters": {"type": "integer"},
        "page": {"type": "string", "format": "uri"},
        "feed": {"type": "string", "format": "uri"},
    },
}
_KEY = {"parameters": [KEY_HEADER]}


def add_duplicates(app: FastAPI, desk: Desk) -> None:
    """Add what finds possible duplicates, and what joins one."""

    @app.get(
        f"{LIST_URL}/near",
        responses={**documented(JSON, "Issues nearby.", _NEAR_SCHEMA), **problems(422, 503)},
    )
    async def near_issues(
        request: Request,
        latitude: Annotated[float, Query(ge=-90, le=90)],
        longitude: Annotated[float, Query(ge=-180, le=180)],
        category: Annotated[Code, Query()],
    ) -> Response:
        """Open public issues of a category that may be the same as one at this point, the nearest first.

        Places are compared on the grid of 0.001 degrees (111 m by about 70 m) on which they are public. Send
        the point rounded to three decimals: the answer is the same, and no log on the way learns more. What
        may lie within the category's distance is shown, and `least_metres` and `most_metres` say between what
        the true distance lies: some are farther than the category's distance, none nearer is left out.
        """

        async def make() -> bytes:
            chosen = _public_category(desk, category)
            return json.dumps(
                {"issues": await _near(desk, chosen, grid.rounded(latitude, longitude))}, ensure_ascii=False
            ).encode()

        return await answered(request, JSON, make)

    @app.post(
        f"{LIST_URL}/{{issue_id}}/supporters",
        openapi_extra=_KEY,
        responses={
            200: {"description": "Counted.", "content": {JSON: {"schema": _SUPPORT_SCHEMA}}},
            **problems(400, 404, 409, 410, 422, 429, 503),
        },
    )
    async def add_supporter(issue_id: uuid.UUID, request: Request) -> Response:
        """Say "this is mine too": it is counted, and nothing is kept of who says it. Follow it on its page or
        by its feed. With the same Idempotency-Key it counts once, for 24 hours. It is no vote: nobody is
        asked who they are, and what one network says more often in a day is answered and not counted."""
        desk.limits.take(request, "supports")
        key = intake.check_key(request.headers.getlist("idempotency-key"))
        key_mac = receipts.support_mac(key, issue_id, desk.peppers.lookup)
        async with connection(desk) as taken, taken.transaction():
            shown = await listing.shown(taken, issue_id)
            if shown is None:
                raise issue_gone() if await listing.is_gone(taken, issue_id) else issue_unknown()
            if shown.issue.status not in OPEN:
                raise Problem(
                    409,
                    "issue-closed",
                    "Nothing is being done about this issue any more",
                    "Send a report of your own.",
                )
            new = await issues.insert_support(taken, key_mac, drop_after(desk.clock()))
            # Not refused: somebody else of the household may have said it, and need not be told so.
            new = new and desk.limits.took(request, "supports_of_one", issue_id.bytes)
            count = await issues.count_support(taken, issue_id) if new else shown.supporters
        if count is None:  # it went meanwhile
            raise issue_gone()
        answer = {"id": str(issue_id), "supporters": count, "page": shown.issue.page}
        return JSONResponse(answer | {"feed": feed_of(desk, issue_id)})


async def _near(desk: Desk, category: Category, place: grid.Place) -> list[dict[str, Any]]:
    if not category.duplicates_metres:
        return []
    corners = grid.around(place, category.duplicates_metres)
    async with connection(desk) as taken, taken.transaction():
        await listing.plan_anew(taken)
        found = await listing.open_within(taken, category.id, *corners, LOOKED_AT)
    return [
        public_view.as_json(one) | {"least_metres": int(far.least), "most_metres": int(far.most) + 1}
        for one, far in near(place, category.duplicates_metres, found)
    ]


def _public_category(desk: Desk, category_id: str) -> Category:
    category = desk.municipality.categories.get(category_id)
    if category is None or not category.public:
        raise Problem(
            422,
            "unknown-category",
            "Not one of those that are possible",
            "Choose one of those in `allowed`.",
            errors=[("/query/category", "this is no public category")],
            allowed=[one.id for one in desk.municipality.categories.values() if one.public],
        )
    return category
