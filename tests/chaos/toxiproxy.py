"""Toxiproxy: TCP proxies on 127.0.0.1 whose connections can be made slow, narrow, silent or broken."""

import contextlib
import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deploy.local.kafka_jars import CACHE
from deploy.local.processes import Child, free_port, temporary_folder
from deploy.local.stack import answers
from shared.errors import Refusal

VERSION = "v2.12.0"
PROGRAM = f"github.com/Shopify/toxiproxy/v2/cmd/server@{VERSION}"
BUILD_SECONDS = 600
START_SECONDS = 20
# Both ways of a connection, as Toxiproxy names them: from the client to the server, and back.
TO_SERVER, TO_CLIENT = "upstream", "downstream"


def program() -> Path:
    """The server, built once into the checkout's cache. Refusal where there is no Go to build it with."""
    built = CACHE / f"toxiproxy-{VERSION}" / "server"
    if built.exists():
        return built
    go = shutil.which("go")
    if go is None:
        raise Refusal(
            "faults of the network need Toxiproxy, which is built with Go 1.23 or newer, and there is no "
            "`go` in PATH; get it from https://go.dev/dl, or `brew install go`, or `apt install golang-go` "
            "where that is new enough"
        )
    CACHE.mkdir(exist_ok=True)
    with temporary_folder(CACHE) as folder:
        made = subprocess.run(
            [go, "install", PROGRAM],
            env=os.environ | {"GOBIN": str(folder / "bin")},
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
        if made.returncode:
            raise Refusal(f"Toxiproxy was not built; is Go older than 1.23? {made.stderr[-500:]}")
        with contextlib.suppress(OSError):  # another run was first
            (folder / "bin").rename(built.parent)
    return built


class Proxies:
    """A running Toxiproxy. Every call is a local one of a few ms."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def add(self, name: str, server: int, port: int | None = None) -> int:
        """A proxy in front of the server's port of 127.0.0.1; the port where clients reach it."""
        port = port or free_port()
        self._call(
            "POST",
            "/proxies",
            {
                "name": name,
                "listen": f"127.0.0.1:{port}",
                "upstream": f"127.0.0.1:{server}",
                "enabled": True,
            },
        )
        return port

    def poison(self, name: str, kind: str, stream: str, attributes: Mapping[str, int]) -> None:
        """Let what goes that way suffer, on the connections that there are and on new ones."""
        toxic = {
            "name": stream,
            "type": kind,
            "stream": stream,
            "toxicity": 1.0,
            "attributes": dict(attributes),
        }
        self._call("POST", f"/proxies/{name}/toxics", toxic)

    def cure(self) -> None:
        """Take every fault away."""
        self._call("POST", "/reset")

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> None:
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(self._url + path, data, method=method)
        with urllib.request.urlopen(request, timeout=10):
            pass


@contextlib.contextmanager
def proxies() -> Iterator[Proxies]:
    """A Toxiproxy for as long as the block lasts. Raises Refusal as `program` does."""
    port = free_port()
    with temporary_folder() as folder:
        child = Child(
            "Toxiproxy",
            [program(), "-host", "127.0.0.1", "-port", str(port)],
            log=folder / "toxiproxy.log",
            env={name: value for name, value in os.environ.items() if name != "LOG_LEVEL"}
            | {"LOG_LEVEL": "error"},
        )
        child.start()
        try:
            child.wait_until(lambda: answers(f"http://127.0.0.1:{port}/version"), START_SECONDS)
            yield Proxies(port)
        finally:
            child.stop()
