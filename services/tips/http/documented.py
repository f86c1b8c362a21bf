"""What the OpenAPI document says of residents' routes, beside what it says of all (shared/documented.py)."""

from collections.abc import Mapping
from typing import Any

from fastapi import Security
from fastapi.security import APIKeyHeader

from services.tips import receipts
from shared.documented import BODY, INSIDE, TOKEN, body, problems

__all__ = [
    "BODY",
    "EMERGENCY",
    "INSIDE",
    "KEY_HEADER",
    "MINE",
    "RECEIPT",
    "TOKEN",
    "answer",
    "body",
    "problems",
]

# What every route behind a receipt may answer.
MINE = (401, 404, 429, 503)

# What the emergency stop answers, on every route that takes a resident's words.
EMERGENCY = (
    "Something is not as asked: `errors` names the fields. With the code `emergency` the words tell of danger"
    " now: show `detail` and `emergency_number`; `not_an_emergency` true sends them."
)

KEY_HEADER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "schema": {"type": "string", "pattern": f"^{receipts.KEY_PATTERN.pattern}$"},
}
# Read by http/receipt.py; here it only stands in the document.
RECEIPT = [
    Security(
        APIKeyHeader(
            name="Authorization",
            scheme_name="Receipt",
            description="`Receipt` and the code that was shown when the report was sent",
            auto_error=False,
        )
    )
]


def answer(why: str, schema: Mapping[str, Any], **headers: str) -> dict[str, Any]:
    """An answer in JSON; `headers` are its headers with what they say."""
    return {
        "description": why,
        "content": {"application/json": {"schema": dict(schema)}},
        "headers": {
            name.replace("_", "-"): {"description": says, "schema": {"type": "string"}}
            for name, says in headers.items()
        },
    }
