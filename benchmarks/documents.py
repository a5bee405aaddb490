"""What documents cost: sizes, signing, and what an app does with them, by the number of domains.

Each domain has a pin set of its own with two pins, which is the dearest way to write a config.
Times are CPU time, the best of several runs.
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from typing import Any

from livepin.bootstrap import Bootstrap
from livepin.documents import Config, Delivery, Domain, Role, Root, config, root
from livepin.jose import PrivateKey, sign_compact, sign_general
from livepin.pins import Pin, PinSet
from livepin.trust import TrustedState

BUDGET = "verify and load in 0.3 ms, 15 ms and 200 ms"

SIZES = (10, 1_000, 10_000)
_NOW = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
_SECONDS = 0.8  # for each number
_KEYS = {name: PrivateKey.generate() for name in ("root", "config", "override")}


def run() -> dict[str, Any]:
    """Return, per number of domains, sizes in bytes and times in milliseconds."""
    return {f"{size} domains": _measure(size) for size in SIZES}


def _measure(size: int) -> dict[str, float | int]:
    signed_root = _root()
    older, newer = _config(size, version=1), _config(size, version=2)
    payload = newer.payload()
    raw = sign_compact(payload, typ=config.TYP, signer=_KEYS["config"])
    old_raw = sign_compact(older.payload(), typ=config.TYP, signer=_KEYS["config"])
    bootstrap = Bootstrap(root=signed_root, config=old_raw)
    embedded = bootstrap.to_json()
    state = TrustedState.from_bootstrap(bootstrap)
    stored = state.advance_config(raw).dump()
    return {
        "plain bytes": len(raw),
        "gzip bytes": len(gzip.compress(raw, 6)),
        "sign ms": _best(
            lambda: sign_compact(newer.payload(), typ=config.TYP, signer=_KEYS["config"])
        ),
        "verify and load ms": _best(lambda: state.advance_config(raw)),
        "load bootstrap ms": _best(lambda: TrustedState.from_bootstrap(Bootstrap.parse(embedded))),
        "load stored state ms": _best(lambda: TrustedState.load(stored, bootstrap, now=_NOW)),
    }


def _best(work: Callable[[], object]) -> float:
    best = float("inf")
    end = time.monotonic() + _SECONDS
    done = 0
    while done < 3 or time.monotonic() < end:
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
        done += 1
    return round(best * 1000, 3)


def _root() -> bytes:
    roles = {
        name: Role(keys={key.public.kid: key.public}, threshold=1) for name, key in _KEYS.items()
    }
    document = Root(
        account="bench",
        version=1,
        issued=_NOW,
        expires=_NOW + timedelta(days=3 * 365),
        roles=roles,
    )
    return sign_general(document.payload(), typ=root.TYP, signers=[_KEYS["root"]])


def _config(size: int, *, version: int) -> Config:
    hosts = [f"api-{n}.example.com" for n in range(size)]
    pin_sets = {host: PinSet((_pin(host, "current"), _pin(host, "backup"))) for host in hosts}
    domains = tuple(Domain(pattern=host, pin_set=host, pins=pin_sets[host]) for host in hosts)
    delivery = Delivery(
        urls=("https://pins.example.com",),
        pins=PinSet((_pin("delivery", "current"), _pin("delivery", "backup"))),
        recovery_urls=("http://recovery.example.net",),
    )
    return Config(
        account="bench",
        stream="main",
        root_version=1,
        version=version,
        issued=_NOW,
        expires=_NOW + timedelta(days=14),
        delivery=delivery,
        pin_sets=pin_sets,
        domains=domains,
    )


def _pin(host: str, use: str) -> Pin:
    return Pin(sha256(f"{host} {use}".encode()).digest())
