"""livepin completion: what a shell needs to complete commands, options and choices."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from .output import write


def completion(
    shell: Annotated[
        Literal["bash", "zsh", "fish"], Parameter(name="SHELL", help="The shell that completes.")
    ],
    /,
) -> None:
    """Print a script with which a shell completes commands, options, choices and files.

    The shell runs nothing of Livepin's for it. Print it anew after an upgrade.
    """
    from .app import app  # which has this command, too

    script = app.generate_completion(prog_name="livepin", shell=shell)
    # zsh looks for a function named as its file is, which is _livepin by custom.
    write(script.replace("_cyclopts_livepin", "_livepin").rstrip("\n"))
