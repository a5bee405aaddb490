"""The script `livepin`: the operators' commands with `livepin-server`, else `doctor` alone."""

from __future__ import annotations

import gc
import sys
from importlib.metadata import entry_points

from livepin import __version__

_OBJECTS = 50_000  # between two collections


def main() -> int:
    """Hand over to the operators' commands; without them, run `doctor`, or say where they are."""
    # What is loaded first is no garbage, and to look for some in it takes a seventh of a command.
    gc.set_threshold(_OBJECTS)
    for found in entry_points(group="livepin.commands"):
        return int(found.load()())
    if sys.argv[1:2] == ["doctor"]:
        from livepin import doctor

        return doctor.main(sys.argv[2:])
    print(f"livepin {__version__}, the client library", file=sys.stderr)
    print("hint:  look at an endpoint with: livepin doctor URL", file=sys.stderr)
    print("hint:  the operators' commands come with: pip install livepin-server", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
