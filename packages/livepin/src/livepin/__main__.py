"""The script `livepin`: the operators' commands where `livepin-server` is installed."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

from livepin import __version__


def main() -> int:
    """Hand over to the operators' commands, or say where they are."""
    for found in entry_points(group="livepin.commands"):
        return int(found.load()())
    print(f"livepin {__version__}, the client library", file=sys.stderr)
    print("hint:  the operators' commands come with: pip install livepin-server", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
