"""Looking at live endpoints from where the command runs, and showing what was seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec
from livepin.certificates import pem_to_ders
from livepin.errors import MalformedError

from livepin_server.probing.probe import CertificateSeen, Observation, Target, probe

from .output import FOUND, UNREACHABLE, CommandError, days_until, say, table, working

Level = Literal["leaf", "intermediate", "root"]


def target(host: str, port: int, connect: str | None, ca: Path | None) -> Target:
    """Return what to look at; a wrong host, port or file is refused here."""
    try:
        return Target(host=host, port=port, connect=connect, ca=read_ca(ca)).checked()
    except ValueError as exc:
        raise CommandError(
            str(exc), hint="give the bare host, and --port if it is not 443"
        ) from exc


def read_ca(path: Path | None) -> str | None:
    """Return the PEM certificates of a file."""
    if path is None:
        return None
    try:
        text = path.read_text()
        pem_to_ders(text)
    except (OSError, UnicodeDecodeError) as exc:
        raise CommandError(f"cannot read {path}: {exc}") from exc
    except MalformedError as exc:
        raise CommandError(f"{path} holds no PEM certificates", hint="--ca takes PEM") from exc
    return text


def look(wanted: Target) -> Observation:
    """Return what is seen from here; an endpoint that cannot be verified is refused."""
    with working(f"looking at {wanted.host}"):
        seen = probe(wanted)
    if not seen.verified:
        if seen.presented:
            say(f"{wanted.host} presented:")
            show_chain(seen.presented)
        raise CommandError(
            seen.error or "no chain was verified",
            hint="a private CA? --ca FILE. Another address? --connect HOST:PORT",
            code=UNREACHABLE,
        )
    return seen


def show_chain(chain: list[CertificateSeen]) -> None:
    """Print a chain as a table."""
    table(
        ("", "subject", "issuer", "expires", "key", "fingerprint"),
        [
            (
                _place(at, len(chain)),
                each.subject,
                each.issuer,
                f"{each.not_after:%Y-%m-%d} ({days_until(each.not_after.isoformat())} d)",
                each.key_type,
                each.sha256,
            )
            for at, each in enumerate(chain)
        ],
    )


def compare(here: Observation, there: Observation) -> None:
    """Refuse where the server sees another chain than this machine does."""
    ours = [each.sha256 for each in here.chain]
    theirs = [each.sha256 for each in there.chain]
    if ours == theirs:
        return
    say("seen from here:")
    show_chain(here.chain)
    say("seen from the server:")
    if there.chain:
        show_chain(there.chain)
    else:
        say(f"  {there.error}")
    raise CommandError(
        f"{here.host} does not look the same from here and from the server",
        hint="a proxy on this network? if both are right, name the pin: --pin sha256/...",
        code=FOUND,
    )


def choose(chain: list[CertificateSeen], level: Level) -> CertificateSeen:
    """Return the certificate whose key is to be pinned."""
    if level == "leaf":
        return chain[0]
    if level == "root":
        return chain[-1]
    if len(chain) < 3:
        raise CommandError(
            f"the chain has {len(chain)} certificates, so no intermediate",
            hint="--pin-level leaf or root",
        )
    return chain[1]


def observation(members: dict[str, Any]) -> Observation:
    """Return an observation that the server made."""
    return msgspec.convert(members, Observation)


def _place(at: int, length: int) -> str:
    if at == 0:
        return "leaf"
    return "root" if at == length - 1 else "intermediate"
