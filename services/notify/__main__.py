"""`python -m services.notify [run|migrate|outbox|consumer|dead-letters]`"""

import sys
from pathlib import Path

from services.notify import app
from services.notify.config import Settings
from shared.command import Program, main

MIGRATIONS = Path(__file__).parent / "migrations"
PROGRAM = Program("notify", Settings, MIGRATIONS, app.serve, app.applying, app.recovering)

if __name__ == "__main__":
    sys.exit(main(PROGRAM))
