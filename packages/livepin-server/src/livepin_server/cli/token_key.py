"""livepin token-key: the keys that sign tokens, and how backends get what verifies them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from cyclopts import App, Parameter

from livepin_server.custody.files import write_secret
from livepin_server.errors import CustodyError

from .api import Common, connected
from .output import CommandError, err, minute, say, show_json, table
from .parameters import Reason, lifetime, name_of, pattern

app = App(name="token-key")

_DEFAULTS = Common()
_ALGORITHMS = {"ES256": "ES256", "Ed25519": "EdDSA", "HS256": "HS256"}
_SHOWN = {api: word for word, api in _ALGORITHMS.items()}

KeyName = Annotated[str, Parameter(name="NAME", help="The name of a token key.")]
Out = Annotated[
    Path | None, Parameter(metavar="FILE", help="A new file for a secret, for you alone to read.")
]


@app.command(
    help_epilogue="""Examples:
  livepin token-key add shop
  livepin token-key add shop --alg HS256 --domain shop.example.com --out shop.secret
  livepin token-key add quiet --alg Ed25519"""
)
def add(
    name: KeyName,
    /,
    *,
    alg: Annotated[
        Literal["ES256", "Ed25519", "HS256"],
        Parameter(
            help="ES256: anybody can verify. Ed25519: backends with a credential. "
            "HS256: a secret, for one domain."
        ),
    ] = "ES256",
    domain: Annotated[
        str | None, Parameter(metavar="HOST", help="The domain that an HS256 key is for.")
    ] = None,
    out: Out = None,
    reason: Reason = "",
    common: Common = _DEFAULTS,
) -> None:
    """Make a key that signs tokens. Say which domains it is for: livepin token set.

    Domains that name no key have tokens by the key main, which makes itself.
    """
    _require_secret(alg, domain, out)
    body: dict[str, Any] = {
        "name": name_of("token key", name, such_as="shop"),
        "algorithm": _ALGORITHMS[alg],
        "reason": reason,
    }
    if domain is not None:
        body["domain"] = pattern(domain)
    with connected(common) as api:
        made = api.call("POST", f"{api.base}/token-keys", body)
        if out is not None:
            _export(api, name, out, reason)
    if common.json:
        show_json(made if out is None else {"key": made, "file": str(out)})
        return
    say(f"The token key {name} is made: {alg}, {made['kid']}.", "green")
    if out is not None:
        say(f"Its secret is in {out}, which only you can read: bring it to the backend.")
    else:
        say("Backends that read the JWKS have it in five minutes. Then name it for a domain:")
    say(f"  livepin token set {domain or 'HOST'} --key {name}{common.again}")


@app.command(
    help_epilogue="""Examples:
  livepin token-key rotate main
  livepin token-key rotate main --now --reason 'it was stolen'
  livepin token-key rotate shop --overlap 3d --out shop.secret"""
)
def rotate(
    name: KeyName,
    /,
    *,
    now: Annotated[
        bool,
        Parameter(
            help="Sign with the new one at once; what the old one signed ends, at a backend "
            "once it reads the JWKS again."
        ),
    ] = False,
    overlap: Annotated[
        str | None,
        Parameter(metavar="TIME", help="Until it signs; else 10m, and a day for a secret."),
    ] = None,
    out: Out = None,
    reason: Reason = "",
    common: Common = _DEFAULTS,
) -> None:
    """Make the next key of a name. It is published at once, and signs after an overlap.

    So no backend meets a token by a key that it has not read yet. After a theft there is --now.
    """
    if now and overlap is not None:
        raise CommandError("expected --now or --overlap, found both")
    body: dict[str, Any] = {"reason": reason}
    if now:
        body["overlap"] = 0
    elif overlap is not None:
        body["overlap"] = int(lifetime(overlap, option="--overlap").total_seconds())
    _require_new(out)
    with connected(common) as api:
        made = api.call("POST", f"{api.base}/token-keys/{quote(name, safe='')}/rotate", body)
        if out is not None:
            _export(api, name, out, reason)
    if common.json:
        show_json(made if out is None else {"key": made, "file": str(out)})
        return
    when = "signs now" if made["signs"] else f"signs from {minute(made['signs_from'])} on"
    say(f"The next token key {name} is {made['kid']}: it {when}.", "green")
    if made["domain"] is not None and out is None:
        say(f"Bring it to the backend: livepin token-key export {name} --out FILE{common.again}")


@app.command(name="list", help_epilogue="Example:\n  livepin token-key list")
def list_(*, common: Common = _DEFAULTS) -> None:
    """Show the keys that sign tokens, will sign, or still verify some."""
    with connected(common) as api:
        found = api.call("GET", f"{api.base}/token-keys")
    if common.json:
        show_json(found)
        return
    if not found:
        say("There is no token key yet. One makes itself: livepin domain set-token HOST on")
        return
    table(("key", "kid", "alg", "of", "signs", "verifies until"), [_line(each) for each in found])


@app.command(
    help_epilogue="""Examples:
  livepin token-key export main > jwks.json
  livepin token-key export shop --out shop.secret"""
)
def export(
    name: KeyName, /, *, out: Out = None, reason: Reason = "", common: Common = _DEFAULTS
) -> None:
    """Give out what verifies tokens: the public keys of a name as JWKS, or its secret in base64.

    A secret goes into a file, never onto the screen: that may be a log.
    """
    with connected(common) as api:
        found = api.call("GET", f"{api.base}/token-keys")
        keys = [each for each in found if each["name"] == name]
        if keys and keys[-1]["algorithm"] != "HS256":
            _show_public(api, keys, out)
            return
        if out is None and keys:
            raise CommandError(
                "expected --out FILE for a secret",
                hint=f"livepin token-key export {name} --out FILE",
            )
        _require_new(out)
        done = _export(api, name, out or Path(name), reason)
    if common.json:
        show_json({"key": done["key"], "file": str(out)})
        return
    say(f"The secret of {name} is in {out}, which only you can read.", "green")


def _show_public(api: Any, keys: list[dict[str, Any]], out: Path | None) -> None:
    if out is not None:
        raise CommandError(
            "expected --out for a secret alone", hint="livepin token-key export > FILE"
        )
    delivery = api.call("GET", f"{api.base}/delivery")
    url = f"{delivery['urls'][0].rstrip('/')}/v1/{api.account}/jwks.json"
    show_json({"keys": [each["jwk"] for each in keys]})
    say(f"Backends read these, and the next ones, from {url}", to=err())
    if keys[-1]["algorithm"] == "EdDSA":
        say("with Authorization: Bearer and a credential:", to=err())
        say("  livepin api-key create backend --role viewer --scope tokens", to=err())


def _export(api: Any, name: str, out: Path, reason: str) -> dict[str, Any]:
    path = f"{api.base}/token-keys/{quote(name, safe='')}/export"
    done: dict[str, Any] = api.call("POST", path, {"reason": reason})
    try:
        write_secret(out, f"{done['secret']}\n".encode())
    except CustodyError as exc:
        raise CommandError(
            str(exc), hint=f"for its secret: livepin token-key export {name} --out FILE"
        ) from exc
    return done


def _require_secret(alg: str, domain: str | None, out: Path | None) -> None:
    if (alg == "HS256") != (domain is not None):
        raise CommandError(
            "expected --domain with --alg HS256, and with no other",
            hint="a secret belongs to one domain: --alg HS256 --domain HOST",
        )
    if out is not None and alg != "HS256":
        raise CommandError(
            "expected --out for a secret alone", hint="backends verify by its public key"
        )
    _require_new(out)


def _require_new(out: Path | None) -> None:
    """Refuse a file that cannot be made, before the key is."""
    if out is not None and (out.exists() or out.is_symlink()):
        raise CommandError(f"{out} exists already", hint="name a new file")
    if out is not None and not out.absolute().parent.is_dir():
        raise CommandError(f"{out.parent} is not a folder", hint="make it first")


def _line(key: dict[str, Any]) -> tuple[str, ...]:
    until = key["verifies_until"]
    signs = "now" if key["signs"] else f"from {minute(key['signs_from'])}"
    ended = until is not None and not key["signs"]
    return (
        key["name"],
        key["kid"],
        _SHOWN[key["algorithm"]],
        key["domain"] or "any domain",
        "no more" if ended else signs,
        minute(until) if until else "",
    )
