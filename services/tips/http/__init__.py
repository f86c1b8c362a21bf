"""HTTP: residents send and follow reports; other services read words, which is logged.

Each handler parses, opens one transaction, and wakes the relay after the commit. No line is logged for a
tip: its time would be the tip's minute.
"""

from fastapi import FastAPI

from services.tips.http.desk import Desk, Peppers
from services.tips.http.duplicates import add_duplicates
from services.tips.http.following import add_following
from services.tips.http.form import add_form
from services.tips.http.issues import add_issue, add_issues
from services.tips.http.public_text import add_public_text
from services.tips.http.sending import add_sending
from services.tips.http.words import add_words
from shared import web

__all__ = ["Desk", "Peppers", "add_public_text", "add_words", "public_app"]


def public_app(desk: Desk) -> FastAPI:
    """The residents' application."""
    app = web.new_app("IBuurt tips", openapi="/v1/openapi.json")
    add_sending(app, desk)
    add_following(app, desk)
    add_form(app, desk)
    add_issues(app, desk)
    add_duplicates(app, desk)
    add_issue(app, desk)
    return app
