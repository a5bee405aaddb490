"""livepin pin: the keys that a domain accepts."""

from __future__ import annotations

import base64
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cyclopts import App, Parameter
from livepin.pins import fingerprint_text, parse_fingerprint

from livepin_server.custody.errors import CustodyError
from livepin_server.custody.files import write_secret

from .api import Common, connected
from .domain import Reason, Stream, checked, path, show_pins
from .output import CommandError, say, show_json

app = App(name="pin", help="The keys that a domain accepts.")
_DEFAULTS = Common()


@app.command
def add(
    host: str,
    pin: Annotated[str, Parameter(help="sha256/BASE64")],
    *,
    backup: Annotated[bool, Parameter(negative="")] = False,
    label: str = "",
    stream: Stream = "main",
    reason: Reason = "",
    common: Common = _DEFAULTS,
) -> None:
    """Add a pin to a domain; apps accept that key as well from now on."""
    body = {
        "pins": [{"sha256": checked(pin), "backup": backup, "label": label}],
        "reason": reason,
    }
    with connected(common) as api:
        done = api.call("POST", f"{api.base}/domains/{path(host)}/pins", body, stream=stream)
    if common.json:
        show_json(done)
        return
    version = done["publication"]["version"]
    say(f"{pin} is pinned for {done['domain']['pattern']}, in config version {version}.")


@app.command
def remove(
    host: str,
    pin: Annotated[str, Parameter(help="sha256/BASE64")],
    *,
    stream: Stream = "main",
    reason: Reason = "",
    common: Common = _DEFAULTS,
) -> None:
    """Remove a pin from a domain. The last one stays."""
    digest = base64.urlsafe_b64encode(parse_fingerprint(checked(pin))).rstrip(b"=").decode()
    with connected(common) as api:
        done = api.call(
            "DELETE",
            f"{api.base}/domains/{path(host)}/pins/{digest}",
            stream=stream,
            reason=reason,
        )
    if common.json:
        show_json(done)
        return
    version = done["publication"]["version"]
    say(f"{pin} is no longer pinned for {host}, from config version {version} on.")


@app.command(name="list")
def list_(host: str, *, stream: Stream = "main", common: Common = _DEFAULTS) -> None:
    """Show the pins of a domain."""
    with connected(common) as api:
        found = api.call("GET", f"{api.base}/domains/{path(host)}", stream=stream)
    if common.json:
        show_json(found["pins"])
    else:
        show_pins(found["pins"])


@app.command
def new_backup(
    host: str,
    *,
    out: Annotated[Path, Parameter(help="A new file for the private key.")],
    stream: Stream = "main",
    reason: Reason = "",
    common: Common = _DEFAULTS,
) -> None:
    """Make a key for the next certificate, and pin it now.

    The private key stays in the file here; only its fingerprint goes to the server.

    Example: livepin pin new-backup api.example.com --out backup.key
    """
    key = ec.generate_private_key(ec.SECP256R1())
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pin = fingerprint_text(sha256(spki).digest())
    with connected(common) as api:
        found = api.call("GET", f"{api.base}/domains/{path(host)}", stream=stream)
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
        except CommandError:
            out.unlink(missing_ok=True)
            raise
    if common.json:
        show_json(done | {"pin": pin, "file": str(out)})
        return
    name = found["pattern"]
    say(f"{pin} is pinned for {name}, in config version {done['publication']['version']}.")
    say(f"The private key is in {out}. For the next certificate, request it with this key:")
    say(f"  openssl req -new -key {out} -subj /CN={name} -addext subjectAltName=DNS:{name}")
