"""`python -m bench.peers.figures_server DSN PORT`: the public port of `stats`, and beside it a route that
does nothing but answer with as many bytes as it is asked for. Of the town `ibuurt`, until it is ended.
"""

import asyncio
import signal
import sys
from functools import cache

import uvloop
from fastapi import Request
from fastapi.responses import Response

from deploy.local.stack import ROOT
from services.stats.core.spec import spec_of
from services.stats.http.desk import Desk
from services.stats.http.public import public_app
from shared import logs, municipality, postgres, web
from shared.command import collect_rarely

TOWN = ROOT / "deploy" / "municipalities" / "ibuurt"


@cache
def _body(size: int) -> bytes:
    return b"0" * size


async def serve(dsn: str, port: int) -> None:
    """Answer until SIGTERM."""
    pool = await postgres.open_pool(dsn, "stats")
    town = municipality.read(TOWN)
    app = public_app(Desk(pool, town, (spec_of(town),)))

    @app.get("/empty/{size}", include_in_schema=False)
    async def empty(request: Request) -> Response:
        return Response(_body(int(request.path_params["size"])), media_type="application/json")

    server = web.HttpServer(app, "127.0.0.1", port)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)
    await server.run()
    await pool.close()


if __name__ == "__main__":
    _, _dsn, _port = sys.argv
    logs.configure("stats")
    collect_rarely()
    uvloop.run(serve(_dsn, int(_port)))
