"""livepin demo: every promise, kept before your eyes."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter


def demo(
    *,
    end: Annotated[bool, Parameter(name="--exit", help="End at once, not at Ctrl-C.")] = False,
) -> None:
    """Start a server, two APIs, an app and an attacker, and show what happens."""
    from livepin_server.demo.run import run

    raise SystemExit(run(stay=not end))
