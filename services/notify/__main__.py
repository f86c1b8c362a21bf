"""`python -m services.notify [run|migrate|outbox|consumer|dead-letters]`"""

import sys
from pathlib import Path

from services.notify import app
from services.notify.config import Settings
from shared.command import Program, main

PROGRAM = Program("notify", Settings, Path(__file__).parent / "migrations", app.serve, app.applying)

if __name__ == "__main__":
    sys.exit(main(PROGRAM))
