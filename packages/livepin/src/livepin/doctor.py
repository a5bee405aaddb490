"""livepin doctor: what an endpoint serves, and whether an app with this bootstrap gets through.

It needs nothing but this library: run it where the app runs, or in its container.
"""

from __future__ import annotations

import argparse
import json
import socket
import ssl
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from . import bootstrap as bootstraps
from .bootstrap import Bootstrap
from .certificates import CertificateInfo, describe
from .documents import Mode, Stale
from .errors import LivepinError, MalformedError
from .hostnames import normalise
from .pins import fingerprint_text
from .trust import TrustedState
from .verified import verified_chain

OK, FOUND, USAGE, UNREACHABLE = 0, 1, 2, 4

_TIMEOUT = 10.0  # seconds
_MOST_PINS = 10  # that are printed; a set of trust roots has more than a hundred
_PARTIAL_CHAIN = ssl.VerifyFlags(0x80000)  # it would hide the root, whose key may be pinned


class _DoctorError(Exception):
    def __init__(self, message: str, code: int, hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


def main(arguments: Sequence[str] | None = None) -> int:
    """Look at an endpoint and say what is right and wrong; return the exit code.

    0: all is well. 1: an app would be refused, or its config is old. 2: wrong usage or input.
    4: the endpoint cannot be reached, or its chain cannot be verified.
    """
    try:
        options = _parser().parse_args(arguments)
    except SystemExit as exc:
        return USAGE if exc.code else OK
    try:
        report = _examined(options)
    except _DoctorError as exc:
        print(f"error: {_plain(str(exc))}", file=sys.stderr)
        if exc.hint:
            print(f"hint:  {exc.hint}", file=sys.stderr)
        return exc.code
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        _show(report)
    return FOUND if report["problems"] else OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="livepin doctor",
        description="Show the verified chain of an endpoint with its SPKI fingerprints, and "
        "whether an app with this bootstrap gets through.",
        epilog="Exit codes: 0 all is well; 1 an app would be refused, or its config is old; "
        "2 wrong usage or input; 4 no chain could be verified.",
    )
    parser.add_argument("url", metavar="URL", help="https://host[:port], or the bare host")
    parser.add_argument("--bootstrap", metavar="FILE", help="what the app embeds")
    parser.add_argument("--ca", metavar="FILE", help="a private CA in PEM: trust it, and no other")
    parser.add_argument("--connect", metavar="HOST:PORT", help="connect there, still as the host")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _examined(options: argparse.Namespace) -> dict[str, Any]:
    host, port = _endpoint(options.url)
    address = (host, port) if options.connect is None else _endpoint(options.connect, bare=True)
    state = None if options.bootstrap is None else _trusted(Path(options.bootstrap))
    chain = _chain(host, address, options.ca)
    now = datetime.now(timezone.utc)
    report: dict[str, Any] = {
        "host": host,
        "port": port,
        "chain": [_shown(each) for each in chain],
        "config": None,
        "domain": None,
        "problems": [],
    }
    if state is not None:
        _judge(report, state, host, chain, now)
    return report


# -- input ---------------------------------------------------------------------------------------


def _endpoint(text: str, *, bare: bool = False) -> tuple[str, int]:
    try:
        parts = urlsplit(text if "://" in text and not bare else f"https://{text}")
        if parts.scheme != "https" or "@" in text or (bare and ("/" in text or not parts.port)):
            raise ValueError
        return normalise(parts.hostname or ""), 443 if parts.port is None else parts.port
    except (ValueError, MalformedError) as exc:
        raise _DoctorError(
            f"expected {'HOST:PORT' if bare else 'an https URL or a host'}, found {text[:80]!r}",
            USAGE,
            "such as https://api.example.com, or api.example.com:8443",
        ) from exc


def _trusted(path: Path) -> TrustedState:
    try:
        with path.open("rb") as file:
            data = file.read(bootstraps.MAX_SIZE + 1)
        return TrustedState.from_bootstrap(Bootstrap.parse(data))
    except OSError as exc:
        raise _DoctorError(
            f"cannot read {path}: {exc.strerror}", USAGE, "make a new one with: livepin bootstrap"
        ) from exc
    except LivepinError as exc:
        raise _DoctorError(f"{path}: {exc}", USAGE, exc.hint) from exc


# -- the endpoint --------------------------------------------------------------------------------


