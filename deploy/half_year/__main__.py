"""`python -m deploy.half_year`: a city's real requests through notify's routing and clocks, held against
what the city did with them. Exit code 0: every request was routed and every difference is explained; 1:
not."""

import argparse
import asyncio
import logging
import os
import sys
import time
from pathlib import Path

import structlog
import uvloop

from deploy.half_year.account import Account, account, written
from deploy.half_year.cases import Announcing, Case, Export, read_cases, read_export
from deploy.half_year.playing import ROOT, play
from deploy.local.postgres import Postgres
from deploy.local.processes import ChildFailed, temporary_folder
from deploy.local.progress import to_stderr
from shared.errors import Refusal
from shared.municipality import Municipality, read

BOSTON = ROOT / "deploy" / "municipalities" / "boston"
# What is played is thrown away.
FORGETFUL = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.half_year", description=__doc__)
    parser.add_argument("--municipality", type=Path, default=BOSTON, help="a folder with types.toml")
    parser.add_argument(
        "--file", type=Path, help="the city's export (CSV, may be gzipped); default: the folder's sample"
    )
    parser.add_argument("--rows", type=int, help="so many of its requests, the first; default: all")
    arguments = parser.parse_args()
    # A line for each report is not what is asked for here.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    try:
        book = half_year(
            arguments.municipality, arguments.file or arguments.municipality / "sample.csv.gz", arguments.rows
        )
    except (Refusal, ChildFailed) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; everything that was started is removed", file=sys.stderr)
        return 130
    return 0 if book.right else 1


def half_year(folder: Path, file: Path, rows: int | None) -> Account:
    """Play the file's requests on a PostgreSQL of their own, print the account and return it."""
    if rows is not None and rows < 1:
        raise Refusal("--rows must be at least 1")
    started = time.monotonic()
    town, export = read(folder), read_export(folder)
    cases = read_cases(file, town, export, rows)
    to_stderr(f"{len(cases)} requests read; starting PostgreSQL")
    with temporary_folder() as home:
        if os.geteuid() == 0:
            home.chmod(0o711)  # PostgreSQL runs as another account then, and must get at its folder
        postgres = Postgres(home / "postgres", settings=FORGETFUL)
        try:
            postgres.start()
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                book = runner.run(_played(postgres, cases, town, export))
        finally:
            postgres.stop()
    for line in written(book, town):
        print(line)
    print(f"\n{time.monotonic() - started:.0f} s")
    print(
        "every request was routed and every difference is explained"
        if book.right
        else f"NOT RIGHT: {book.rows - book.routed} not routed, {book.unexplained} differences unexplained"
    )
    return book


async def _played(postgres: Postgres, cases: list[Case], town: Municipality, export: Export) -> Account:
    dsn = await postgres.create_database("half_year")
    played = await play(cases, town, Announcing(town, export), dsn, to_stderr)
    return account(cases, played, town, export)


if __name__ == "__main__":
    sys.exit(main())
