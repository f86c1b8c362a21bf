"""`python -m services.stats [run|migrate|outbox|consumer|dead-letters]`"""

import sys
from pathlib import Path

from services.stats import app
from services.stats.config import Settings
from shared.command import Program, main

PROGRAM = Program("stats", Settings, Path(__file__).parent / "migrations", app.serve, app.applying)

if __name__ == "__main__":
    sys.exit(main(PROGRAM))
