"""livepin pinset: pins that many domains share, managed trust roots among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from .api import Api, Changing, Common, connected
from .consequences import agree
from .domain import show_pins
from .looking import Level, require_covered
from .output import CommandError, counted, say, show_json, some, table, warn
from .parameters import (
    Host,
    Label,
    LookAt,
    PinText,
    Reason,
    SetName,
    Stream,
    checked,
    elsewhere,
    name_of,
    path,
    pattern,
)
from .sources import gather
from .trust_store import TrustStore, read_roots

app = App(name="pinset")
_DEFAULTS = Common()
_CHANGING = Changing()

_Source = Annotated[
    str,
    Parameter(
        name="SOURCE",
        allow_leading_hyphen=True,
        help="sha256/BASE64, or a file as `pin add` reads it; - is standard input.",
    ),
]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Sources:
    """What the pins of a set are taken from, beside SOURCE."""

    pin: Annotated[
        tuple[PinText, ...], Parameter(metavar="PIN", help="A pin; may be given again.")
    ] = ()
    roots: Annotated[
        Path | None,
        Parameter(metavar="FILE", help="Take the CA roots of this bundle, in PEM, instead."),
    ] = None
    system_roots: Annotated[
        bool, Parameter(help="Take the CA roots that this machine trusts, instead.")
    ] = False
    pin_level: Annotated[
        Level | None, Parameter(help="Whose key of a chain; it is needed where there are several.")
    ] = None
    backup: Annotated[bool, Parameter(help="They are keys of later certificates.")] = False
    label: Label = ""
    passphrase_file: Annotated[
        Path | None,
        Parameter(
            metavar="FILE",
            help="Opens an encrypted file; else LIVEPIN_KEY_PASSPHRASE, or a question.",
        ),
    ] = None


_NO_SOURCES = Sources()


@app.command(
    help_epilogue="""Examples:
  livepin pinset add payments sha256/BASE64 next.csr
  livepin pinset add corporate corp-ca.pem --pin-level root
  livepin pinset add trust-roots --roots ca-bundle.pem"""
)
def add(
    name: SetName,
    /,
    *source: _Source,
    sources: Sources = _NO_SOURCES,
    stream: Stream = "main",
    reason: Reason = "",
    common: Changing = _CHANGING,
) -> None:
    """Add a pin set that domains may follow by its name.

    Files are read here, and only pins go to the server. Of a bundle of roots, those are taken
    that are certificates of CAs, issued by themselves, and valid now.
    """
    where = _name(name)
    store, pins, lines = _gathered(source, sources, "pinset add")
    body = {"name": where, "pins": pins, "stream": stream, "reason": reason}
    with connected(common) as api:
        done = api.change("POST", f"{api.base}/pin-sets", body)
    if common.json:
        show_json(done)
        return
    _say_store(store)
    for pin, line in lines.items():
        say(f"+ {pin} {line}".rstrip())
    number, version = counted(len(pins), "pin"), done["publication"]["version"]
    say(f"The pin set {where} holds {number}, in config version {version}.", "green")
    say("No domain follows it yet:")
    say(f"  livepin pinset use HOST {where}{common.again}{elsewhere(stream)}")


@app.command(
    help_epilogue="""Examples:
  livepin pinset update trust-roots --roots ca-bundle.pem --reason 'roots of November'
  livepin pinset update payments sha256/BASE64 sha256/BASE64"""
)
def update(
    name: SetName,
    /,
    *source: _Source,
    sources: Sources = _NO_SOURCES,
    stream: Stream = "main",
    reason: Reason = "",
    common: Changing = _CHANGING,
) -> None:
    """Have a pin set hold exactly these pins, and publish once. Shows what comes and goes.

    If pins go by which apps may reach a domain now, it asks first: the hosts are looked at from
    here. A pin that stays keeps its label.
    """
    where = _name(name)
    store, pins, lines = _gathered(source, sources, "pinset update")
    with connected(common) as api:
        held = api.call("GET", f"{api.base}/pin-sets/{where}", stream=stream)
        seen, labels = api.seen, {each["sha256"]: each["label"] for each in held["pins"]}
        come = {pin: line for pin, line in lines.items() if pin not in labels}
        gone = {pin: _parting(pin, labels, store) for pin in labels if pin not in lines}
        if not common.json:
            _say_store(store)
            for pin, line in [*gone.items(), *come.items()]:
                say(f"{'+' if pin in come else '-'} {pin} {line}".rstrip())
        done: dict[str, Any] = {"pin_set": held, "publication": None}
        if come or gone:
            agreed = _agree_to_update(api, held, pins, yes=common.yes)
            body = {"pins": pins, "reason": reason}
            done = api.change(
                "PUT",
                f"{api.base}/pin-sets/{where}/pins",
                body,
                confirmed=agreed,
                expected=seen,
                stream=stream,
            )
    if common.json:
        show_json(done | {"added": [*come], "removed": [*gone]})
    elif done["publication"] is None:
        say(f"The pin set {where} holds these pins already: nothing is published.")
    else:
        number, version = counted(len(done["pin_set"]["pins"]), "pin"), done["publication"]
        say(f"The pin set {where} holds {number}, in config version {version['version']}.", "green")


@app.command(name="list", help_epilogue="Example:\n  livepin pinset list --json")
def list_(*, stream: Stream = "main", common: Common = _DEFAULTS) -> None:
    """Show the pin sets that domains may follow."""
    with connected(common) as api:
        found = api.call("GET", f"{api.base}/pin-sets", stream=stream)
    if common.json:
        show_json(found)
        return
    if not found:
        say(f"no pin sets yet; add one with: livepin pinset add NAME SOURCE{common.again}")
        return
    table(
        ("pin set", "pins", "keys of", "domains"),
        [
            (
                each["name"],
                str(len(each["pins"])),
                ", ".join(sorted({pin["level"] or "unknown" for pin in each["pins"]})),
                some(each["domains"]) if each["domains"] else "none",
            )
            for each in found
        ],
    )


@app.command(help_epilogue="Example:\n  livepin pinset show payments")
def show(name: SetName, /, *, stream: Stream = "main", common: Common = _DEFAULTS) -> None:
    """Show one pin set: its pins, and the domains that follow it."""
    where = _name(name)
    with connected(common) as api:
        found = api.call("GET", f"{api.base}/pin-sets/{where}", stream=stream)
    if common.json:
        show_json(found)
        return
    say(found["name"], style="bold")
    say(f"  stream    {found['stream']}")
    say(f"  domains   {', '.join(found['domains']) or 'none'}")
    show_pins(found["pins"])


@app.command(
    help_epilogue="""Examples:
  livepin pinset use api.example.com payments
  livepin pinset use api.example.com --own"""
)
def use(
    host: Host,
    name: Annotated[str | None, Parameter(name="NAME", help="The pin set to follow.")] = None,
    /,
    *,
    own: Annotated[
        bool, Parameter(help="Have pins of its own again, at first those of the set.")
    ] = False,
    look_at: LookAt = None,
    stream: Stream = "main",
    reason: Reason = "",
    common: Changing = _CHANGING,
) -> None:
    """Have a domain follow a pin set from now on, in place of its own.

    Asks first if the set accepts keys of CAs where single keys were pinned, or if it has no key
    that the host serves now, seen from here, or where that cannot be seen.
    """
    if own == (name is not None):
        found = "both" if own else "neither"
        raise CommandError(
            f"expected NAME or --own, found {found}", hint="livepin pinset use --help"
        )
    where, look_at = path(host), require_covered(pattern(host), look_at)
    if name is not None:
        name = _name(name)
    with connected(common) as api:
        before, agreed = api.call("GET", f"{api.base}/domains/{where}", stream=stream), False
        if name is not None and before["pin_set"] != name:
            pins = api.call("GET", f"{api.base}/pin-sets/{name}", stream=stream)["pins"]
            agreed = agree([(before, before | {"pins": pins})], yes=common.yes, look_at=look_at)
        body = {"name": name, "reason": reason}
        done = api.change(
            "PUT",
            f"{api.base}/domains/{where}/pin-set",
            body,
            confirmed=agreed,
            stream=stream,
        )
    if common.json:
        show_json(done)
        return
    follows = "has pins of its own, those that it had" if own else f"follows the pin set {name}"
    say(f"{pattern(host)} {follows}, from config version {done['publication']['version']} on.")


@app.command(help_epilogue="Example:\n  livepin pinset remove payments")
def remove(
    name: SetName,
    /,
    *,
    stream: Stream = "main",
    reason: Reason = "",
    common: Changing = _CHANGING,
) -> None:
    """Remove a pin set that no domain follows."""
    where = _name(name)
    with connected(common) as api:
        done = api.change("DELETE", f"{api.base}/pin-sets/{where}", stream=stream, reason=reason)
    if common.json:
        show_json(done)
        return
    version = done["publication"]["version"]
    say(f"The pin set {where} is removed, from config version {version} on.")


def _name(text: str) -> str:
    return name_of("a pin set", text, such_as="payments, or trust-roots")


def _gathered(
    source: Sequence[str], sources: Sources, command: str
) -> tuple[TrustStore | None, list[dict[str, Any]], dict[str, str]]:
    """Return the pins of the sources as the management API takes them, and a line on each."""
    given = {
        "SOURCE or --pin": bool(source or sources.pin),
        "--roots": sources.roots is not None,
        "--system-roots": sources.system_roots,
    }
    if sum(given.values()) != 1:
        found = " and ".join(name for name, there in given.items() if there) or "none"
        raise CommandError(
            f"expected one of SOURCE, --roots and --system-roots, found {found}",
            hint=f"livepin {command} --help",
        )
    if sources.roots is not None or sources.system_roots:
        store = read_roots(sources.roots)
        if sources.system_roots:
            warn(
                "a trust store also holds what was added to it, such as a proxy's CA: read the list"
            )
        pins = [
            {"sha256": each.pin, "label": each.subject, "level": "root"}
            for each in store.roots.values()
        ]
        lines = {r.pin: f"{r.subject}, until {r.expires:%Y-%m-%d}" for r in store.roots.values()}
        return store, pins, lines
    found_keys = gather(
        [*source, *map(checked, sources.pin)],
        level=sources.pin_level,
        passphrase_file=sources.passphrase_file,
        command=command,
    )
    by_pin = {each.pin: each for each in found_keys}
    members = {"backup": sources.backup, "label": sources.label}
    return (
        None,
        [{"sha256": pin, "level": each.level, **members} for pin, each in by_pin.items()],
        {pin: f"of {each.what}" if each.what else "" for pin, each in by_pin.items()},
    )


def _say_store(store: TrustStore | None) -> None:
    if store is not None:
        say(store.summary(), "bold")


def _parting(pin: str, labels: Mapping[str, str], store: TrustStore | None) -> str:
    """Return what is said of a pin that goes: its label, and why where that is known."""
    why = None if store is None else store.left_out.get(pin)
    return ", ".join(each for each in (labels[pin], why) if each)


def _agree_to_update(
    api: Api, held: dict[str, Any], pins: list[dict[str, Any]], *, yes: bool
) -> bool:
    """Ask first where the domains that follow the set may be shut, or more open, by new pins."""
    stream = held["stream"]
    every = {"not_before": None, "not_after": None, "level": None, "backup": False}
    stays = {pin["sha256"]: pin for pin in held["pins"]}  # as it is, with the limits of its time
    new = [stays.get(pin["sha256"], every | pin) for pin in pins]
    domains = api.call("GET", f"{api.base}/domains", stream=stream) if held["domains"] else []
    return agree(
        [(each, each | {"pins": new}) for each in domains if each["pin_set"] == held["name"]],
        yes=yes,
    )
