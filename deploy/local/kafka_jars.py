"""Java, and Kafka's jars: what must be installed, and what is fetched once into the checkout's `.cache`."""

import contextlib
import fcntl
import functools
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from deploy.local.processes import Child, temporary_folder
from deploy.local.progress import Progress
from shared.errors import Refusal

POM = Path(__file__).with_name("pom.xml")
CACHE = Path(__file__).parents[2] / ".cache"
JAVA_AT_LEAST = 17
FETCH_SECONDS = 900.0
INSTALL = (
    "install both: Debian/Ubuntu `sudo apt install openjdk-17-jre-headless maven` (Debian 13: openjdk-21), "
    "Fedora `sudo dnf install java-21-openjdk-headless maven`, macOS `brew install --cask temurin && brew "
    "install maven`"
)


def check_prerequisites() -> None:
    """Refusal, of one line that names what is missing and how to get it: Java 17 or newer, and Maven while
    Kafka's jars are not fetched yet."""
    java_version()
    if not jars().exists() and shutil.which("mvn") is None:
        raise Refusal(f"Kafka's jars are fetched with Maven, and there is no `mvn` in PATH; {INSTALL}")


def java() -> str:
    """The Java to run: JAVA_HOME's, or else the first in PATH. Refusal when there is none."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if found is None:
        place = "in JAVA_HOME's bin folder" if home else "in PATH"
        raise Refusal(f"Kafka needs Java {JAVA_AT_LEAST} or newer, and there is no `java` {place}; {INSTALL}")
    return found


def java_version() -> str:
    """All that `java -version` says. Refusal when it is too old."""
    answer = _version_of(java())
    found = re.search(r'version "(\d+)', answer)
    if found is None or int(found[1]) < JAVA_AT_LEAST:
        seen = f"this one is Java {found[1]}" if found else "`java -version` shows none"
        raise Refusal(f"Kafka needs Java {JAVA_AT_LEAST} or newer, and {seen}; {INSTALL}")
    return answer


def kafka_version() -> str:
    """The version of Kafka, as pom.xml has it."""
    found = re.search(r"<kafka\.version>(.+?)</kafka\.version>", POM.read_text())
    if found is None:
        raise Refusal(f"{POM.name} has no property kafka.version; put it back")
    return found[1]


def jars() -> Path:
    """The folder for the jars of this pom.xml, whether they are there yet or not; it is there only whole."""
    return CACHE / f"kafka-{kafka_version()}-{hashlib.sha256(POM.read_bytes()).hexdigest()[:8]}"


def starter() -> Path:
    """The folder for what makes starting quick, of these jars and this very Java, whether it is there yet or
    not; it is there only whole. In it `classes.jsa` (Kafka's classes as Java has loaded them before; it does
    without when that does not fit) and `template` (a formatted, empty log folder)."""
    key = hashlib.sha256(f"{java_version()}{jars()}".encode()).hexdigest()[:8]
    return CACHE / f"{jars().name}-{key}"


@contextlib.contextmanager
def locked(progress: Progress) -> Iterator[None]:
    """Hold the cache against other runs; waits for one that holds it. The kernel frees it when a run dies."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "kafka.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("another run is fetching Kafka; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def fetch(progress: Progress) -> None:
    """Fetch the jars with Maven. Refusal, with the end of Maven's log, when that fails. Hold `locked`."""
    progress(f"fetching Apache Kafka {kafka_version()} with Maven (once, about 55 MB)")
    with temporary_folder(CACHE) as folder:
        argv = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies"]
        argv += ["-DincludeScope=runtime", f"-DoutputDirectory={folder / 'jars'}"]
        maven = Child("Maven", argv, log=folder / "maven.log")
        status = maven.run(FETCH_SECONDS)
        if status != 0:
            raise Refusal(
                f"Maven could not fetch Kafka (status {status}); check the network, or name your mirror in "
                f"~/.m2/settings.xml, and start again. The end of its log:\n{maven.log_tail()}"
            )
        (folder / "jars").rename(jars())


@functools.cache
def _version_of(program: str) -> str:
    return subprocess.run([program, "-version"], capture_output=True, text=True, check=False).stderr
