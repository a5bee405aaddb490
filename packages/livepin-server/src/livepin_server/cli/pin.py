"""livepin pin: the keys that a domain accepts."""

from __future__ import annotations

import base64
from datetime import datetime, timezone
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
from msgspec import structs

from livepin_server.custody.files import write_secret
from livepin_server.errors import CustodyError
from livepin_server.probing.probe import Target, probe

from .api import Api, Changing, Common, connected
from .consequences import in_force
from .domain import fellows, set_of, show_pins, warn_of_fellows
from .keyfiles import Found
from .looking import (
    Level,
    choose,
    host_to_look_at,
    look_from_both,
    read_ca,
    show_chain,
    target,
)
from .output import FOUND, UNREACHABLE, CommandError, Kept, say, show_json, working
from .parameters import (
    Ca,
    Connect,
    Host,
    Label,
    LookAt,
    PinText,
    Port,
    Reason,
    Stream,
    checked,
    moment,
    path,
    pattern,
    quoted,
)
from .sources import gather, require_fit

app = App(name="pin")
_DEFAULTS = Common()
_CHANGING = Changing()


Source = Annotated[
    str,
    Parameter(
        name="SOURCE",
        allow_leading_hyphen=True,
        help="sha256/BASE64, or a file with a certificate, PKCS#7, PKCS#12, a request or a "
        "key, in PEM or DER; - is standard input.",
    ),
]
PassphraseFile = Annotated[
    Path | None,
    Parameter(
        metavar="FILE", help="Opens an encrypted file; else LIVEPIN_KEY_PASSPHRASE, or a question."
    ),
]
NotBefore = Annotated[
    str | None, Parameter(metavar="TIME", help="It counts from then on: a day, or RFC 3339.")
]
NotAfter = Annotated[
    str | None, Parameter(metavar="TIME", help="It counts until then, and matches no more.")
]


@app.command(
    help_epilogue="""Examples:
  livepin pin add api.example.com sha256/BASE64 --label 'next key'
  livepin pin add api.example.com next.csr --backup
  livepin pin add api.example.com fullchain.pem --pin-level intermediate
  livepin pin add api.example.com store.p12 --passphrase-file passphrase.txt
  livepin pin add api.example.com --live --not-after 2027-01-31"""
)
def add(
    host: Host,
    /,
    *source: Source,
    live: Annotated[bool, Parameter(help="Pin what the host serves now.")] = False,
    pin_level: Annotated[
        Level | None, Parameter(help="Whose key of a chain; it is needed where there are several.")
    ] = None,
    backup: Annotated[bool, Parameter(help="It is the key of a later certificate.")] = False,
    label: Label = "",
    not_before: NotBefore = None,
    not_after: NotAfter = None,
    passphrase_file: PassphraseFile = None,
    port: Port = None,
    connect: Connect = None,
    ca: Ca = None,
    look_at: LookAt = None,
    unchecked: Annotated[
        bool, Parameter(help="Pin a certificate that does not fit the host, too.")
    ] = False,
    stream: Stream = "main",
    reason: Reason = "",
    common: Changing = _CHANGING,
) -> None:
    """Add pins to a domain; apps accept these keys as well from now on.

    Files are read here, and of a private key only its public half; only pins go to the server.
    """
    if not (source or live):
        raise CommandError("expected SOURCE or --live", hint="livepin pin add --help")
    if not live and (port or connect or ca or look_at):
        raise CommandError(
            "--port, --connect, --ca and --look-at go with --live", hint="livepin pin add --help"
        )
    said = {
        "backup": backup,
        "label": label,
        "not_before": moment(not_before, option="--not-before"),
        "not_after": _later(moment(not_after, option="--not-after")),
    }
    name, where = pattern(host), path(host)
    wanted = host_to_look_at(name, look_at, instead="sha256/...") if live else None
    goal = target(wanted, port, connect, read_ca(ca)) if wanted else None
    found = gather(source, level=pin_level, passphrase_file=passphrase_file)
    with connected(common) as api:
        if goal is not None or any(each.der or each.names for each in found):
            domain = api.call("GET", f"{api.base}/domains/{where}", stream=stream)
            if not unchecked:
                require_fit(found, domain, backup=backup)
            if goal is not None:
                found += [_live(api, goal, domain, pin_level or "leaf", common)]
        pins = list({each.pin: each for each in found}.values())
        body = {"pins": [_member(each, said) for each in pins], "reason": reason}
        warn_of_fellows(api, where, stream)
        done = api.change("POST", f"{api.base}/domains/{where}/pins", body, stream=stream)
    if common.json:
        show_json(done)
    else:
        _show_added(pins, name, done["publication"]["version"])


