"""`python -m services.notify [run|migrate]`"""

import sys
from pathlib import Path

from services.notify import app
from services.notify.config import Settings
from shared.service import main

if __name__ == "__main__":
    sys.exit(main("notify", Settings, Path(__file__).parent / "migrations", app.serve))
