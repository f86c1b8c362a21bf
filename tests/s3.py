"""A real S3 server for the tests: S3Proxy, on a folder, with a bucket and an account."""

import contextlib
import hashlib
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.local import kafka_jars
from deploy.local.processes import Child, free_port, temporary_folder

POM = Path(__file__).with_name("s3proxy.xml")
FETCH_SECONDS = 600
START_SECONDS = 60
BUCKET = "town"
ACCESS, SECRET = "tips", "secret-of-tips-0123456789"


@dataclass
class S3:
    """The server; what it holds outlives a stop."""

    child: Child
    host: str
    port: int
    folder: Path

    def environment(self, secret: str = SECRET) -> dict[str, str]:
        """What leads a client there."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT": f"http://{self.host}:{self.port}",
            "AWS_ALLOW_HTTP": "true",
        }

    def start(self) -> None:
        self.child.start()
        self.child.wait_until(self._answers, START_SECONDS)

    def objects(self) -> dict[str, bytes]:
        """What the bucket holds, by name, as it lies on the server's disk."""
        bucket = self.folder / BUCKET
        files = (path for path in bucket.rglob("*") if path.is_file())
        return {str(path.relative_to(bucket)): path.read_bytes() for path in files}

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), timeout=1):
            return True
        return False


@contextlib.contextmanager
def s3_server(folder: Path, host: str = "127.0.0.1") -> Iterator[S3]:
    """The server in a folder, on an address of this machine, for as long as the block lasts; skips where
    Maven is missing."""
    port = free_port()
    (folder / "data" / BUCKET).mkdir(parents=True)
    settings = {
        "s3proxy.endpoint": f"http://{host}:{port}",
        "s3proxy.authorization": "aws-v4",
        "s3proxy.identity": ACCESS,
        "s3proxy.credential": SECRET,
        "jclouds.provider": "filesystem",
        "jclouds.filesystem.basedir": str(folder / "data"),
    }
    properties = folder / "s3proxy.properties"
    properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    program = ["-Xmx128m", "-cp", f"{_jars()}/*", "org.gaul.s3proxy.Main", "--properties", str(properties)]
    server = S3(
        Child("S3", [kafka_jars.java(), *program], log=folder / "s3.log"), host, port, folder / "data"
    )
    server.start()
    try:
        yield server
    finally:
        server.child.stop()


def _jars() -> Path:
    """The jars, fetched if they are not there."""
    jars = kafka_jars.CACHE / f"s3proxy-{hashlib.sha256(POM.read_bytes()).hexdigest()[:8]}"
    if jars.exists():
        return jars
    if shutil.which("mvn") is None:
        pytest.skip("S3Proxy is fetched with Maven, and there is no `mvn` in PATH")
    with kafka_jars.locked(print):
        if not jars.exists():
            with temporary_folder(kafka_jars.CACHE) as folder:
                maven = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies"]
                maven += ["-DincludeScope=runtime", f"-DoutputDirectory={folder / 'jars'}"]
                subprocess.run(maven, check=True, timeout=FETCH_SECONDS)
                (folder / "jars").rename(jars)
    return jars
