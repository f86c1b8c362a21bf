"""One Apache Kafka node (broker and controller) without Docker, from the jars that pom.xml names."""

import base64
import secrets
import shutil
import socket
import struct
from collections.abc import Mapping
from pathlib import Path

from deploy.local import kafka_jars
from deploy.local.processes import BEHIND, Child, ChildFailed, free_port, temporary_folder
from deploy.local.progress import Progress, to_stderr

START_SECONDS = 60.0
SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "3",
    "offsets.retention.minutes": "525600",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "3",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "3",
    # After a kill the node waits for its own old session to end: 9 s by default.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "group.initial.rebalance.delay.ms": "0",
    "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
}


def prepare(progress: Progress = to_stderr) -> Path:
    """Make what the cache lacks and return its `kafka_jars.starter()`. The first time that needs the network
    (about 55 MB) and half a minute; runs at the same time wait for one another. Refusal: something must be
    installed first, or Maven failed."""
    kafka_jars.check_prerequisites()
    ready = kafka_jars.starter()
    if ready.exists():
        return ready
    with kafka_jars.locked(progress):
        if not kafka_jars.jars().exists():
            kafka_jars.fetch(progress)
        if not ready.exists():
            _make_starter(ready, progress)
    return ready


class Kafka:
    """A node in `folder`, on 127.0.0.1. Its data outlives `kill` and `stop`, and `start` takes it up again on
    the same port. `settings` are server properties that are added to SETTINGS and override them. Without
    `port` a free one is taken. Not for use by several threads at once."""

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        *,
        settings: Mapping[str, str] | None = None,
        progress: Progress = to_stderr,
    ) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.log = folder / "kafka.log"
        self._data = folder / "data"
        self._controller_port = free_port()
        self._settings = dict(settings or {})
        self._more_listeners: dict[str, tuple[int, int]] = {}
        self._progress = progress
        self._child: Child | None = None

    @property
    def bootstrap(self) -> str:
        """Where clients connect: host:port."""
        return f"127.0.0.1:{self.port}"

    @property
    def child(self) -> Child:
        """The Java process; an error before the first start."""
        if self._child is None:
            raise ChildFailed("Kafka was never started; call start() first")
        return self._child

    @property
    def pid(self) -> int:
        """The process id of the Java process."""
        return self.child.pid

    @property
    def running(self) -> bool:
        """Whether the process is alive (also when paused)."""
        return self._child is not None and self._child.running

    def listen_also(self, name: str, advertised: int) -> int:
        """From the next start on, a further listener of that name (capital letters) whose clients are told
        to come to the port `advertised` of 127.0.0.1, such as a proxy's; returns the port it listens on."""
        port = free_port()
        self._more_listeners[name] = (port, advertised)
        return port

    def start(self) -> None:
        """Start it and wait until it answers. Refusal: something must be installed first. ChildFailed: it
        did not come up; the message has the tail of its log."""
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start it without waiting."""
        ready = prepare(self._progress)
        if not (self._data / "meta.properties").exists():
            _lay_out(ready / "template", self._data)
        self._launch(f"-XX:SharedArchiveFile={ready / 'classes.jsa'}")

    def wait_ready(self, seconds: float = START_SECONDS) -> None:
        """Wait until the node answers and counts itself among the brokers."""
        self.child.wait_until(lambda: brokers(self.port) > 0, seconds)

    def kill(self) -> None:
        """SIGKILL; returns when it is dead."""
        self.child.kill()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        self.child.pause()

    def resume(self) -> None:
        """SIGCONT."""
        self.child.resume()

    def stop(self, timeout: float = 10.0) -> None:
        """An orderly end (SIGTERM), SIGKILL after `timeout` seconds; no error when it never ran."""
        if self._child is not None:
            self._child.stop(timeout)

    def rss_bytes(self) -> int:
        """Resident memory now, in bytes."""
        return self.child.rss_bytes()

    def _launch(self, java_option: str) -> None:
        argv = [
            kafka_jars.java(),
            "-Xms256m",
            "-Xmx512m",
            "-XX:+ExitOnOutOfMemoryError",
            # A broker that lives for minutes does not earn back what the second compiler takes: half its CPU.
            "-XX:TieredStopAtLevel=1",
            "-Dlog4j2.level=INFO",
        ]
        argv += ["-XX:+IgnoreUnrecognizedVMOptions", java_option]
        argv += ["-cp", f"{kafka_jars.jars()}/*", "kafka.Kafka", str(self._write_properties())]
        self._child = Child("Kafka", argv, log=self.log, niceness=BEHIND)
        self._child.start()

    def _format(self) -> None:
        """Make the log folder with Kafka's own tool (1.5 s)."""
        argv = [kafka_jars.java(), "-cp", f"{kafka_jars.jars()}/*", "kafka.tools.StorageTool", "format"]
        argv += ["-t", _random_id(), "-c", str(self._write_properties())]
        tool = Child("Kafka's storage tool", argv, log=self.log)
        if status := tool.run(START_SECONDS):
            raise ChildFailed(f"{tool.name} failed with {status}; the end of its log:\n{tool.log_tail()}")

    def _write_properties(self) -> Path:
        listeners = [f"PLAINTEXT://{self.bootstrap}", f"CONTROLLER://127.0.0.1:{self._controller_port}"]
        advertised = [f"PLAINTEXT://{self.bootstrap}"]
        protocols = [SETTINGS["listener.security.protocol.map"]]
        for name, (port, told) in self._more_listeners.items():
            listeners.append(f"{name}://127.0.0.1:{port}")
            advertised.append(f"{name}://127.0.0.1:{told}")
            protocols.append(f"{name}:PLAINTEXT")
        own = {
            "log.dirs": str(self._data),
            "listeners": ",".join(listeners),
            "advertised.listeners": ",".join(advertised),
            "listener.security.protocol.map": ",".join(protocols),
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller_port}",
        }
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        properties = self.folder / "server.properties"
        lines = [f"{name}={value}" for name, value in (SETTINGS | self._settings | own).items()]
        properties.write_text("\n".join(lines) + "\n")
        return properties


