"""livepin doctor: the examination that the library brings, which needs no server."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from livepin import doctor as library

from .output import working, write
from .parameters import Ca, Connect


def doctor(
    url: Annotated[str, Parameter(help="https://host[:port], or the bare host.")],
    /,
    *,
    bootstrap: Annotated[
        Path | None, Parameter(metavar="FILE", help="What the app embeds.")
    ] = None,
    ca: Ca = None,
    connect: Connect = None,
    json: Annotated[bool, Parameter(help="Print JSON.")] = False,
) -> None:
    """Show the chain of an endpoint, and whether an app with this bootstrap gets through.

    It works without the server, too: where only the library is installed. The exit code is 1 if
    an app would be refused or its config is old, 4 if no chain could be verified.
    """
    given = {"--bootstrap": bootstrap, "--ca": ca, "--connect": connect}
    arguments = [f"{name}={value}" for name, value in given.items() if value is not None]
    found, wrong = io.StringIO(), io.StringIO()
    with working(f"looking at {url}"), redirect_stdout(found), redirect_stderr(wrong):
        code = library.main([*arguments, *(["--json"] if json else []), "--", url])
    sys.stderr.write(wrong.getvalue())
    if found.getvalue():
        write(found.getvalue().removesuffix("\n"))
    raise SystemExit(code)
