"""HTTP: the page behind a signed link and the partners' inbound webhook on the public port, the desk's API on
the internal one."""

from fastapi import FastAPI

from services.notify.http.answering import Answers, add_answering
from services.notify.http.desk import Desk, add_desk
from services.notify.http.inbound import add_inbound
from shared import web

__all__ = ["Answers", "Desk", "add_desk", "public_app"]


def public_app(answers: Answers, desk: Desk) -> FastAPI:
    """The public application."""
    app = web.new_app("notify")
    add_answering(app, answers)
    add_inbound(app, desk)
    return app
