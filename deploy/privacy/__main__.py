"""`python -m deploy.privacy write|check`: the generated parts of docs/privacy.md."""

import argparse
import sys
from pathlib import Path

from deploy.privacy import generated
from shared.errors import Refusal

PAGE = Path("docs/privacy.md")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.privacy", description=__doc__)
    parser.add_argument("command", choices=("write", "check"))
    command = parser.parse_args().command
    text = PAGE.read_text("utf-8")
    try:
        written = generated.rewritten(text, generated.parts())
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        return 1
    if written == text:
        return 0
    if command == "check":
        print(f"{PAGE} is not what the program says of itself: run `make contract`", file=sys.stderr)
        return 1
    PAGE.write_text(written, "utf-8")
    print(f"{PAGE}: wrote what follows from the program")
    return 0


if __name__ == "__main__":
    sys.exit(main())
