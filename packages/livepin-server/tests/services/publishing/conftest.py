"""A second account whose root key the test has, and configs as the rows of a stream would say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from livepin.documents import Config, Delivery, Domain, Mode, Stale
from livepin.documents.root import TYP
from livepin.jose import PrivateKey, parse_general, sign_general
from livepin.pins import Pin, PinSet
from livepin_server.probing.probe import CertificateSeen, Observation, Target
from livepin_server.services.composition import Services
from livepin_server.services.model import Intent, Publication
from livepin_server.services.naming import own_set
from livepin_server.services.publishing.difference import difference
from livepin_server.services.publishing.findings import Findings, Limits
from livepin_server.services.publishing.guards import judge, needed
from livepin_server.services.publishing.published import Published
from livepin_server.services.publishing.publisher import Publisher
from livepin_server.storage.schema import roots, streams
from sqlalchemy import insert, select

INTENT = Intent(author="bob")


@dataclass
class Beta:
    """The account `beta` and its root key."""

    services: Services
    key: PrivateKey = field(default_factory=PrivateKey.generate)
    name: str = "beta"

    def create(self) -> None:
        """Make the account."""
        accounts = self.services.accounts
        payload = accounts.prepare(self.name, [dict(self.key.public.jwk())], INTENT)
        accounts.create(self.name, sign_general(payload, typ=TYP, signers=[self.key]), INTENT)

    def add_root(self, *signers: PrivateKey, **members: Any) -> None:
        """Keep root N+1 with members changed, signed by the root key or by `signers`."""
        with self.services.database.reading() as connection:
            query = select(roots).where(roots.c.account == self.name)
            newest = connection.execute(query.order_by(roots.c.version.desc())).first()
        assert newest is not None
        payload = json.loads(parse_general(newest.document, typ=TYP).payload)
        payload |= {"version": newest.version + 1} | members
        raw = json.dumps(payload).encode()
        document = sign_general(raw, typ=TYP, signers=list(signers or (self.key,)))
        row = newest._asdict() | {"version": newest.version + 1, "document": document}
        self.services.database.write(lambda each: each.execute(insert(roots).values(**row)))


@pytest.fixture
def publisher(services: Services) -> Publisher:
    return services.publisher


@pytest.fixture
def published(services: Services) -> Published:
    return services.published


@pytest.fixture
def publish(publisher: Publisher, intent: Intent) -> Callable[..., Publication]:
    """Publish what the rows of a stream say."""
    return lambda account="acme", stream="main": publisher.republish(
        account, stream, intent, ["a change"]
    )


@pytest.fixture
def beta(services: Services) -> Beta:
    """The account `beta`, beside `acme`."""
    found = Beta(services)
    found.create()
    return found


@pytest.fixture
def add_stream(services: Services) -> Callable[[str], None]:
    """Give `acme` another stream."""

    def one(name: str) -> None:
        row = {"account": "acme", "name": name, "created": services.clock()}
        services.database.write(lambda each: each.execute(insert(streams).values(**row)))

    return one


NOW = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)


@pytest.fixture(scope="session")
def pin(pin_text: Callable[[int], str]) -> Callable[..., Pin]:
    """Return the pin of a number, with limits in time."""

    def one(number: int, start: datetime | None = None, end: datetime | None = None) -> Pin:
        return Pin(Pin.parse(pin_text(number)).sha256, start, end)

    return one


@pytest.fixture(scope="session")
def make_config(pin: Callable[..., Pin]) -> Callable[..., Config]:
    """Return a config: `make_config({"api.example.com": [1, 2]}, shared={"payments": [3]})`.

    A domain is its own pins, by their numbers or as they are, or the name of a shared set, or
    `{"pins": ..., "mode": ...}`.
    """

    def held(pins: Iterable[int | Pin]) -> PinSet:
        return PinSet(tuple(pin(each) if isinstance(each, int) else each for each in pins))

    def one(
        domains: Mapping[str, Any] | None = None,
        shared: Mapping[str, Iterable[int | Pin]] | None = None,
        *,
        urls: tuple[str, ...] = ("https://pins.example.com",),
        delivery_pins: Iterable[int | Pin] = (100,),
        ca: str | None = None,
        recovery_urls: tuple[str, ...] = (),
        **members: Any,
    ) -> Config:
        sets = {name: held(pins) for name, pins in (shared or {}).items()}
        found = []
        for pattern, said in (domains or {}).items():
            given = dict(said) if isinstance(said, dict) else {"pins": said}
            follows = given.pop("pins")
            name = follows if isinstance(follows, str) else own_set(pattern)
            pins = sets[name] if isinstance(follows, str) else held(follows)
            sets[name] = pins
            mode, stale = Mode(given.pop("mode", "enforce")), Stale(given.pop("stale", "enforce"))
            found.append(
                Domain(pattern=pattern, pin_set=name, pins=pins, mode=mode, stale=stale, **given)
            )
        delivery = Delivery(urls=urls, pins=held(delivery_pins), ca=ca, recovery_urls=recovery_urls)
        said_else = {"account": "acme", "stream": "main", "root_version": 1, "version": 1}
        return Config(
            **(said_else | members),
            issued=NOW,
            expires=NOW + timedelta(days=14),
            delivery=delivery,
            pin_sets=sets,
            domains=tuple(found),
        )

    return one


@pytest.fixture(scope="session")
def seen(pin_text: Callable[[int], str]) -> Callable[..., Observation]:
    """Return what was seen of a host: the keys of its verified chain by their numbers, leaf first.

    `presented` are those of a chain that was not verified; without any, nobody answered.
    """

    def certificate(number: int) -> CertificateSeen:
        return CertificateSeen(
            subject=f"CN=key {number}", issuer="CN=CA", not_before=NOW, not_after=NOW, names=[],
            key_type="EC secp256r1", sha256=pin_text(number),
        )  # fmt: skip

    def one(
        host: str, *numbers: int, address: str = "192.0.2.1", presented: Iterable[int] = ()
    ) -> Observation:
        error = None if numbers else f"{host}: it did not answer in time"
        return Observation(
            host=host,
            port=443,
            address=address,
            verified=bool(numbers),
            error=error,
            chain=[certificate(each) for each in numbers],
            presented=[certificate(each) for each in presented],
        )

    return one


@pytest.fixture(scope="session")
def judged(seen: Callable[..., Observation]) -> Callable[..., Findings]:
    """Judge a change by what was seen of hosts: `judged(before, after, {API: [[1, 9], [2]]})`.

    A list in the list is a chain at an address of its own; an empty one was not verified. Or it
    is an observation.
    """

    def one(
        before: Config | None,
        after: Config,
        served: Mapping[str, list[list[int] | Observation]] | None = None,
        *,
        known: Mapping[str, Target] | None = None,
        limits: Limits = Limits(),  # noqa: B008 - it is frozen
        **more: Any,
    ) -> Findings:
        change, looked_at = difference(before, after), known or {}
        observations = {
            target: [
                chain
                if isinstance(chain, Observation)
                else seen(target.host, *chain, address=f"192.0.2.{at + 1}")
                for at, chain in enumerate((served or {})[target.host])
            ]
            for target in needed(change, looked_at)
            if target.host in (served or {})
        }
        more = {"now": NOW} | more
        return judge(change, looked_at, observations, limits, **more)

    return one


@pytest.fixture(scope="session")
def codes() -> Callable[[Findings], dict[str, list[str]]]:
    """Return the codes of findings; none of a kind is left out."""

    def one(found: Findings) -> dict[str, list[str]]:
        kinds = {
            "refused": found.refused, "to confirm": found.to_confirm, "warnings": found.warnings,
        }  # fmt: skip
        return {kind: [each.code for each in listed] for kind, listed in kinds.items() if listed}

    return one
