"""`python -m services.stats [COMMAND]`; `--help` names them."""

import sys
from pathlib import Path

from services.stats import app, commands
from services.stats.config import Settings
from shared.command import Program, main

MIGRATIONS = Path(__file__).parent / "migrations"
PROGRAM = Program("stats", Settings, MIGRATIONS, app.serve, app.applying, app.recovering, commands.extend)

if __name__ == "__main__":
    sys.exit(main(PROGRAM))
