"""Prints the table of attacks after the tests."""

from typing import Any

from tests.privacy import table


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if table.ROWS:
        terminalreporter.write_line(table.written())
