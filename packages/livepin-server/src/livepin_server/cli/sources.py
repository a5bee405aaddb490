"""Where new pins come from: the sources of `pin add`, and whether they fit the host."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from livepin.certificates import describe, pem_to_ders
from livepin.hostnames import pattern_covers
from livepin.pins import PREFIX

from livepin_server.probing.probe import Target, probe

from .files import read_text
from .keyfiles import MOST, Found, choose, read, read_bounded
from .looking import Level, covers
from .output import FOUND, UNREACHABLE, CommandError, warn, working
from .parameters import checked

_STDIN = "-"


def gather(
    sources: Sequence[str],
    *,
    level: Level | None,
    passphrase_file: Path | None,
    command: str = "pin add",
) -> list[Found]:
    """Return the key that each source names: a fingerprint, a file, or standard input.

    Raises:
        CommandError: one cannot be read, or it is not clear which of its keys is meant.
    """
    if sources.count(_STDIN) > 1:
        raise CommandError("standard input can be read once", hint="give - once, and files by name")
    passphrase = _passphrase(passphrase_file, asks=_STDIN not in sources)
    found = []
    for each in sources:
        if each.startswith(PREFIX):
            found.append(Found(checked(each), "", level))
            continue
        if each.startswith("-") and each != _STDIN:
            raise CommandError(
                f"Unknown option: {each}.", hint=f"livepin {command} --help; a file: ./-name"
            )
        name = "standard input" if each == _STDIN else each
        data = sys.stdin.buffer.read(MOST + 1) if each == _STDIN else read_bounded(Path(each))
        found.append(choose(read(data, name, passphrase=passphrase), name, level))
    return found


def require_fit(found: Sequence[Found], domain: dict[str, Any], *, backup: bool) -> None:
    """Refuse certificates by which apps would never reach the host.

    Raises:
        CommandError: it is for other names, or the host's chain does not hold it.
    """
    name = domain["pattern"]
    for each in found:
        if each.der is None:
            if each.names:
                _require_name(each, each.names, name)
            continue
        info = describe(each.der)
        if info.not_after < datetime.now(timezone.utc):
            warn(f"the certificate {each.what} expired on {info.not_after:%Y-%m-%d}")
        # What openssl makes by itself is a CA that names hosts: it is meant for those.
        if each.level == "leaf" or info.names:
            _require_name(each, info.names, name)
        if each.level != "leaf" and not backup:
            _require_reached(each, domain)
        elif each.level == "leaf" and info.issuer == info.subject:
            _require_trusted(each, each.der, domain)


def _require_name(leaf: Found, names: Sequence[str], name: str) -> None:
    if name.startswith("*."):
        # A wildcard of a certificate stands for one label.
        fits = any(pattern_covers(name, each.replace("*.", "any.", 1)) for each in names)
    else:
        fits = any(covers(each, name) for each in names)
    if not fits:
        what = leaf.what if leaf.der is None else f"the certificate {leaf.what}"
        raise CommandError(
            f"{what} is for {', '.join(names[:5]) or 'no name'}, not {name}",
            hint="is it the right file? to pin its key all the same: --unchecked",
        )


def _require_reached(authority: Found, domain: dict[str, Any]) -> None:
    """Refuse the key of a CA that is not in the host's chain, or where nobody can tell."""
    name = domain["pattern"]
    if name.startswith("*."):
        return
    with working(f"looking at {name}"):
        seen = probe(Target(host=name, connect=domain["connect"], ca=domain["ca"]))
    hint = "for the chain of a later certificate: --backup; all the same: --unchecked"
    if not seen.verified:
        raise CommandError(
            f"whether the chain of {name} reaches {authority.what} is not known: {seen.error}",
            hint=hint,
            code=UNREACHABLE,
        )
    if authority.pin not in {each.sha256 for each in seen.chain}:
        raise CommandError(
            f"the chain of {name} does not reach {authority.what}", hint=hint, code=FOUND
        )


def _require_trusted(leaf: Found, der: bytes, domain: dict[str, Any]) -> None:
    """Refuse a certificate that signed itself, where it is not the private CA of the domain."""
    if domain["ca"] is None or der not in pem_to_ders(domain["ca"]):
        raise CommandError(
            f"the certificate {leaf.what} is signed by itself: no chain of {domain['pattern']} "
            "reaches a CA",
            hint="is it the right file? if all devices trust it: --unchecked",
        )


def _passphrase(file: Path | None, *, asks: bool) -> Callable[[], str | None]:
    """Return how to get at the passphrase; it is asked for once."""
    kept: list[str] = []

    def one() -> str | None:
        if not kept:
            kept.append(_found())
        return kept[0]

    def _found() -> str:
        if file is not None:
            return read_text(file).rstrip("\r\n")
        found = os.environ.get("LIVEPIN_KEY_PASSPHRASE", "")
        if not found and asks and sys.stdin.isatty():
            try:
                found = getpass.getpass("Passphrase of the key file: ")
            except EOFError:
                found = ""
        return found

    return one
