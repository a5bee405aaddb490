"""livepin pin: the keys that a domain accepts."""

from __future__ import annotations

import base64
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cyclopts import App, Parameter
from livepin.hostnames import is_address
from livepin.pins import fingerprint_text, parse_fingerprint

from livepin_server.custody.files import write_secret
from livepin_server.errors import CustodyError
from livepin_server.probing.probe import Target, probe

from .api import Common, connected
from .domain import show_pins
from .output import FOUND, UNREACHABLE, CommandError, say, show_json, working
from .parameters import Host, Label, PinText, Reason, Stream, checked, path, pattern, quoted

app = App(name="pin", help="The keys that a domain accepts.")
_DEFAULTS = Common()


@app.command(
    help_epilogue="Example:\n  livepin pin add api.example.com sha256/BASE64 --label 'next key'"
)
def add(
    host: Host,
    pin: PinText,
    /,
    *,
    backup: Annotated[bool, Parameter(help="It is the key of a later certificate.")] = False,
    label: Label = "",
    stream: Stream = "main",
    reason: Reason = "",
    common: Common = _DEFAULTS,
) -> None:
    """Add a pin to a domain; apps accept that key as well from now on."""
    body = {
        "pins": [{"sha256": checked(pin), "backup": backup, "label": label}],
        "reason": reason,
    }
    where = path(host)
    with connected(common) as api:
        done = api.call("POST", f"{api.base}/domains/{where}/pins", body, stream=stream)
    if common.json:
        show_json(done)
        return
    version = done["publication"]["version"]
    say(f"{pin} is pinned for {done['domain']['pattern']}, in config version {version}.")


@app.command(help_epilogue="Example:\n  livepin pin remove api.example.com sha256/BASE64")
def remove(
    host: Host,
    pin: PinText,
    /,
    *,
    unchecked: Annotated[
        bool, Parameter(help="Remove it although the host serves that key now.")
    ] = False,
    stream: Stream = "main",
    reason: Reason = "",
    common: Common = _DEFAULTS,
) -> None:
    """Remove a pin from a domain. The last one stays, and the one that the host serves now."""
    digest = base64.urlsafe_b64encode(parse_fingerprint(checked(pin))).rstrip(b"=").decode()
    where = path(host)
    with connected(common) as api:
        if not unchecked:
            _require_unused(pin, api.call("GET", f"{api.base}/domains/{where}", stream=stream))
        done = api.call(
            "DELETE",
            f"{api.base}/domains/{where}/pins/{digest}",
            stream=stream,
            reason=reason,
        )
    if common.json:
        show_json(done)
        return
    name, version = done["domain"]["pattern"], done["publication"]["version"]
    say(f"{pin} is no longer pinned for {name}, from config version {version} on.")


@app.command(name="list", help_epilogue="Example:\n  livepin pin list api.example.com")
def list_(host: Host, /, *, stream: Stream = "main", common: Common = _DEFAULTS) -> None:
    """Show the pins of a domain."""
    where = path(host)
    with connected(common) as api:
        found = api.call("GET", f"{api.base}/domains/{where}", stream=stream)
    if common.json:
        show_json(found["pins"])
    else:
        show_pins(found["pins"])


@app.command(
    help_epilogue="Example:\n  livepin pin new-backup api.example.com --out api-backup.key"
)
def new_backup(
    host: Host,
    /,
    *,
    out: Annotated[Path, Parameter(metavar="FILE", help="A new file for the private key.")],
    stream: Stream = "main",
    reason: Reason = "",
    common: Common = _DEFAULTS,
) -> None:
    """Make a key for the next certificate, and pin it now.

    The private key stays in the file here; only its fingerprint goes to the server.
    """
    name = pattern(host)
    key = ec.generate_private_key(ec.SECP256R1())
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pin = fingerprint_text(sha256(spki).digest())
    with connected(common) as api:
        api.call("GET", f"{api.base}/domains/{path(host)}", stream=stream)
        try:
            pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            write_secret(out, pem)
        except CustodyError as exc:
            raise CommandError(str(exc), hint=exc.hint) from exc
        body = {
            "pins": [{"sha256": pin, "backup": True, "label": "backup"}],
            "reason": reason or "backup key",
        }
        try:
            done = api.call("POST", f"{api.base}/domains/{path(host)}/pins", body, stream=stream)
        except CommandError as exc:
            # Without an answer the pin may be published: then its key must not be lost.
            if exc.code != UNREACHABLE:
                out.unlink(missing_ok=True)
            raise
    if common.json:
        show_json(done | {"pin": pin, "file": str(out)})
        return
    say(f"{pin} is pinned for {name}, in config version {done['publication']['version']}.", "green")
    say(f"The private key is in {out}. For the next certificate, request it with this key:")
    alternative = f"{'IP' if is_address(name) else 'DNS'}:{name}"
    say(
        f"  openssl req -new -key {quoted(str(out))} -subj {quoted(f'/CN={name}')} "
        f"-addext {quoted(f'subjectAltName={alternative}')}"
    )


def _require_unused(pin: str, domain: dict[str, Any]) -> None:
    """Refuse to remove the one pin by which apps reach the host now. No answer is no objection."""
    name = domain["pattern"]
    others = {each["sha256"] for each in domain["pins"]} - {pin}
    if name.startswith("*.") or domain["mode"] != "enforce" or not others:
        return
    with working(f"looking at {name}"):
        seen = probe(Target(host=name, connect=domain["connect"], ca=domain["ca"]))
    served = {each.sha256 for each in seen.chain}
    if pin in served and not served & others:
        raise CommandError(
            f"{name} serves this key now: without its pin, apps would be refused",
            hint="change the certificate first; to remove it all the same: --unchecked",
            code=FOUND,
        )
