"""`python -m services.tips [run|migrate|outbox|consumer|dead-letters]`"""

import sys
from pathlib import Path

from services.tips import app
from services.tips.config import Settings
from shared.command import Program, main

PROGRAM = Program("tips", Settings, Path(__file__).parent / "migrations", app.serve, app.applying)

if __name__ == "__main__":
    sys.exit(main(PROGRAM))
