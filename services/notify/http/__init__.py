"""HTTP: the page behind a signed link and the partners' inbound webhook on the public port, the desk's API on
the internal one."""

from fastapi import FastAPI

from services.notify.digests import Digests
from services.notify.http.answering import Answers, add_answering
from services.notify.http.desk import Desk, add_desk
from services.notify.http.digest import add_digest, add_digest_page
from services.notify.http.inbound import add_inbound
from shared import web

__all__ = ["Answers", "Desk", "add_internal", "public_app"]


def public_app(answers: Answers, desk: Desk, digests: Digests, link_secret: str) -> FastAPI:
    """The public application."""
    app = web.new_app("notify", head=True)
    add_answering(app, answers)
    add_inbound(app, desk)
    add_digest_page(app, desk, digests, link_secret)
    return app


def add_internal(internal: FastAPI, desk: Desk, digests: Digests, desk_token: str) -> None:
    """Add what the desk asks to the internal application."""
    add_desk(internal, desk, desk_token)
    add_digest(internal, desk, digests, desk_token)
