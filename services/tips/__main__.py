"""`python -m services.tips [COMMAND]`; `--help` names them."""

import sys
from pathlib import Path

from services.tips import app, commands
from services.tips.config import Settings
from shared.command import Program, main

MIGRATIONS = Path(__file__).parent / "migrations"
PROGRAM = Program("tips", Settings, MIGRATIONS, app.serve, app.applying, app.recovering, commands.extend)

if __name__ == "__main__":
    sys.exit(main(PROGRAM))
