"""`python -m services.tips [run|migrate]`"""

import sys
from pathlib import Path

from services.tips import app
from services.tips.config import Settings
from shared.service import main

sys.exit(main("tips", Settings, Path(__file__).parent / "migrations", app.serve))
