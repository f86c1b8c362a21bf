"""`python -m deploy.local demo|run`: try the whole system without Docker."""

import argparse
import sys
from pathlib import Path

from deploy.local.demo import demo, run
from deploy.local.processes import ChildFailed
from deploy.local.progress import to_stderr
from deploy.local.stack import ROOT
from shared.errors import Refusal

TOWNS = ROOT / "deploy" / "municipalities"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    trial = commands.add_parser("demo", help="replay real 311 requests and print the ledger")
    trial.add_argument("--municipality", type=Path, default=TOWNS / "boston")
    trial.add_argument(
        "--file", type=Path, help="CSV of requests, may be gzipped; default: the folder's sample"
    )
    trial.add_argument("--rows", type=int, default=5_000, help="how many requests (default 5,000)")
    trial.add_argument("--rate", type=float, default=50.0, help="requests per second (default 50)")
    served = commands.add_parser("run", help="run the system until Ctrl-C")
    served.add_argument("--municipality", type=Path, default=TOWNS / "ibuurt")
    arguments = parser.parse_args()
    try:
        if arguments.command == "run":
            run(arguments.municipality, to_stderr)
            return 0
        file = arguments.file or arguments.municipality / "sample.csv.gz"
        balanced = demo(arguments.municipality, file, arguments.rows, arguments.rate, to_stderr)
    except (Refusal, ChildFailed) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; everything that was started is removed", file=sys.stderr)
        return 130
    return 0 if balanced else 1


if __name__ == "__main__":
    sys.exit(main())
