"""livepin channel add: one command for each way to tell people.

A secret is never an argument: everybody on the machine could read it in the list of processes.
"""

from __future__ import annotations

import getpass
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from cyclopts import App, Parameter

from .api import Common, connected
from .files import read_text
from .looking import read_ca
from .output import CommandError, say, show_json, some
from .parameters import Ca, Reason, name_of

app = App(name="add", help="Add a channel: email, webhook, pagerduty and others.")

VARIABLE = "LIVEPIN_CHANNEL_SECRET"
_MOST_SECRET = 4096  # characters
_HINT = "livepin channel add webhook --help"

ChannelName = Annotated[str, Parameter(name="NAME", help="A name of a-z, 0-9 and hyphens.")]
SecretFile = Annotated[
    Path | None,
    Parameter(
        metavar="FILE",
        allow_leading_hyphen=True,
        help=f"Holds the secret, - is standard input; else {VARIABLE}.",
    ),
]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Telling:
    """What every kind of channel takes."""

    severity: Annotated[
        Literal["info", "warning", "critical"],
        Parameter(help="The least severity that it tells of."),
    ] = "warning"
    tag: Annotated[
        tuple[str, ...],
        Parameter(
            metavar="TAG",
            negative=(),
            help="Only of domains with this tag; may be given again. Else of all.",
        ),
    ] = ()
    reason: Reason = ""


_TELLING = Telling()
_DEFAULTS = Common()
Private = Annotated[
    bool, Parameter(name="--allow-private", help="It may lead into a private network.")
]


@app.command(
    help_epilogue="""Examples:
  livepin channel add email ops --to ops@example.com
  livepin channel add email bosses --to a@example.com --to b@example.com --severity critical"""
)
def email(
    name: ChannelName,
    /,
    *,
    to: Annotated[
        tuple[str, ...],
        Parameter(metavar="ADDRESS", negative=(), help="An address; may be given again."),
    ],
    telling: Telling = _TELLING,
    common: Common = _DEFAULTS,
) -> None:
    """Tell people by e-mail. The server needs to know a mail server: the setting smtp."""
    _add("email", name, telling, common, {"to": list(to)})


@app.command(
    help_epilogue="""Examples:
  livepin channel add webhook chat --url https://hooks.example.com/livepin
  livepin channel add webhook chat --url-file - < chat.url
  livepin channel add webhook inside --url https://10.0.0.7/hook --allow-private --ca ca.pem"""
)
def webhook(
    name: ChannelName,
    /,
    *,
    url: Annotated[
        str | None, Parameter(metavar="URL", help="Where it is sent to: an https URL.")
    ] = None,
    url_file: Annotated[
        Path | None,
        Parameter(
            metavar="FILE",
            allow_leading_hyphen=True,
            help="Holds the URL, if that is secret; - is standard input.",
        ),
    ] = None,
    secret_file: SecretFile = None,
    ca: Ca = None,
    allow_private: Private = False,
    telling: Telling = _TELLING,
    common: Common = _DEFAULTS,
) -> None:
    """Tell a program, by a signed request (standardwebhooks).

    The secret that signs is made by the server and shown once, unless one is
    given. Who knows a URL such as that of a chat can write there: then give it by
    --url-file.
    """
    if (url is None) == (url_file is None):
        raise CommandError("expected --url URL or --url-file FILE", hint=_HINT)
    if url_file is not None and url_file == secret_file == Path("-"):
        raise CommandError("expected one secret from standard input, found two", hint=_HINT)
    members = {"allow_private": allow_private, "ca": read_ca(ca)}
    members |= {"url": _of_file(url_file, "URL") if url is None else _public(url)}
    secret = _secret("secret", secret_file, asked=False)
    _add("webhook", name, telling, common, members | {"secret": secret})


@app.command(
    help_epilogue="""Examples:
  livepin channel add pagerduty oncall --severity critical
  livepin channel add pagerduty oncall --secret-file - < routing.key"""
)
def pagerduty(
    name: ChannelName,
    /,
    *,
    secret_file: SecretFile = None,
    telling: Telling = _TELLING,
    common: Common = _DEFAULTS,
) -> None:
    """Open an alert in PagerDuty (Events v2), and resolve it. Its routing key is asked for."""
    key = _secret("Routing key", secret_file, asked=True)
    _add("pagerduty", name, telling, common, {"routing_key": key})


