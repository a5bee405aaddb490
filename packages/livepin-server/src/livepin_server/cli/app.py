"""The command `livepin` of an operator: the table of commands, and how failures end."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from livepin_server import __version__

from . import config, delivery, domain, pin, server
from .demo import demo
from .output import OK, UNEXPECTED, USAGE, CommandError, show_error

app = App(
    name="livepin",
    version=__version__,
    help="""Dynamic TLS certificate pinning, self-hosted.

    First steps: livepin init, livepin serve, livepin domain add HOST, livepin bootstrap.

    Exit codes: 0 done; 1 a check found something; 2 wrong usage or input; 3 refused by the
    server; 4 the server or an endpoint does not answer; 70 a fault of ours.""",
)
app.command(server.init)
app.command(server.serve)
app.command(server.upgrade)
app.command(server.status)
app.command(server.account_app)
app.command(domain.app)
app.command(pin.app)
app.command(config.app)
app.command(config.bootstrap)
app.command(delivery.app)
app.command(demo)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    try:
        app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CommandError as exc:
        show_error(str(exc), exc.hint)
        return exc.code
    except CycloptsError as exc:
        show_error(str(exc).strip().splitlines()[0], f"{_named(arguments)} --help")
        return USAGE
    except server.ERRORS as exc:
        show_error(str(exc), getattr(exc, "hint", None))
        return USAGE
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else OK
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Exception as exc:  # a person gets one line; LIVEPIN_DEBUG gets everything
        if os.environ.get("LIVEPIN_DEBUG"):
            raise
        show_error(
            f"unexpected: {type(exc).__name__}: {exc}", "with LIVEPIN_DEBUG=1 it shows where"
        )
        return UNEXPECTED
    return OK


def _named(arguments: Sequence[str] | None) -> str:
    given = list(sys.argv[1:] if arguments is None else arguments)
    words = [word for word in given[:2] if word.isidentifier() or "-" in word[1:]]
    return " ".join(["livepin", *(word for word in words if not word.startswith("-"))])
