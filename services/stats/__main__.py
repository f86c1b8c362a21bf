"""`python -m services.stats [run|migrate]`."""

import sys
from pathlib import Path

from services.stats import app
from services.stats.config import Settings
from shared.service import main

if __name__ == "__main__":
    sys.exit(main("stats", Settings, Path(__file__).parent / "migrations", app.serve))
