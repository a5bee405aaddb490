"""What judging costs: a million stored observations, read from JSON and judged.

Each endpoint has one address with an ECDSA and an RSA certificate, which are two observations,
each of a chain of three; its ECDSA key is pinned beside an issuer and a backup. In each hundred one
serves what is not pinned. Times are CPU time of one process.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from typing import Any

import msgspec
from livepin.pins import Pin, PinSet
from livepin_server.probing.looks import ALGORITHMS, Algorithm
from livepin_server.probing.probe import CertificateSeen, Observation
from livepin_server.services.model import PinView
from livepin_server.services.monitoring.judging import Place, judge
from livepin_server.services.monitoring.model import (
    Following,
    Held,
    Judging,
    MonitorSettings,
    Sighted,
)

BUDGET = "15 µs to judge a healthy endpoint"

OBSERVATIONS = 1_000_000
_DIFFERENT = 1_000  # endpoints, which are judged in turns
_NOW = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
_DAY = timedelta(days=1)
_WRONG = 100  # of so many endpoints one serves another key


def run() -> dict[str, Any]:
    """Return what an endpoint costs to read and to judge, and a million observations together."""
    hosts = [f"api-{number}.example.com" for number in range(_DIFFERENT)]
    places = [Place(host=h, port=443, vantage="here", endpoint=n) for n, h in enumerate(hosts)]
    stored = [msgspec.json.encode(_held(n, host)) for n, host in enumerate(hosts)]
    by = [_judging(host) for host in hosts]
    rounds = OBSERVATIONS // len(ALGORITHMS) // _DIFFERENT
    read = judged = 0.0
    found = 0
    decoder = msgspec.json.Decoder(Held)
    for _ in range(rounds):
        start = time.process_time()
        held = [decoder.decode(each) for each in stored]
        middle = time.process_time()
        for place, each, what in zip(places, held, by, strict=True):
            found += len(judge(place, each, what, now=_NOW))
        judged += time.process_time() - middle
        read += middle - start
    endpoints = rounds * _DIFFERENT
    return {
        "endpoints": endpoints,
        "observations": endpoints * len(ALGORITHMS),
        "findings": found,
        "bytes stored of an endpoint": sum(map(len, stored)) // _DIFFERENT,
        "read an endpoint, µs": round(read / endpoints * 1e6, 1),
        "judge an endpoint, µs": round(judged / endpoints * 1e6, 1),
        "judge a healthy endpoint, µs": _healthy(places[1], decoder.decode(stored[1]), by[1]),
        "a million observations, s": round(read + judged, 1),
    }


def _healthy(place: Place, held: Held, by: Judging) -> float:
    best = float("inf")
    for _ in range(20):
        start = time.process_time()
        for _ in range(1_000):
            judge(place, held, by, now=_NOW)
        best = min(best, (time.process_time() - start) / 1_000)
    return round(best * 1e6, 1)


def _held(number: int, host: str) -> Held:
    served = "other" if number % _WRONG == 0 else host
    return Held(sights=[_sight(host, served, kind) for kind in ALGORITHMS])


def _sight(host: str, served: str, kind: Algorithm) -> Sighted:
    keys = [f"{served} {kind}", f"issuer {kind}", "root"]
    issuers = [*keys[1:], "root"]
    if served == "other":
        keys[1] = "other issuer"
    chain = [_certificate(*each, host) for each in zip(keys, issuers, strict=True)]
    digest = sha256(" ".join(keys).encode()).hexdigest()
    seen = Observation(
        host=host, port=443, address="192.0.2.7", verified=True, tls_version="TLSv1.3",
        chain=chain, presented=chain[:2], digest=digest, elapsed_ms=12.5,
    )  # fmt: skip
    return Sighted(
        address="192.0.2.7", algorithm=kind, observation=seen, since=_NOW - _DAY, verified=_NOW
    )


def _certificate(key: str, issuer: str, host: str) -> CertificateSeen:
    return CertificateSeen(
        subject=f"CN={key}", issuer=f"CN={issuer},O=Example", names=[host], key_type="EC P-256",
        not_before=_NOW - 20 * _DAY, not_after=_NOW + 70 * _DAY, sha256=str(_pin(key)),
    )  # fmt: skip


def _judging(host: str) -> Judging:
    pins = [_pin(f"{host} ecdsa"), _pin("issuer rsa"), _pin(f"{host} backup")]
    levels = ("leaf", "intermediate", "leaf")
    views = [
        PinView(
            sha256=str(pin), label="", level=level, backup=pin is pins[2], not_before=None,
            not_after=None, created=_NOW - 10 * _DAY, author="bench",
        )
        for pin, level in zip(pins, levels, strict=True)
    ]  # fmt: skip
    following = Following(
        stream="main", version=1, pattern=host, mode="enforce", pins=PinSet(tuple(pins)),
        views=views, settings=MonitorSettings(), apps="apps that follow main", published=_NOW,
    )  # fmt: skip
    return Judging(following=[following])


def _pin(key: str) -> Pin:
    return Pin(sha256(key.encode()).digest())
