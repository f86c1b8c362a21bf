"""Kafka and PostgreSQL together, without Docker, for as long as a `with` block lasts."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from deploy.local.kafka import Kafka, prepare
from deploy.local.kafka_jars import check_prerequisites
from deploy.local.postgres import Postgres
from deploy.local.processes import temporary_folder
from deploy.local.progress import Progress, to_stderr


class Terminated(KeyboardInterrupt):
    """SIGTERM has come: clear up and end, as after Ctrl-C."""


@dataclass(frozen=True)
class LocalInfrastructure:
    """Both servers, started, and the folder that holds their data and logs."""

    folder: Path
    kafka: Kafka
    postgres: Postgres

    @property
    def bootstrap(self) -> str:
        """Kafka's host:port."""
        return self.kafka.bootstrap

    @property
    def admin_dsn(self) -> str:
        """PostgreSQL's address as superuser, database `postgres`."""
        return self.postgres.dsn()


@contextlib.contextmanager
def local_infrastructure(
    folder: Path | None = None, *, progress: Progress = to_stderr
) -> Iterator[LocalInfrastructure]:
    """Both servers at the same time, on free ports of 127.0.0.1, stopped at the end of the block: also after
    an exception, Ctrl-C or SIGTERM (which raises Terminated while the block lasts, when entered in the main
    thread). When this process is killed, its guard ends them.

    Without `folder` their data is in a temporary one, which is removed at the end; a `folder` that is given
    is kept, and goes on with its data the next time. Refusal, before anything is started, names in one line
    what must be installed first. ChildFailed: a server did not come up.
    """
    check_prerequisites()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_sigterm_raises())
        home = stack.enter_context(temporary_folder()) if folder is None else folder
        if folder is None and os.geteuid() == 0:
            home.chmod(0o711)  # PostgreSQL runs as another account then, and must get at its folder
        prepare(progress)
        started = time.monotonic()
        kafka, postgres = Kafka(home / "kafka", progress=progress), Postgres(home / "postgres")
        stack.callback(kafka.stop)
        stack.callback(postgres.stop)
        # Launched one after the other, waited for together: Kafka needs two seconds, PostgreSQL less.
        kafka.launch()
        postgres.launch()
        postgres.wait_ready()
        kafka.wait_ready()
        seconds = time.monotonic() - started
        progress(f"Kafka at {kafka.bootstrap}, PostgreSQL at 127.0.0.1:{postgres.port} ({seconds:.1f} s)")
        yield LocalInfrastructure(home, kafka, postgres)


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(_number: int, _frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
