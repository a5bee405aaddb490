"""What is held of an endpoint: what was seen folded in, and what `fast` may confirm. Pure.

Addresses come and go with each answer of the DNS, servers fail and are back. History is told only
of certificates: one that was not there before at a place, and one that is nowhere any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b

from livepin.errors import MalformedError
from livepin.pins import parse_fingerprint
from msgspec import structs

from livepin_server.probing.looks import Algorithm, Known, Look, Sight
from livepin_server.probing.probe import CertificateSeen, Observation

from .model import Before, Held, Judging, Sighted

MOST_SIGHTS = 128  # of an endpoint
DAY = 24 * 60 * 60
_MOST_KEYS = 16  # of a chain
_LONGEST = 500  # characters of an error

_Place = tuple[str, Algorithm]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """Another certificate at a place, or none any more. The keys are those of the whole chains."""

    address: str
    algorithm: Algorithm
    left: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    leaf: CertificateSeen | None = None


def fold(held: Held, look: Look, now: datetime) -> tuple[Held, list[Changed]]:
    """Return what is held after a look, and each change of a certificate.

    What is held is the very same object where nothing has changed that is worth to be written.
    """
    places = {(each.address, each.algorithm): each for each in held.sights}
    sights = [*_sighted(places, look.sights, now)]
    if sights and sights == held.sights:
        return held, []
    if not sights:
        return _failed(held, look, now), []
    before = _chains(held)
    changes = [*_changes(before, sights), *_vanished(before, sights, {each[0] for each in places})]
    after = Held(sights=sights, before=[*_erased(before, sights)])
    return (held if after == held else after), changes


def known(held: Held, now: datetime) -> list[Known]:
    """Return what `fast` may confirm: chains that `verified` has verified within their day.

    The day begins at another time for each endpoint, so that they are not all verified at once.
    """
    lately = [each for each in held.sights if _in_its_day(each, now)]
    valid = {each.address for each in lately if _is_valid(each.observation, now)}
    return [
        Known(address=each.address, algorithm=each.algorithm, digest=each.observation.digest or "")
        for each in lately
        if _is_valid(each.observation, now)
        or (each.observation.failure == "no_certificate" and each.address in valid)
    ]


def keys_of(seen: Observation) -> list[str]:
    """Return the keys of the chain that counts: the verified one, or what was presented."""
    return [each.sha256 for each in (seen.chain or seen.presented)[:_MOST_KEYS]]


def served(held: Held) -> set[str]:
    """Return the keys of all verified chains."""
    return {key for each in held.sights for key in _verified(each)}


def is_blind(held: Held) -> bool:
    """Tell whether no address presents a certificate, so that nothing can have become good."""
    seen = (each.observation for each in held.sights)
    return not any(each.chain or each.presented or each.failure == "untrusted" for each in seen)


def expires(held: Held) -> datetime | None:
    """Return when the first certificate expires."""
    seen = (each.observation for each in held.sights)
    return min((c.not_after for each in seen for c in each.chain or each.presented), default=None)


def pins_match(held: Held, by: Judging, now: datetime) -> bool | None:
    """Tell whether every verified chain satisfies the pins of all who follow; None: unknown."""
    chains = [keys for each in held.sights if (keys := _verified(each))]
    followed = [each.pins for each in by.following if each.mode != "off"]
    if not chains or not followed:
        return None
    fingerprints = [[each for each in map(_bytes, keys) if each] for keys in chains]
    return all(pins.match(each, now=now) for pins in followed for each in fingerprints)


# -- what was seen -------------------------------------------------------------------------------


def _sighted(
    places: dict[_Place, Sighted], sights: Iterable[Sight], now: datetime
) -> Iterator[Sighted]:
    done: set[_Place] = set()
    for sight in sights:
        place = (sight.address, sight.algorithm)
        old = places.get(place)
        if place in done or len(done) >= MOST_SIGHTS:
            continue
        if sight.observation is None and old is None:
            continue  # what was not known cannot have been confirmed
        done.add(place)
        if sight.observation is None:
            assert old is not None
            yield old
        else:
            found = _seen(sight, old, now)
            yield structs.replace(found, since=_since(found, places)) if found is not old else old


def _seen(sight: Sight, old: Sighted | None, now: datetime) -> Sighted:
    assert sight.observation is not None
    seen = _bounded(sight.observation)
    if old is None or not _is_same(old.observation, seen):
        return Sighted(
            address=sight.address,
            algorithm=sight.algorithm,
            observation=seen,
            since=now,
            verified=now,
        )
    # Else the row would be written at each look.
    return old if _in_its_day(old, now) else structs.replace(old, verified=now)


def _since(found: Sighted, places: dict[_Place, Sighted]) -> datetime:
    """Return since when a chain is there, at whichever address: names give out others each time."""
    digest = _digest(found.observation)
    before = (
        each.since
        for each in places.values()
        if each.algorithm == found.algorithm and digest and _digest(each.observation) == digest
    )
    return min(before, default=found.since)


def _bounded(seen: Observation) -> Observation:
    """Return an observation without what is another one each time."""
    error = seen.error
    if error is not None and len(error) > _LONGEST:
        error = error[:_LONGEST]
    return structs.replace(seen, elapsed_ms=0.0, error=error)


def _is_same(old: Observation, new: Observation) -> bool:
    if new.verified or old.verified:
        return old == new
    return (old.failure, _digest(old)) == (new.failure, _digest(new))


def _failed(held: Held, look: Look, now: datetime) -> Held:
    """Return what is held where no address could be looked at."""
    failure = look.failure or "network"
    if held.failure == failure:
        return held
    return Held(
        failure=failure,
        error=(look.error or "the probe said nothing")[:_LONGEST],
        since=held.since if held.failure else now,
        before=[*_chains(held).values()],
    )


# -- what has changed ----------------------------------------------------------------------------


def _chains(held: Held) -> dict[_Place, Before]:
    """Return the last chain at each place, also of those that fail at the moment."""
    found = {(each.address, each.algorithm): each for each in held.before}
    found |= {(each.address, each.algorithm): _chain(each) for each in held.sights if _tells(each)}
    return found


def _chain(sighted: Sighted) -> Before:
    return Before(
        address=sighted.address,
        algorithm=sighted.algorithm,
        digest=_digest(sighted.observation),
        keys=keys_of(sighted.observation),
    )


def _changes(before: dict[_Place, Before], sights: list[Sighted]) -> Iterator[Changed]:
    digests = {(each.algorithm, each.digest) for each in before.values()}
    for each in sights:
        old, digest = before.get((each.address, each.algorithm)), _digest(each.observation)
        if not _tells(each) or digest == (old.digest if old else ""):
            continue
        if old is None and (each.algorithm, digest) in digests:
            continue  # it was elsewhere before: a change of addresses
        seen = each.observation
        yield Changed(
            address=each.address,
            algorithm=each.algorithm,
            left=old.keys if old else [],
            keys=keys_of(seen),
            leaf=next(iter(seen.chain or seen.presented), None),
        )


def _vanished(
    before: dict[_Place, Before], sights: list[Sighted], addresses: set[str]
) -> Iterator[Changed]:
    """Give what was at addresses that are no more, unless a new one has it: names with many
    addresses give out others each time.
    """
    here = {(each.address, each.algorithm) for each in sights}
    moved = {
        (each.algorithm, _digest(each.observation))
        for each in sights
        if each.address not in addresses
    }
    for place, old in before.items():
        if place not in here and old.digest and (old.algorithm, old.digest) not in moved:
            yield Changed(address=old.address, algorithm=old.algorithm, left=old.keys)


def _erased(before: dict[_Place, Before], sights: list[Sighted]) -> Iterator[Before]:
    """Give the last chains of places that are there, and fail."""
    for each in sights:
        old = before.get((each.address, each.algorithm))
        if old is not None and old.digest and not _tells(each):
            yield old


def _tells(sighted: Sighted) -> bool:
    """Tell whether what was seen says which certificate is there, or that there is none."""
    seen = sighted.observation
    return bool(seen.chain or seen.presented) or seen.failure == "no_certificate"


def _digest(seen: Observation) -> str:
    return seen.digest or " ".join(keys_of(seen))


# -- what may be confirmed -----------------------------------------------------------------------


def _is_valid(seen: Observation, now: datetime) -> bool:
    # `fast` looks at no validity: what has expired since is untrusted now.
    return bool(
        seen.verified
        and seen.digest
        and seen.chain
        and not [each for each in seen.chain if not each.not_before <= now < each.not_after]
    )


def _in_its_day(sighted: Sighted, now: datetime) -> bool:
    """Tell whether `verified` has looked since the day of an endpoint began."""
    since = (now - sighted.verified).total_seconds()
    if not 0 <= since < DAY:
        return False
    seen = sighted.observation
    return since <= (now.timestamp() - _begins(seen.host, seen.port)) % DAY


@lru_cache(maxsize=4096)  # of a batch
def _begins(host: str, port: int) -> int:
    return number_of(host, str(port)) % DAY


def number_of(*names: str) -> int:
    """Return a number for names, the same everywhere and always."""
    return int.from_bytes(blake2b("\0".join(names).encode(), digest_size=8).digest(), "big")


def _verified(sighted: Sighted) -> list[str]:
    seen = sighted.observation
    return keys_of(seen) if seen.verified else []


@lru_cache(maxsize=4096)  # those of CAs come again and again
def _bytes(key: str) -> bytes | None:
    try:
        return parse_fingerprint(key)
    except MalformedError:  # a row that somebody wrote by hand pins nothing
        return None
