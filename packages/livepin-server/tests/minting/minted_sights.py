"""What is held of endpoints and what they are judged by, as values; and healthy ones by chance."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import Any

from livepin.pins import Pin, PinSet, fingerprint_text
from livepin_server.probing.probe import CertificateSeen, Observation
from livepin_server.services.model import PinView
from livepin_server.services.monitoring.judging import Place, judge
from livepin_server.services.monitoring.model import (
    Elsewhere,
    Finding,
    Following,
    Held,
    Holding,
    Judging,
    MonitorSettings,
    Sighted,
)
from msgspec import structs

API = "api.example.com"
NOW = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
DAY = timedelta(days=1)
HERE, V6 = "192.0.2.7", "2001:db8::7"
PLACE = Place(host=API, port=443, vantage="here", endpoint=7)


def text(key: str) -> str:
    """Return the fingerprint of the key of that name."""
    return fingerprint_text(hashlib.sha256(key.encode()).digest())


def pin(key: str, begins: datetime | None = None, ends: datetime | None = None) -> Pin:
    """Return a pin for the key of that name."""
    return Pin(hashlib.sha256(key.encode()).digest(), begins, ends)


def certificate(key: str, *, by: str = "ca", age: float = 30, left: float = 60) -> CertificateSeen:
    """Return a certificate that began `age` days ago, and ends in `left` days."""
    return CertificateSeen(
        subject=f"CN={key}", issuer=f"CN={by}", names=[API], key_type="EC P-256",
        not_before=NOW - age * DAY, not_after=NOW + left * DAY, sha256=text(key),
    )  # fmt: skip


def chain(key: str, by: str = "ca", root: str = "root", **life: float) -> list[CertificateSeen]:
    """Return a chain of three."""
    return [
        certificate(key, by=by, **life),
        certificate(by, by=root, age=1000, left=1000),
        certificate(root, by=root, age=3000, left=3000),
    ]


def sight(
    seen: Sequence[CertificateSeen] = (),
    address: str = HERE,
    algorithm: Any = "ecdsa",
    *,
    since: datetime = NOW - DAY,
    moment: datetime = NOW,
    **members: Any,
) -> Sighted:
    """Return a sight: of a verified chain, if one is given, or of what the members say."""
    found: dict[str, Any] = {"host": API, "port": 443, "address": address}
    if seen:
        found |= {"verified": True, "chain": list(seen), "presented": list(seen[:2])}
    return Sighted(
        address=address, algorithm=algorithm, since=since, verified=moment,
        observation=Observation(**(found | members)),
    )  # fmt: skip


def refused(
    presented: Sequence[CertificateSeen], said: str, address: str = HERE, **members: Any
) -> Sighted:
    """Return a sight of a chain that does not verify, with what OpenSSL says of it."""
    error = f"the certificate is not valid for {API} by the system's CAs: {said}"
    return sight(
        (), address, failure="untrusted", error=error, presented=list(presented), **members
    )


def silent(failure: Any, address: str = HERE, **members: Any) -> Sighted:
    """Return a sight of an address that does not answer."""
    return sight((), address, failure=failure, error=f"{address}:443 {failure}", **members)


def held(*sights: Sighted) -> Held:
    """Return what is held of an endpoint."""
    return Held(sights=list(sights))


def elsewhere(*sights: Sighted, looked: datetime | None = NOW, alive: bool = True) -> Elsewhere:
    """Return what another vantage holds, and when it looked."""
    return Elsewhere(held=held(*sights), looked=looked, alive=alive)


def view(
    of: Pin, *, backup: bool = False, level: Any = "leaf", created: datetime = NOW - 10 * DAY
) -> PinView:
    """Return a pin as the rows keep it."""
    return PinView(
        sha256=str(of), label="", level=level, backup=backup, not_before=of.not_before,
        not_after=of.not_after, created=created, author="alice",
    )  # fmt: skip


def following(
    *pins: Pin | str,
    backups: Sequence[Pin | str] = ("spare",),
    level: Any = "leaf",
    created: datetime = NOW - 10 * DAY,
    **members: Any,
) -> Following:
    """Return a domain of `main` with these pins, and a backup."""
    own = [pin(each) if isinstance(each, str) else each for each in pins]
    spare = [pin(each) if isinstance(each, str) else each for each in backups]
    views = [view(each, level=level, created=created) for each in own]
    views += [view(each, backup=True, created=created) for each in spare]
    stream = members.get("stream", "main")
    said: dict[str, Any] = {
        "stream": stream, "version": 7, "pattern": API, "mode": "enforce",
        "pins": PinSet((*own, *spare)), "views": views, "settings": MonitorSettings(),
        "apps": f"apps that follow {stream}", "published": NOW - DAY,
    }  # fmt: skip
    return Following(**(said | members))


def holding(*keys: str, **members: Any) -> Holding:
    """Return a config that pins these keys."""
    said: dict[str, Any] = {
        "stream": "main", "version": 5, "pattern": API, "mode": "enforce",
        "pins": PinSet(tuple(map(pin, keys))),
    }  # fmt: skip
    return Holding(**(said | members))


def found(
    seen: Held | Sighted,
    *by: Following,
    holding: Sequence[Holding] = (),
    served: dict[str, datetime] | None = None,
    others: dict[str, Elsewhere] | None = None,
    place: Place = PLACE,
    now: datetime = NOW,
) -> list[Finding]:
    """Return what is wrong with an endpoint."""
    seen = held(seen) if isinstance(seen, Sighted) else seen
    judging = Judging(following=list(by), holding=list(holding), served=served or {})
    return judge(place, seen, judging, now=now, others=others or {})


def healthy(chance: random.Random, count: int) -> Iterator[tuple[Held, Judging]]:
    """Give endpoints that let every app in, as they come in the field, and what they are judged by.

    Some addresses do not answer, some servers have one kind of certificate, pins are of each level
    and have limits that are not reached, and other pins stand around those that match.
    """
    base = following()
    for number in range(count):
        key = str(number % 300)
        kinds = chance.choice([("ecdsa",), ("rsa",), ("ecdsa", "rsa")])
        addresses = chance.sample([HERE, "192.0.2.8", V6, "2001:db8::8"], chance.randint(1, 4))
        sights = [each for address in addresses for each in _healthy_at(address, kinds, key)]
        if chance.random() < 0.05:
            sights.append(silent(chance.choice(["timeout", "refused", "network"]), "192.0.2.99"))
        pinned = []
        for kind in kinds:
            limits = chance.choice([(None, None), (NOW - DAY, None), (None, NOW + 90 * DAY)])
            pinned.append(pin(f"{kind}{chance.choice([' ca', ' root', f' {key}'])}", *limits))
        around = [pin(f"around {n}") for n in range(chance.randint(0, 3))]
        chance.shuffle(sights)
        chance.shuffle(pins := [*pinned, *around, Pin(None)])
        views = [view(each, backup=each in around) for each in pins if each.sha256 is not None]
        by = structs.replace(base, pins=PinSet(tuple(pins)), views=views)
        yield Held(sights=sights), Judging(following=[by])


@cache
def _healthy_at(address: str, kinds: tuple[str, ...], key: str) -> list[Sighted]:
    """Return what is at an address: a chain of each of these kinds, and none of the other."""
    found = []
    for kind in ("ecdsa", "rsa"):
        if kind in kinds:
            seen = chain(f"{kind} {key}", f"{kind} ca", f"{kind} root")
            found.append(sight(seen, address, kind))
        else:
            missing = "reset" if int(key) % 9 == 0 else "no_certificate"
            found.append(silent(missing, address, algorithm=kind))
    return found
