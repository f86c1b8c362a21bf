"""HTTP: residents send and follow reports; other services read words, which is logged.

Each handler parses, opens one transaction, and wakes the relay after the commit. No line is logged for a
tip: its time would be the tip's minute.
"""

from fastapi import FastAPI

from services.tips.http.desk import Desk, Peppers
from services.tips.http.following import add_following
from services.tips.http.photos import add_photos, add_photos_of_reports
from services.tips.http.sending import add_sending
from services.tips.http.words import add_words
from shared import web

__all__ = ["Desk", "Peppers", "add_photos_of_reports", "add_words", "public_app"]


def public_app(desk: Desk) -> FastAPI:
    """The residents' application."""
    app = web.new_app("IBuurt tips", openapi="/v1/openapi.json")
    add_sending(app, desk)
    add_following(app, desk)
    add_photos(app, desk)
    return app
