"""HTTP: the inbound webhook, by which a partner's system says what it does with reports.

Signed as our own webhooks to it are, with the same secret (Standard Webhooks). The same webhook-id again is
answered again and does nothing.
"""

import json
import uuid
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from standardwebhooks import Webhook, WebhookVerificationError

from services.notify.body import Inbound, InboundAct, InboundErased
from services.notify.core.deliveries import Failed, party
from services.notify.http.desk import Desk
from shared import web
from shared.documented import BODY, problems
from shared.web import Problem

BODY_SECONDS = 10
LONGEST_ID = 256


def add_inbound(app: FastAPI, desk: Desk) -> None:
    """Add the inbound webhook."""
    verifiers = {unit: tuple(map(Webhook, secrets)) for unit, secrets in desk.secrets.items()}

    @app.post("/inbound/{unit}", responses=problems(401, 404, 409, 503, *BODY))
    async def post_inbound(unit: str, request: Request) -> Response:
        """What a partner's system says; signed with the secret of its unit."""
        content = await web.read_body(request, web.MAX_BODY_BYTES, seconds=BODY_SECONDS)
        headers = {name: request.headers.get(name, "") for name in _SIGNED}
        if len(headers["webhook-id"]) > LONGEST_ID or not _verified(
            verifiers.get(unit, ()), content, headers
        ):
            raise Problem(
                401,
                "not-signed",
                "Not signed",
                "Sign the body as Standard Webhooks has it, with this unit's secret and the present time.",
                headers={"WWW-Authenticate": "Webhook"},
            )
        said = web.parse_json(content, Inbound)
        if said.type == "ibuurt.erased":
            copy = web.parse_json(content, InboundErased).data
            told = await desk.tips.confirm(copy.report_id, party(unit, "webhook"), erased=copy.erased)
            if isinstance(told, Failed):
                raise web.not_now() if not told.tips_up else _unknown_copy()
            return Response(status_code=HTTPStatus.NO_CONTENT)
        act = web.parse_json(content, InboundAct).data
        # Two units may choose the same id.
        act_id = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([unit, headers["webhook-id"]]))
        actor = party(unit, "webhook")
        done = await desk.do(act.report_id, unit, act_id, act, "inbound", actor)
        return JSONResponse({"status": done.after.status, "changed": done.after != done.before})


_SIGNED = ("webhook-id", "webhook-timestamp", "webhook-signature")


def _verified(verifiers: tuple[Webhook, ...], content: bytes, headers: dict[str, str]) -> bool:
    for one in verifiers:
        try:
            one.verify(content, headers, json_parse=False)
        except (WebhookVerificationError, ValueError):
            continue
        return True
    return False


def _unknown_copy() -> Problem:
    return Problem(
        404,
        "copy-unknown",
        "Not asked of this unit",
        "Confirm the erasure of reports that this unit was sent and that were erased since.",
    )