@app.command(
    help_epilogue="""Examples:
  livepin channel add alertmanager alerts --url http://10.0.0.9:9093 --allow-private
  livepin channel add alertmanager alerts --url https://alerts.example.com --user livepin \\
    --secret-file password"""
)
def alertmanager(
    name: ChannelName,
    /,
    *,
    url: Annotated[str, Parameter(metavar="URL", help="Its address, without /api/v2.")],
    user: Annotated[
        str | None,
        Parameter(metavar="NAME", help="The user whose password the secret is; else a token."),
    ] = None,
    secret_file: SecretFile = None,
    ca: Ca = None,
    allow_private: Private = False,
    telling: Telling = _TELLING,
    common: Common = _DEFAULTS,
) -> None:
    """Have Prometheus' Alertmanager tell people (API v2)."""
    members = {"url": _public(url), "allow_private": allow_private, "ca": read_ca(ca)}
    secret = _secret("Password", secret_file, asked=user is not None)
    credentials = {"bearer": secret} if user is None else {"user": user, "password": secret}
    _add("alertmanager", name, telling, common, members | credentials)


@app.command(
    help_epilogue="""Examples:
  livepin channel add apprise phones
  livepin channel add apprise phones --secret-file - < apprise.url"""
)
def apprise(
    name: ChannelName,
    /,
    *,
    secret_file: SecretFile = None,
    allow_private: Private = False,
    telling: Telling = _TELLING,
    common: Common = _DEFAULTS,
) -> None:
    """Tell people by anything else that apprise knows. Its URL holds secrets, and is asked for.

    The server needs the extra apprise of livepin-server.
    """
    url = _secret("apprise URL", secret_file, asked=True)
    _add("apprise", name, telling, common, {"url": url, "allow_private": allow_private})


def _add(kind: str, name: str, telling: Telling, common: Common, members: dict[str, Any]) -> None:
    name_of("a channel", name, such_as="ops")
    settings = {"kind": kind} | {key: each for key, each in members.items() if each is not None}
    body = {
        "name": name, "settings": settings, "severity": telling.severity,
        "tags": list(telling.tag), "reason": telling.reason,
    }  # fmt: skip
    with connected(common) as api:
        done = api.call("POST", f"{api.base}/monitor/channels", body)
    if common.json:
        show_json(done)
        return
    channel = done["channel"]
    tags = f" of domains with the tag {some(channel['tags'])}" if channel["tags"] else ""
    least = "everything" if channel["severity"] == "info" else f"{channel['severity']} and worse"
    say(f"{name} tells {channel['target']}{tags}: {least}.", "green")
    if done["secret"]:
        say("Its receiver checks the signature with this secret, which is not shown again:")
        say(f"  {done['secret']}")
    say(f"Try it: livepin channel test {name}{common.again}")


def _secret(what: str, file: Path | None, *, asked: bool) -> str | None:
    """Return a secret: from a file, standard input, the environment, or a person if `asked`."""
    if file is not None:
        return _of_file(file, what)
    found = os.environ.get(VARIABLE)
    if found:
        return _line(found, what)
    if not asked:
        return None
    if not sys.stdin.isatty():
        raise CommandError(
            f"expected a secret: {what}",
            hint=f"--secret-file FILE, --secret-file - for standard input, or {VARIABLE}",
        )
    try:
        return _line(getpass.getpass(f"{what}: "), what)
    except EOFError as exc:
        raise CommandError(f"expected a secret: {what}") from exc


def _of_file(file: Path | None, what: str) -> str:
    assert file is not None
    if str(file) == "-":
        try:
            return _line(sys.stdin.read(_MOST_SECRET + 1), what)
        except UnicodeDecodeError:
            raise CommandError(f"{what}: what came on standard input is not text") from None
    return _line(read_text(file), what)


def _line(text: str, what: str) -> str:
    found = text.strip()
    if not found or len(found) > _MOST_SECRET or not found.isprintable():
        raise CommandError(
            f"{what}: expected one line of text that can be printed",
            hint="nothing was made; what was given is not repeated here",
        )
    return found


def _public(url: str) -> str:
    """Return a URL without a password: everybody on this machine could read it."""
    try:
        parts = urlsplit(url)
        has = parts.username is not None or parts.password is not None
    except ValueError:
        has = "@" in url
    if has:
        raise CommandError(
            "--url: a password in a command is in the process list, for everybody to read",
            hint="leave it out; a file gives it, see --help. And change this one",
        )
    return url
