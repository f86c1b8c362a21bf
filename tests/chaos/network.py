"""A proxy between every two that speak to each other, and what can go wrong on the way."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import psutil

from deploy.local.processes import free_port
from deploy.local.stack import SERVICES
from tests.chaos.toxiproxy import TO_CLIENT, TO_SERVER, Proxies, proxies
from tests.chaos.trial import Trial, busy_units, trial_stack


class Fault(NamedTuple):
    """What the network does, as Toxiproxy's kind and attributes; which ways it does it; for how many seconds
    in a short and in a long run."""

    kind: str
    attributes: dict[str, int]
    ways: tuple[str, ...] = (TO_SERVER, TO_CLIENT)
    seconds: tuple[float, float] = (5.0, 8.0)


FAULTS = {
    "latency": Fault("latency", {"latency": 300, "jitter": 250}),
    # What is asked arrives; of the answer comes the end of the connection.
    "reset": Fault("reset_peer", {"timeout": 20}, (TO_CLIENT,)),
    # Longer than Kafka's clients wait (10 s) and, in the long run, than the database's (30 s).
    "half-open": Fault("timeout", {"timeout": 0}, seconds=(11.0, 33.0)),
    "bandwidth": Fault("bandwidth", {"rate": 2}),
}
PAIRS = (
    *(f"{name}-{server}" for server in ("kafka", "postgres") for name in SERVICES),
    "notify-tips",
    "notify-units",
)


@dataclass(frozen=True)
class Network:
    """The trial, and the names of the proxies of each pair."""

    trial: Trial
    proxies: Proxies
    units: tuple[str, ...]

    def suffer(self, pair: str, fault: Fault) -> None:
        """Let the connections of a pair suffer until `cure`."""
        for name in self.units if pair == "notify-units" else (pair,):
            for way in fault.ways:
                self.proxies.poison(name, fault.kind, way, fault.attributes)

    def cure(self) -> None:
        """Let every connection be right again."""
        self.proxies.cure()

    def straight(self) -> set[int]:
        """The ports that some service reaches past its proxy."""
        stack = self.trial.stack
        ports = {stack.infrastructure.kafka.port, stack.infrastructure.postgres.port}
        ports |= {stack.services["tips"].internal_port, *self.trial.units.ports.values()}
        return ports & {
            connection.raddr.port
            for service in stack.services.values()
            for connection in psutil.Process(service.child.pid).net_connections("tcp")
            if connection.raddr and connection.laddr.port != service.internal_port
        }


@contextlib.contextmanager
def proxied_trial() -> Iterator[Network]:
    """A trial's stack of which every part reaches every other through a proxy of their own. The ledger and
    the residents go straight. Raises Refusal where Toxiproxy cannot be built."""
    units = busy_units()
    with proxies() as between:
        names = {unit: f"notify-units-{unit}" for unit in units.ports}
        ports = {unit: between.add(name, units.ports[unit]) for unit, name in names.items()}
        with trial_stack(units, ports) as trial:
            _put_between(trial, between)
            yield Network(trial, between, tuple(names.values()))


def _put_between(trial: Trial, between: Proxies) -> None:
    """Let Kafka and the services start anew, each with addresses of its own for the others."""
    stack = trial.stack
    kafka, postgres = stack.infrastructure.kafka, stack.infrastructure.postgres
    for service in stack.services.values():
        service.child.stop()
    kafka.stop()
    for name, service in stack.services.items():
        # A broker tells its clients where to come next: to the proxy again.
        to_kafka = free_port()
        between.add(f"{name}-kafka", kafka.listen_also(name.upper(), to_kafka), to_kafka)
        to_postgres = between.add(f"{name}-postgres", postgres.port)
        service.child.env = {
            **(service.child.env or {}),
            "IBUURT_KAFKA_BOOTSTRAP": f"127.0.0.1:{to_kafka}",
            "IBUURT_DATABASE_URL": service.dsn.replace(f":{postgres.port}/", f":{to_postgres}/"),
        }
    to_tips = between.add("notify-tips", stack.services["tips"].internal_port)
    notify = stack.services["notify"].child
    notify.env = {**(notify.env or {}), "IBUURT_TIPS_URL": f"http://127.0.0.1:{to_tips}"}
    kafka.start()
    for service in stack.services.values():
        service.start()
