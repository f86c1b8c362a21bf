"""`python -m services.notify [COMMAND]`; `--help` names them."""

import sys
from pathlib import Path

from services.notify import app, commands
from services.notify.config import Settings
from shared.command import Program, main

MIGRATIONS = Path(__file__).parent / "migrations"
PROGRAM = Program("notify", Settings, MIGRATIONS, app.serve, app.applying, app.recovering, commands.extend)

if __name__ == "__main__":
    sys.exit(main(PROGRAM))
