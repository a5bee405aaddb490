"""The command `livepin` of an operator: the table of commands, and how failures end."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

from cyclopts import (
    App,
    CycloptsError,
    MissingArgumentError,
    Parameter,
    UnusedCliTokensError,
)

from livepin_server import __version__
from livepin_server.errors import ServiceError, UnavailableError
from livepin_server.lock import DataFolderBusyError

from . import (
    api_key,
    audit,
    config,
    delivery,
    domain,
    guards,
    pin,
    pinset,
    profile,
    server,
    stage,
    stream,
)
from .api import Kept
from .completion import EXAMPLES as COMPLETION_EXAMPLES
from .completion import completion
from .demo import demo
from .doctor import EXAMPLES as DOCTOR_EXAMPLES
from .doctor import doctor
from .export import EXAMPLES as EXPORT_EXAMPLES
from .export import export_
from .output import (
    INTERRUPTED,
    OK,
    REFUSED,
    UNEXPECTED,
    UNREACHABLE,
    USAGE,
    CommandError,
    err,
    out,
    show_error,
)

_LONGEST = 200  # characters of a message that repeats what was typed


def _default(value: object) -> str | None:
    """Return a default as the help shows it: nothing where nothing is the default."""
    return None if value in (False, "", (), None) else str(value)


app = App(
    name="livepin",
    version=__version__,
    help_format="plaintext",
    default_parameter=Parameter(negative=(), show_default=_default),
    help="""Dynamic TLS certificate pinning, self-hosted.

    First steps: livepin init, livepin serve, livepin domain add HOST, livepin bootstrap.

    Exit codes: 0 done; 1 a check found something; 2 wrong usage or input; 3 refused by the
    server; 4 the server, an endpoint or the data folder cannot be reached now; 70 a fault of
    ours; 130 interrupted.

    Variables: LIVEPIN_DATA names the data folder. LIVEPIN_PROFILE names a server by its profile.
    LIVEPIN_URL, LIVEPIN_API_KEY and LIVEPIN_CA name a server elsewhere, a key for it, and its
    tls/ca.pem. NO_COLOR turns colours off.""",
)
app.command(server.init, help_epilogue=server.INIT_EXAMPLES)
app.command(server.serve, help_epilogue="Example:\n  livepin serve --data ./livepin-data")
app.command(server.upgrade, help_epilogue="Example:\n  livepin upgrade --data ./livepin-data")
app.command(server.status, help_epilogue="Example:\n  livepin status --json")
app.command(server.account_app)
app.command(domain.app)
app.command(pin.app)
app.command(pinset.app)
app.command(stream.app)
app.command(config.app)
app.command(config.bootstrap, help_epilogue=config.EXAMPLES)
app.command(audit.app)
app.command(delivery.app)
app.command(stage.diff, help_epilogue=stage.DIFF_EXAMPLES)
app.command(stage.publish, help_epilogue=stage.PUBLISH_EXAMPLES)
app.command(stage.discard, help_epilogue=stage.DISCARD_EXAMPLES)
app.command(guards.app)
app.command(api_key.app)
app.command(profile.app)
app.command(export_, name="export", help_epilogue=EXPORT_EXAMPLES)
app.command(doctor, help_epilogue=DOCTOR_EXAMPLES)
app.command(completion, help_epilogue=COMPLETION_EXAMPLES)
app.command(demo, help_epilogue="Example:\n  livepin demo --exit")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    if not os.environ.get("LIVEPIN_DEBUG"):
        logging.getLogger("livepin").addHandler(logging.NullHandler())
    try:
        app(
            arguments,
            console=out(),
            error_console=err(),
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except Kept as exc:
        exc.show()
    except CommandError as exc:
        return _failed(exc, exc.code)
    except CycloptsError as exc:
        show_error(_said(exc), f"{' '.join(['livepin', *(exc.command_chain or ())])} --help")
        return USAGE
    except (DataFolderBusyError, UnavailableError) as exc:
        return _failed(exc, UNREACHABLE)
    except ServiceError as exc:
        return _failed(exc, REFUSED)
    except server.ERRORS as exc:
        return _failed(exc, USAGE)
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else OK
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as exc:  # a person gets one line; LIVEPIN_DEBUG gets everything
        if os.environ.get("LIVEPIN_DEBUG"):
            raise
        show_error(
            f"unexpected: {type(exc).__name__}: {exc}", "with LIVEPIN_DEBUG=1 it shows where"
        )
        return UNEXPECTED
    return OK


def _failed(exc: Exception, code: int) -> int:
    show_error(str(exc), getattr(exc, "hint", None))
    return code


def _said(exc: CycloptsError) -> str:
    """Return a mistake on the command line in a line."""
    if isinstance(exc, MissingArgumentError) and exc.argument is not None:
        name, metavar = exc.argument.name, exc.argument.parameter.metavar
        return f"expected {name} {metavar}" if metavar and name != metavar else f"expected {name}"
    if isinstance(exc, UnusedCliTokensError):
        return f"expected no more arguments, found {' '.join(exc.unused_tokens or ())}"
    text = str(exc).strip().splitlines()[0]
    return text if len(text) <= _LONGEST else f"{text[:80]} ... {text[-100:]}"
