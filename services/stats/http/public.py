"""The public port of `stats`."""

from fastapi import FastAPI

from services.stats.http.codes import add_codes
from services.stats.http.desk import Desk
from services.stats.http.page import OPENAPI, add_page
from services.stats.http.releases import add_releases
from services.stats.http.statistics import add_statistics
from shared import web


def public_app(desk: Desk) -> FastAPI:
    """Everything that everybody may read."""
    app = web.new_app("IBuurt statistics", openapi=OPENAPI, head=True)
    add_releases(app, desk)
    add_statistics(app, desk)
    add_codes(app, desk)
    add_page(app, desk)
    return app