def _make_starter(ready: Path, progress: Progress) -> None:
    """Format a log folder and keep a copy of it; run a node on it once, and have Java write down the classes
    that it loaded."""
    progress("preparing Kafka for quick starts (once)")
    with temporary_folder(kafka_jars.CACHE) as folder:
        kafka, new = Kafka(folder / "kafka"), folder / "starter"
        kafka._format()
        shutil.copytree(kafka._data, new / "template")
        try:
            kafka._launch(f"-XX:ArchiveClassesAtExit={new / 'classes.jsa'}")
            kafka.wait_ready()
        finally:
            kafka.stop(START_SECONDS)
        new.rename(ready)


def _lay_out(template: Path, data: Path) -> None:
    """A formatted log folder of a new cluster. Kafka's own tool does the same in 1.5 s; only the ids differ
    from one folder to another."""
    shutil.rmtree(data, ignore_errors=True)
    shutil.copytree(template, data)
    ids = {"cluster.id": _random_id(), "directory.id": _random_id()}
    lines = (data / "meta.properties").read_text().splitlines()
    kept = [line for line in lines if line.partition("=")[0] not in ids]
    # Written last and whole: a folder with this file counts as formatted.
    part = data / "meta.properties.part"
    part.write_text("\n".join([*kept, *(f"{name}={value}" for name, value in ids.items())]) + "\n")
    part.rename(data / "meta.properties")


def _random_id() -> str:
    """A Kafka id: 16 bytes in URL-safe base 64; the fixed first byte keeps it from beginning with a dash."""
    return base64.urlsafe_b64encode(b"i" + secrets.token_bytes(15)).decode().rstrip("=")


def brokers(port: int) -> int:
    """How many brokers the node at this port knows (a Metadata request, version 1, that asks for no topic);
    0 when it does not answer."""
    request = struct.pack(">hhih5si", 3, 1, 1, 5, b"ready", 0)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            answer = b""
            while len(answer) < 12 and (data := connection.recv(4096)):
                answer += data
    except OSError:
        return 0
    return int(struct.unpack(">i", answer[8:12])[0]) if len(answer) >= 12 else 0
