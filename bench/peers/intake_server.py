"""`python -m bench.peers.intake_server ours|usual DSN FOLDER PORT`: one of the two intakes, as a process.

On the municipality `ibuurt`, until it is ended. Nothing relays: both leave their events in the outbox.
"""

import asyncio
import signal
import sys
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path

import uvloop
from prometheus_client import CollectorRegistry

from bench.peers.usual_intake import usual_app
from deploy.local.stack import ROOT
from services.tips import http
from services.tips.areas import Areas
from services.tips.keys import KeyFolder
from services.tips.limits import Limits
from services.tips.metrics import TipsMetrics
from services.tips.photos.store import PhotoStore
from services.tips.storing import Storing
from shared import logs, municipality, postgres, web
from shared.command import collect_rarely

TOWN = ROOT / "deploy" / "municipalities" / "ibuurt"
PEPPERS = http.Peppers(b"receipt-pepper-" + b"r" * 32, b"lookup-pepper-" + b"l" * 32)


def _now() -> datetime:
    return datetime.now(UTC)


def _nothing() -> None:
    """Nobody is to be woken."""


async def serve(kind: str, dsn: str, folder: Path, port: int) -> None:
    """Answer until SIGTERM."""
    pool = await postgres.open_pool(dsn, "tips")
    town = municipality.read(TOWN)
    keys = KeyFolder(folder)
    (folder / "photos").mkdir()
    desk = http.Desk(
        pool=pool,
        municipality=town,
        areas=Areas(town),
        keys=keys,
        peppers=PEPPERS,
        metrics=TipsMetrics(CollectorRegistry()),
        storing=Storing(pool, keys, _nothing, _now),
        limits=Limits(_now, unlimited=[ip_network("127.0.0.0/8")]),
        sender=None,
        wake=_nothing,
        clock=_now,
        public_url="http://localhost:8001",
        photo_store=PhotoStore(str(folder / "photos")),
    )
    app = http.public_app(desk) if kind == "ours" else usual_app(desk, dsn)
    server = web.HttpServer(app, "127.0.0.1", port)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)
    await server.run()
    await pool.close()


if __name__ == "__main__":
    _, _kind, _dsn, _folder, _port = sys.argv
    logs.configure("tips")
    collect_rarely()
    uvloop.run(serve(_kind, _dsn, Path(_folder), int(_port)))
