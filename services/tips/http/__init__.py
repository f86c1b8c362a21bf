"""HTTP: residents send and follow reports; other services read words, which is logged.

Each handler parses, opens one transaction, and wakes the relay after the commit. No line is logged for a
tip: its time would be the tip's minute.
"""

from fastapi import FastAPI, Request
from fastapi.responses import Response

from services.tips.http.closing import add_closing
from services.tips.http.conversing import add_conversing
from services.tips.http.desk import Desk, Peppers
from services.tips.http.duplicates import add_duplicates
from services.tips.http.email import add_email
from services.tips.http.erasing import add_erasing, add_erasures
from services.tips.http.following import add_following
from services.tips.http.form import add_form
from services.tips.http.issues import add_issue, add_issues
from services.tips.http.photos import add_photos, add_photos_of_reports
from services.tips.http.public_text import add_public_text
from services.tips.http.refusing import in_their_language
from services.tips.http.sending import add_sending
from services.tips.http.spam import add_spam
from services.tips.http.units import add_units
from services.tips.http.unsealing import damaged
from services.tips.http.words import add_words
from services.tips.sealing import Unreadable
from shared import web

__all__ = ["Desk", "Peppers", "add_internal", "public_app"]


def public_app(desk: Desk) -> FastAPI:
    """The residents' application."""
    app = web.new_app("IBuurt tips", openapi="/v1/openapi.json", said=in_their_language)
    add_sending(app, desk)
    add_following(app, desk)
    add_form(app, desk)
    add_conversing(app, desk)
    add_closing(app, desk)
    add_erasing(app, desk)
    add_email(app, desk)
    add_issues(app, desk)
    add_duplicates(app, desk)
    add_issue(app, desk)
    add_photos(app, desk)
    app.add_exception_handler(Unreadable, _damaged)
    return app


def add_internal(internal: FastAPI, desk: Desk, notify_token: str) -> None:
    """Add what other services may ask to the internal application."""
    add_words(internal, desk, notify_token)
    add_units(internal, desk, notify_token)
    add_erasures(internal, desk, notify_token)
    add_spam(internal, desk, notify_token)
    add_public_text(internal, desk, notify_token)
    add_photos_of_reports(internal, desk, notify_token)
    internal.add_exception_handler(Unreadable, _damaged_inside)


async def _damaged(request: Request, _error: Exception) -> Response:
    return in_their_language(request, damaged()).response()


async def _damaged_inside(_request: Request, _error: Exception) -> Response:
    return damaged().response()
