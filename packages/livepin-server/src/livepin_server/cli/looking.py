"""Looking at live endpoints from where the command runs, and showing what was seen."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import msgspec
from livepin.certificates import pem_to_ders
from livepin.errors import MalformedError
from livepin.hostnames import is_address, pattern_covers

from livepin_server.probing.probe import (
    CertificateSeen,
    Observation,
    Target,
    probe,
    split_address,
)

from .api import Api
from .files import read_text
from .output import (
    FOUND,
    UNREACHABLE,
    CommandError,
    Terminal,
    counted,
    days_until,
    err,
    say,
    show_json,
    working,
)
from .parameters import pattern

Level = Literal["leaf", "intermediate", "root"]
_MOST_CA = 64 * 1024  # characters that the management API takes


def target(host: str, port: int | None, connect: str | None, ca: str | None) -> Target:
    """Return what to look at; a wrong host or address is refused here."""
    if connect is not None:
        try:
            split_address(connect)
        except ValueError as exc:
            raise CommandError(
                f"--connect: {exc}", hint="such as --connect 10.0.0.5:8443, or [2001:db8::5]:8443"
            ) from exc
    name = pattern(host)
    if name.startswith("*."):
        raise CommandError(
            f"{name} is no host that one can connect to",
            hint=f"name one that it covers, such as www{name[1:]}",
        )
    return Target(host=name, port=port or 443, connect=connect, ca=ca)


def address_of(wanted: Target) -> str:
    """Return where a look goes, as HOST:PORT."""
    host, port = wanted.address()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def read_ca(path: Path | None) -> str | None:
    """Return the PEM certificates of a file."""
    if path is None:
        return None
    text = read_text(path, hint="--ca takes certificates in PEM")
    try:
        pem_to_ders(text)
    except MalformedError as exc:
        raise CommandError(
            f"{path} holds no PEM certificates", hint="--ca takes certificates in PEM"
        ) from exc
    if len(text) > _MOST_CA:
        raise CommandError(
            f"{path} holds more than {_MOST_CA // 1024} KiB",
            hint="give the CA of this endpoint alone",
        )
    return text


def look(wanted: Target, *, json: bool) -> Observation:
    """Return what is seen from here; an endpoint that cannot be verified is refused."""
    with working(f"looking at {wanted.host}"):
        seen = probe(wanted)
    if seen.verified:
        return seen
    if json:
        show_json({"here": seen, "server": None})
    elif seen.presented:
        say(f"{address_of(wanted)} presented, unverified:", to=err())
        show_chain(seen.presented, to=err(), verified=False)
    raise CommandError(
        seen.error or "no chain was verified", hint=why(seen, wanted), code=UNREACHABLE
    )


def why(seen: Observation, wanted: Target) -> str:
    """Return what to try where no chain could be verified."""
    if not seen.presented:
        if "does not resolve" in (seen.error or ""):
            return "is the name right? --connect HOST:PORT goes to another address"
        return f"does it speak TLS at {address_of(wanted)}? see --port PORT, --connect HOST:PORT"
    leaf, now = seen.presented[0], datetime.now(timezone.utc)
    if leaf.not_after < now:
        return f"it expired on {leaf.not_after:%Y-%m-%d}: renew it first"
    if leaf.not_before > now:
        return f"it is valid from {leaf.not_before:%Y-%m-%d} on: is the clock here right?"
    if not any(covers(name, wanted.host) for name in leaf.names):
        return f"the certificate is for {', '.join(leaf.names[:5]) or 'no name'}"
    if wanted.ca is None:
        return "if a private CA issued it: --ca FILE"
    return f"its issuer is {seen.presented[-1].issuer}: is that the CA in the file?"


def show_chain(
    chain: Sequence[CertificateSeen], *, to: Terminal | None = None, verified: bool = True
) -> None:
    """Print a chain, three lines a certificate; no fingerprint is ever broken."""
    for at, each in enumerate(chain):
        left = days_until(each.not_after)
        when = f"in {counted(left, 'day')}" if left >= 0 else "expired"
        say(f"{_place(at, len(chain), verified):13} {each.subject}", "bold", to=to)
        say(f"{'':13} expires {each.not_after:%Y-%m-%d} ({when}), {each.key_type}", to=to)
        say(f"{'':13} {each.sha256}", to=to)
    if chain:
        say(f"{'issued by':13} {chain[-1].issuer}", to=to)


def look_from_both(api: Api, goal: Target, *, json: bool) -> Observation:
    """Return what is seen from here, and refuse where the server sees another chain."""
    here = look(goal, json=json)
    members = {name: getattr(goal, name) for name in ("host", "port", "connect", "ca")}
    with working(f"the server looks at {goal.host}"):
        there = api.call("POST", f"{api.base}/probes", members)
    compare(here, there, json=json)
    return here


def host_to_look_at(name: str, look_at: str | None, *, instead: str) -> str:
    """Return the host to look at for a pattern; for `*.host`, somebody has to name it."""
    found = require_covered(name, look_at)
    if found is not None or not name.startswith("*."):
        return found or name
    raise CommandError(
        f"{name} is no host that one can look at",
        hint=f"name one: --look-at www{name[1:]}, or the pin: {instead}",
    )


def require_covered(name: str, look_at: str | None) -> str | None:
    """Return the host that --look-at names, or None; it has to be one that `*.host` covers."""
    if look_at is None:
        return None
    if not name.startswith("*."):
        raise CommandError(
            f"--look-at goes with *.host, and {name} is a host",
            hint="--connect HOST:PORT looks at it at another address",
        )
    host = pattern(look_at)
    if not pattern_covers(name, host):
        raise CommandError(f"{name} does not cover {host}", hint=f"such as www{name[1:]}")
    return host


def compare(here: Observation, members: dict[str, Any], *, json: bool) -> None:
    """Refuse where the server, which sent `members`, sees another chain than this machine does."""
    there = msgspec.convert(members, Observation)
    if there.chain and [e.sha256 for e in here.chain] == [e.sha256 for e in there.chain]:
        return
    if json:
        show_json({"here": here, "server": there})
    else:
        _show_both(here, there)
    raise CommandError(
        f"{here.host} does not look the same from here and from the server",
        hint="a proxy on this network? if both are right, name the pin: --pin sha256/...",
        code=FOUND,
    )


def choose(chain: Sequence[CertificateSeen], level: Level) -> CertificateSeen:
    """Return the certificate whose key is to be pinned."""
    if level == "leaf":
        return chain[0]
    if level == "root":
        return chain[-1]
    if len(chain) < 3:
        raise CommandError(
            f"the chain has {counted(len(chain), 'certificate')}, so no intermediate",
            hint="--pin-level leaf, or --pin-level root",
        )
    return chain[1]


def _show_both(here: Observation, there: Observation) -> None:
    console = err()
    say("seen from here:", "bold", to=console)
    show_chain(here.chain, to=console)
    say("seen from the server:", "bold", to=console)
    if not there.chain:
        say(there.error or "no chain was verified", to=console)
    show_chain(there.chain or there.presented, to=console, verified=there.verified)


def _place(at: int, length: int, verified: bool) -> str:
    if at == 0:
        return "leaf"
    if not verified:
        return f"sent {at + 1}"
    return "root" if at == length - 1 else "intermediate"


def covers(name: str, host: str) -> bool:
    """Tell whether a name in a certificate covers a host."""
    if name.startswith("*.") and not is_address(host):
        return host.partition(".")[2] == name[2:].lower()
    return name.lower() == host
