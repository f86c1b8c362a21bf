"""`python -m bench [NAME ...]`: speed against named peers, on a Kafka and PostgreSQL of its own."""

import argparse
import logging
import sys
from collections.abc import Callable

import asyncpg
import structlog
from aiokafka.errors import KafkaError

from bench import (
    apply,
    catchup,
    clocks,
    closing,
    delivery,
    figures,
    hostile,
    importing,
    intake,
    issues,
    latency,
    photos,
    relay,
)
from bench.common import Options, Result
from deploy.local.processes import ChildFailed
from shared.command import collect_rarely
from shared.errors import Refusal

BENCHES: dict[str, Callable[[Options], Result]] = {
    "relay": relay.run,
    "apply": apply.run,
    "latency": latency.run,
    "catchup": catchup.run,
    "issues": issues.run,
    "intake": intake.run,
    "photos": photos.run,
    "hostile": hostile.run,
    "clocks": clocks.run,
    "delivery": delivery.run,
    "close": closing.run,
    "figures": figures.run,
    "import": importing.run,
}
SIZES = (0.001, 10.0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make bench",
        description="Each bench prints what it does, a table, and as its last line a JSON object. It ends "
        "with 1 where its ledger is wrong: something lost, doubled or out of order.",
        epilog="Everything runs on this machine, in temporary folders that are removed at the end. Ratios "
        "hold from machine to machine; absolute figures do not.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}; all by default")
    parser.add_argument("--size", type=float, default=1.0, help="a share of the full size, such as 0.1")
    parser.add_argument("--runs", type=int, default=5, help="interleaved runs (default 5)")
    parser.add_argument("--hold", action="store_true", help="end with 1 also where a ratio misses its bar")
    return parser


def _quiet() -> None:
    """Standard output is the bench's own; only what went wrong is logged, beside it."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    for chatty in ("aiokafka", "faststream", "procrastinate"):
        logging.getLogger(chatty).setLevel(logging.CRITICAL)


def main() -> int:
    parser = _parser()
    given = parser.parse_args()
    if unknown := [name for name in given.names if name not in BENCHES]:
        parser.error(f"there is no bench {unknown[0]}; choose of {', '.join(BENCHES)}")
    if not SIZES[0] <= given.size <= SIZES[1]:
        parser.error(f"--size {given.size:g}: give {SIZES[0]:g} to {SIZES[1]:g}; 1 is the full size")
    if not 1 <= given.runs <= 100:
        parser.error(f"--runs {given.runs}: give 1 to 100")
    options = Options(given.size, given.runs, given.hold)
    _quiet()
    # As a service does; the peers run under it too.
    collect_rarely()
    failed = False
    try:
        for name in given.names or BENCHES:
            result = BENCHES[name](options)
            result.print()
            failed |= result.failed(options.hold)
    except (Refusal, ChildFailed) as error:
        print(error, file=sys.stderr)
        return 1
    except (KafkaError, asyncpg.PostgresError, OSError, TimeoutError) as error:
        why = f"{type(error).__name__}: a server of the bench stopped answering; free the machine, try again"
        print(why, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; everything that was started is removed", file=sys.stderr)
        return 130
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
