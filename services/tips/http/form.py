"""What a page or another client needs to build the form that reports are sent with."""

import json
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response

from services.tips import body
from services.tips.http.desk import Desk
from services.tips.http.documented import answer
from services.tips.photos import MAX_PHOTO_BYTES, MAX_PHOTOS
from shared import web
from shared.municipality import Category, Municipality, Question

CACHE_SECONDS = 300
_NAMES = {"type": "object", "additionalProperties": {"type": "string"}}
_SCHEMA = {
    "type": "object",
    "required": ["version", "names", "languages", "zone", "emergency_number", "categories", "area_sets"],
    "properties": {
        "version": {"type": "string", "description": "the municipality's version, as events carry it"},
        "names": _NAMES,
        "languages": {"type": "array", "items": {"type": "string"}, "description": "the default first"},
        "zone": {"type": "string", "description": "the IANA time zone of `happened`"},
        "emergency_number": {"type": "string"},
        "emergency_text": _NAMES,
        "privacy_notice": _NAMES | {"description": "what a resident reads before sending"},
        "categories": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id", "names", "kind", "public", "public_text", "regime", "retention_days"],
                "properties": {
                    "public_text": {
                        "enum": ["none", "summary", "words"],
                        "description": "what everybody may read once a unit has said so: nothing, what the"
                        " unit writes, or the sender's own words",
                    },
                    "regime": {
                        "enum": ["gdpr", "led"],
                        "description": "the law that the report comes under: GDPR, or the Law Enforcement"
                        " Directive",
                    },
                    "retention_days": {
                        "type": "integer",
                        "description": "the words are destroyed so many days after the end of the month (UTC)"
                        " in which they came; what is still open then is kept once more as long",
                    },
                },
            },
        },
        "area_sets": {"type": "array", "items": {"type": "object"}},
        "limits": {"type": "object"},
    },
}


def add_form(app: FastAPI, desk: Desk) -> None:
    """Add the description of the form. It is the same as long as the service runs."""
    content = json.dumps(form(desk.municipality), ensure_ascii=False, separators=(",", ":")).encode()
    etag = web.etag_of(content)
    headers = {"ETag": etag, "Cache-Control": f"public, max-age={CACHE_SECONDS}"}

    @app.get(
        "/v1/form",
        responses={
            200: answer(
                "The form", _SCHEMA, ETag="changes with the form", Cache_Control="how long it is fresh"
            ),
            304: {"description": "The form is still the one of If-None-Match"},
        },
        openapi_extra={
            "parameters": [{"name": "If-None-Match", "in": "header", "schema": {"type": "string"}}]
        },
    )
    async def get_form(request: Request) -> Response:
        """What to ask a resident: categories with their questions, areas, languages, and limits."""
        if web.has(request, etag):
            return Response(None, 304, headers)
        return Response(content, 200, headers, "application/json")


def form(municipality: Municipality) -> dict[str, Any]:
    """The form as JSON; names are per language."""
    return {
        "version": municipality.version,
        "municipality": municipality.slug,
        "names": dict(municipality.names),
        "languages": list(municipality.languages),
        "zone": municipality.zone,
        "privacy_notice": dict(municipality.privacy_notice),
        "emergency_number": municipality.emergency_number,
        "emergency_text": {
            language: municipality.danger_text(language) for language in municipality.languages
        },
        "categories": [_category(one) for one in municipality.categories.values()],
        "area_sets": [
            {
                "id": area_set.id,
                "names": dict(area_set.names),
                "areas": [{"id": one.id, "names": dict(one.names)} for one in area_set.areas.values()],
            }
            for area_set in municipality.area_sets.values()
        ],
        "limits": {
            "body_bytes": web.MAX_BODY_BYTES,
            "description_characters": body.DESCRIPTION_CHARACTERS,
            "address_characters": body.ADDRESS_CHARACTERS,
            "contact_name_characters": body.CONTACT_NAME_CHARACTERS,
            "email_characters": body.EMAIL_CHARACTERS,
            "phone_characters": body.PHONE_CHARACTERS,
            "photos": MAX_PHOTOS,
            "photo_bytes": MAX_PHOTO_BYTES,
        },
    }


def _category(category: Category) -> dict[str, Any]:
    return {
        "id": category.id,
        "names": dict(category.names),
        "kind": category.kind,
        "public": category.public,
        "public_text": category.public_text,
        "regime": category.regime,
        "retention_days": category.retention_days,
        "contact": category.contact,
        "danger": category.danger,
        "questions": [_question(one) for one in category.questions],
    }


def _question(question: Question) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "id": question.id,
        "names": dict(question.names),
        "kind": question.kind,
        "required": question.required,
    }
    if question.kind == "text":
        asked["max_characters"] = question.characters
    elif question.kind == "number":
        asked |= {"min": question.min, "max": question.max}
    elif question.kind in ("choice", "choices"):
        asked["options"] = [{"id": one.id, "names": dict(one.names)} for one in question.options]
    return asked
