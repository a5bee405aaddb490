"""livepin custody: the key under which the server keeps its private keys sealed."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from .api import Local, connected
from .output import confirm, counted, say, show_json, warn
from .parameters import Reason

app = App(name="custody")
_LOCAL = Local()


@app.command(help_epilogue="Example:\n  livepin custody rekey --reason 'an administrator has left'")
def rekey(
    *,
    yes: Annotated[bool, Parameter(help="Do not ask first.")] = False,
    reason: Reason = "",
    local: Local = _LOCAL,
) -> None:
    """Change the master key: seal all private keys of the server under a new one.

    The server may run meanwhile. Stopped at any moment, it is finished or undone at the next
    start. Keys in a token are not touched. The old master key is not kept.
    """
    confirm("backups made before now will open with the master key of now only", yes=yes)
    with connected(local) as api:
        done = api.call("POST", "/v1/custody/rekey", {"reason": reason})
    if local.json:
        show_json(done)
        return
    say(f"{counted(done['keys'], 'key')} sealed under a new master key.", "green")
    for text in done["next"]:
        warn(text)
