"""`python -m deploy.contract write|check|begin`: the published contract in docs/contract/."""

import argparse
import sys
from pathlib import Path

from deploy.contract import record
from deploy.contract.asyncapi import document
from shared.errors import Refusal

FOLDER = Path("docs/contract")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.contract", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("write", help="write it from the models; refuses what subscribers would not survive")
    commands.add_parser("check", help="fail when it is stale, or when the models broke what is published")
    commands.add_parser("begin", help="write the first record, where there is none")
    command = parser.parse_args().command
    try:
        if command == "check":
            record.check(FOLDER, document())
            return 0
        changed = (record.begin if command == "begin" else record.write)(FOLDER, document())
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        return 1
    if changed:
        print(f"{FOLDER}: wrote {', '.join(changed)}; tell subscribers in {FOLDER}/CHANGES.md")
    else:
        print(f"{FOLDER} is up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