@app.command(help_epilogue="Example:\n  livepin pin remove api.example.com sha256/BASE64")
def remove(
    host: Host,
    pin: PinText,
    /,
    *,
    stream: Stream = "main",
    reason: Reason = "",
    common: Changing = _CHANGING,
) -> None:
    """Remove a pin from a domain. The last one stays, and the one that the host serves now."""
    digest = base64.urlsafe_b64encode(parse_fingerprint(checked(pin))).rstrip(b"=").decode()
    where = path(host)
    with connected(common) as api:
        if not common.force:
            for each in _with_fellows(api, where, stream):
                _require_unused(pin, each)
        warn_of_fellows(api, where, stream)
        done = api.change(
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
        others = fellows(api, found)
    if common.json:
        show_json(found["pins"])
        return
    if found["shared"]:
        say(f"pin set {set_of(found, others)}", style="bold")
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
    common: Changing = _CHANGING,
) -> None:
    """Make a key for the next certificate, and pin it now.

    The private key stays in the file here; only its fingerprint goes to the server.
    """
    name = pattern(host)
    key = ec.generate_private_key(ec.SECP256R1())
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pin = fingerprint_text(sha256(spki).digest())
    with connected(common) as api:
        warn_of_fellows(api, path(host), stream)
        try:
            pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            write_secret(out, pem)
        except CustodyError as exc:
            raise CommandError(str(exc), hint=exc.hint) from exc
        body = {
            "pins": [{"sha256": pin, "backup": True, "label": "backup", "level": "leaf"}],
            "reason": reason or "backup key",
        }
        try:
            done = api.change("POST", f"{api.base}/domains/{path(host)}/pins", body, stream=stream)
        except Kept:
            if not common.json:
                say(f"The private key is in {out}.")
            raise
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


def _member(found: Found, said: dict[str, Any]) -> dict[str, Any]:
    """Return a pin as the management API takes it, with what was said of all of them."""
    return {"sha256": found.pin, "level": found.level, **said}


def _show_added(pins: list[Found], name: str, version: int) -> None:
    for each in pins:
        of = f" of {each.what}" if each.what else ""
        say(f"{each.pin}{of} is pinned for {name}, in config version {version}.")


def _live(api: Api, goal: Target, domain: dict[str, Any], level: Level, common: Common) -> Found:
    """Return the key that the host serves now, as this machine and the server see it."""
    if goal.connect is None and goal.port == 443 and goal.host == domain["pattern"]:
        goal = structs.replace(goal, connect=domain["connect"])
    goal = structs.replace(goal, ca=goal.ca or domain["ca"])
    here = look_from_both(api, goal, json=common.json)
    if not common.json:
        show_chain(here.chain)
    chosen = choose(here.chain, level)
    return Found(chosen.sha256, chosen.subject, level)


def _later(until: str | None) -> str | None:
    if until is not None and datetime.fromisoformat(until) <= datetime.now(timezone.utc):
        raise CommandError(
            f"--not-after: {until} is past, so the pin would match nothing", hint="name a later one"
        )
    return until


def _with_fellows(api: Api, where: str, stream: str) -> list[dict[str, Any]]:
    """Return a domain, and the others that follow the same pin set."""
    domain = api.call("GET", f"{api.base}/domains/{where}", stream=stream)
    if not domain["shared"]:
        return [domain]
    every: list[dict[str, Any]] = api.call("GET", f"{api.base}/domains", stream=stream)
    return [each for each in every if each["pin_set"] == domain["pin_set"]]


def _require_unused(pin: str, domain: dict[str, Any]) -> None:
    """Refuse to remove the one pin by which apps reach the host now. No answer is no objection."""
    name = domain["pattern"]
    held = {each["sha256"] for each in in_force(domain)}
    if name.startswith("*.") or domain["mode"] != "enforce" or pin not in held:
        return
    if len(domain["pins"]) == 1:
        return  # the server refuses it, whatever the host serves
    with working(f"looking at {name}"):
        seen = probe(Target(host=name, connect=domain["connect"], ca=domain["ca"]))
    served = {each.sha256 for each in seen.chain}
    if pin in served and not served & (held - {pin}):
        raise CommandError(
            f"{name} serves this key now: without its pin, apps would be refused",
            hint="change the certificate first; to remove it all the same: --force --reason TEXT",
            code=FOUND,
        )