def _chain(host: str, address: tuple[str, int], ca: str | None) -> list[CertificateInfo]:
    where = f"{address[0]}:{address[1]}"
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as exc:
        reason = "no PEM certificates" if isinstance(exc, ssl.SSLError) else exc.strerror
        hint = "--ca takes certificates in PEM"
        raise _DoctorError(f"cannot read the CA file {ca}: {reason}", USAGE, hint) from exc
    context.verify_flags &= ~_PARTIAL_CHAIN
    try:
        with socket.create_connection(address, timeout=_TIMEOUT) as sock:
            with context.wrap_socket(sock, server_hostname=host) as tls:
                found = [describe(der) for der in verified_chain(tls)]
    except ssl.SSLCertVerificationError as exc:
        raise _DoctorError(
            f"the certificate of {where} is not valid for {host}: {exc.verify_message or exc}",
            UNREACHABLE,
            None if ca else "if a private CA issued it: --ca FILE",
        ) from exc
    except socket.gaierror as exc:
        raise _DoctorError(
            f"{address[0]} does not resolve to an address", UNREACHABLE, "is the name right?"
        ) from exc
    except (OSError, MalformedError) as exc:
        said = getattr(exc, "strerror", None) or exc
        raise _DoctorError(f"{where}: {said}", UNREACHABLE, "does it speak TLS there?") from exc
    if not found:
        raise _DoctorError(f"{where}: this Python shows no verified chain", UNREACHABLE)
    return found


# -- the verdict ---------------------------------------------------------------------------------


def _judge(
    report: dict[str, Any],
    state: TrustedState,
    host: str,
    chain: Sequence[CertificateInfo],
    now: datetime,
) -> None:
    config, problems = state.config, report["problems"]
    trusted = state.trusted_now(now=now)
    stale = state.is_stale(now=now)
    report["config"] = {
        "account": config.account,
        "stream": config.stream,
        "root_version": config.root_version,
        "version": config.version,
        "issued": config.issued.isoformat(),
        "expires": config.expires.isoformat(),
        "age_seconds": int((now - config.issued).total_seconds()),
        "stale": stale,
    }
    if state.clock_is_wrong(now=now):
        problems.append("the config was issued later than this clock says: the clock is wrong")
    if stale:
        problems.append("the config has expired: an app that gets no newer one is stale")
    domain = state.lookup(host)
    if domain is None:
        problems.append(f"no domain of the config covers {host}: it is not pinned")
        return
    matched = domain.pins.match([each.fingerprint for each in chain], now=trusted)
    refused = domain.stale is Stale.REFUSE and state.is_past_grace(now=now)
    report["domain"] = {
        "pattern": domain.pattern,
        "mode": domain.mode.value,
        "pin_set": domain.pin_set,
        "pins": list(domain.pins.texts(now=trusted)),
        "matched": None if matched is None else str(matched),
    }
    if refused and domain.mode is not Mode.OFF:
        problems.append(f"{domain.pattern} is refused while the config is stale")
    if matched is None and domain.mode is Mode.ENFORCE:
        problems.append(f"no pin of {domain.pattern} matches: an app is refused")
    elif matched is None and domain.mode is Mode.REPORT:
        problems.append(f"no pin of {domain.pattern} matches: an app connects, and reports it")


def _shown(info: CertificateInfo) -> dict[str, str]:
    return {
        "subject": _plain(info.subject),
        "issuer": _plain(info.issuer),
        "not_after": info.not_after.isoformat(),
        "key_type": info.key_type,
        "sha256": fingerprint_text(info.fingerprint),
    }


def _show(report: dict[str, Any]) -> None:
    chain = report["chain"]
    for at, each in enumerate(chain):
        place = "leaf" if at == 0 else "root" if at == len(chain) - 1 else "intermediate"
        print(f"{place:13} {each['subject']}")
        print(f"{'':13} expires {each['not_after'][:10]}, {each['key_type']}")
        print(f"{'':13} {each['sha256']}")
    config, domain = report["config"], report["domain"]
    if config is not None:
        name = f"{config['account']}/{config['stream']}"
        age = timedelta(seconds=max(config["age_seconds"], 0))
        print(f"{'config':13} version {config['version']} of {name}, root {config['root_version']}")
        print(f"{'':13} {_ago(age)} old, expires {config['expires'][:10]}")
    if domain is not None:
        # A pin set of one domain alone is named after it, maybe with a final dot.
        own = domain["pin_set"].removesuffix(".") == domain["pattern"]
        follows = "" if own else f", pin set {_plain(domain['pin_set'])}"
        print(f"{'domain':13} {domain['pattern']}, {domain['mode']}{follows}")
        _show_pins(domain["pins"], domain["matched"])
    for text in report["problems"]:
        print(f"problem: {text}")


def _show_pins(pins: Sequence[str], matched: str | None) -> None:
    few = len(pins) <= _MOST_PINS
    for pin in pins:
        if few or pin == matched:
            print(f"{'':13} {pin} {'matches' if pin == matched else 'pinned'}")
    if not few:
        print(f"{'':13} {len(pins) - (matched is not None)} {'other ' if matched else ''}pins")


def _ago(age: timedelta) -> str:
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        number = int(age.total_seconds()) // size
        if number:
            return f"{number} {name}" + ("" if number == 1 else "s")
    return "0 seconds"


def _plain(text: str) -> str:
    """Return a text of a stranger with whatever a terminal would obey made visible."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
