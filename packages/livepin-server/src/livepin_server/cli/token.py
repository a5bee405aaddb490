"""livepin token: what stands in tokens, and whether a backend takes one."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number
from livepin.tokens import binding

from .api import Common, connected
from .output import CommandError, err, say, show_json, table, write
from .parameters import Reason, Stream, path, pattern

app = App(name="token")

_DEFAULTS = Common()
_LONGEST = 8192  # characters of a token
_ID = 22  # characters of an installation's id
_YEAR_3000 = 32_503_680_000
_REASONS = {
    "malformed": "it is no token, or a claim is missing",
    "unknown-key": "no key of this account has its kid",
    "signature": "its signature is by another key",
    "expired": "it has ended",
    "early": "it begins later",
    "binding": "it is not bound to these bytes",
}

Host = Annotated[str | None, Parameter(name="DOMAIN", help="A host or *.host; else the account.")]
Bind = Annotated[
    str | None,
    Parameter(metavar="DATA", help="What it is bound to, such as a header's value."),
]


@app.command(help_epilogue="Example:\n  livepin token show")
def show(*, common: Common = _DEFAULTS) -> None:
    """Show what stands in tokens, for the account and for each domain that differs."""
    with connected(common) as api:
        found = api.call("GET", f"{api.base}/tokens")
    if common.json:
        show_json(found)
        return
    say(f"issuer  {found['account']['issuer'] or 'the first delivery URL and the account'}")
    if not found["domains"]:
        say("Every domain has tokens by the key main, for its own host, that live 5 minutes.")
        return
    columns = ("domain", "key", "profile", "audience", "issuer", "lives")
    table(columns, [_line(name, each) for name, each in sorted(found["domains"].items())])


@app.command(
    name="set",
    help_epilogue="""Examples:
  livepin token set api.example.com --key shop
  livepin token set shop.example.com --key shop --profile approov
  livepin token set --issuer https://id.example.com""",
)
def set_(
    host: Host = None,
    /,
    *,
    key: Annotated[str | None, Parameter(metavar="NAME", help="The token key that signs.")] = None,
    profile: Annotated[
        Literal["livepin", "approov"] | None,
        Parameter(help="Which claims and header field; approov: those of its quickstarts."),
    ] = None,
    audience: Annotated[
        str | None, Parameter(metavar="TEXT", help="The aud of tokens; empty for the host itself.")
    ] = None,
    lives: Annotated[
        int | None,
        Parameter(metavar="SECONDS", validator=Number(gte=30, lte=300), help="At most 300."),
    ] = None,
    issuer: Annotated[
        str | None, Parameter(metavar="TEXT", help="The iss of all tokens; empty for the default.")
    ] = None,
    reason: Reason = "",
    common: Common = _DEFAULTS,
) -> None:
    """Change what stands in tokens. It takes effect at once; apps need not hear of it."""
    given = {
        "key": key, "profile": profile, "audience": audience, "issuer": issuer, "lives": lives,
    }  # fmt: skip
    said: dict[str, Any] = {name: each for name, each in given.items() if each is not None}
    if host is None and set(said) != {"issuer"}:
        raise CommandError(
            "expected a domain, or --issuer alone", hint="livepin token set HOST --key NAME"
        )
    if not said:
        raise CommandError(
            f"expected what to change of {pattern(host or '')}",
            hint="--key, --profile, --audience, --issuer, --lives",
        )
    body, where = {**said, "reason": reason}, "" if host is None else f"/{path(host)}"
    with connected(common) as api:
        done = api.call("PATCH", f"{api.base}/tokens{where}", body)
    if common.json:
        show_json(done)
    else:
        what = "the account" if host is None else pattern(host)
        say(f"Tokens of {what} are made like this now.", "green")


@app.command(
    help_epilogue="""Examples:
  livepin token check < token
  livepin token check --bind 'Bearer abc' < token
  livepin token check eyJhbGciOi..."""
)
def check(
    given: Annotated[
        str,
        Parameter(
            name="TOKEN",
            allow_leading_hyphen=True,
            help="The token; without it, or with -, it is read: no process list shows it then.",
        ),
    ] = "-",
    /,
    *,
    bind: Bind = None,
    common: Common = _DEFAULTS,
) -> None:
    """Tell whether a backend takes a token, and if not, why. The exit code is 1 if it does not."""
    text = sys.stdin.read(_LONGEST + 2).strip() if given == "-" else given
    if len(text) > _LONGEST:
        raise CommandError(f"expected a token of at most {_LONGEST} characters")
    body: dict[str, Any] = {"token": text}
    if bind is not None:
        body["bind"] = binding(bind.encode())
    with connected(common) as api:
        found = api.call("POST", f"{api.base}/tokens/check", body)
    if common.json:
        show_json(found)
    else:
        _say(found)
    if not found["taken"]:
        raise SystemExit(1)


@app.command(
    help_epilogue="""Examples:
  livepin token example api.example.com
  livepin token example api.example.com --invalid
  curl -H "Livepin-Token: $(livepin token example api.example.com)" https://api.example.com/"""
)
def example(
    host: Annotated[str, Parameter(name="DOMAIN", help="A host whose domain asks for tokens.")],
    /,
    *,
    valid: Annotated[
        bool,
        Parameter(negative="--invalid", help="One that backends take, or with --invalid a decoy."),
    ] = True,
    bind: Bind = None,
    stream: Stream = "main",
    reason: Reason = "",
    common: Common = _DEFAULTS,
) -> None:
    """Print a token to try a backend with. It lives 5 minutes, and needs an admin's key."""
    body: dict[str, Any] = {
        "host": host, "stream": stream, "valid": valid, "reason": reason,
    }  # fmt: skip
    if bind is not None:
        body["bind"] = binding(bind.encode())
    with connected(common) as api:
        found = api.call("POST", f"{api.base}/tokens/example", body)
    if common.json:
        show_json(found)
        return
    say(f"{found['header']}, for {found['lives']} seconds:", to=err())
    write(found["token"])


def _line(name: str, each: dict[str, Any]) -> tuple[str, ...]:
    audience, issuer = each["audience"] or "its host", each["issuer"] or "the account's"
    return (name, each["key"], each["profile"], audience, issuer, f"{each['lives']} s")


def _say(found: dict[str, Any]) -> None:
    if found["taken"]:
        whom = found["says"].get("aud")
        backend = f"A backend for {whom}" if whom else "Its backend"
        say(f"{backend} takes it. It is by the key {found['key']}.", "green")
    elif found["decoy"]:
        say("It is a decoy: its installation did not pass, or is blocked.", "red")
        identity = str(found["says"].get("did", ""))
        if len(identity) == _ID:  # in the profile approov it is something else
            say(f"  livepin installation show {identity}")
    else:
        say(f"No backend takes it: {_REASONS.get(found['reason'], found['reason'])}.", "red")
    for name, value in found["says"].items():
        say(f"  {name:5}{_shown(name, value)}")


def _shown(name: str, value: Any) -> str:
    """Return a claim for people: times as times."""
    if name in ("iat", "nbf", "exp") and type(value) is int and 0 <= value < _YEAR_3000:
        return f"{datetime.fromtimestamp(value, tz=timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
    return value if isinstance(value, str) else json.dumps(value)
