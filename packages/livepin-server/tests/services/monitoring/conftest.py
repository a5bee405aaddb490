"""Monitoring over real databases: certificates that were seen, and fakes of the rooms beside."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from livepin.testing import FakeClock
from livepin_server.probing.looks import Look, Sight
from livepin_server.probing.probe import CertificateSeen, Observation
from livepin_server.services.composition import Services
from livepin_server.services.monitoring.endpoints import Endpoints
from livepin_server.services.monitoring.model import Finding
from livepin_server.services.monitoring.schedule import Schedule
from livepin_server.services.monitoring.sources import Sources
from livepin_server.storage.schema import findings
from msgspec import json
from sqlalchemy import delete, insert

HOST, ADDRESS = "api.example.com", "192.0.2.1"
LEASE = dt.timedelta(minutes=2)


def key(number: int) -> str:
    """Return the fingerprint that `pin_text` gives for a number."""
    digest = hashlib.sha256(f"key {number}".encode()).digest()
    return f"sha256/{base64.b64encode(digest).decode()}"


def certificate(number: int = 1, **members: Any) -> CertificateSeen:
    """Return a certificate with the key of a number."""
    given = {
        "subject": f"CN=leaf {number}",
        "issuer": "CN=Test CA",
        "not_before": dt.datetime(2026, 11, 1, tzinfo=dt.timezone.utc),
        "not_after": dt.datetime(2027, 2, 1, tzinfo=dt.timezone.utc),
        "names": [HOST],
        "key_type": "EC P-256",
        "sha256": key(number),
    }
    return CertificateSeen(**{**given, **members})


def observation(number: int = 1, *, host: str = HOST, **members: Any) -> Observation:
    """Return what `verified` says of a chain of a leaf and the CA with the key 100."""
    chain = [certificate(number), certificate(100, subject="CN=Test CA")]
    given = {"verified": True, "chain": chain, "presented": chain[:1], "digest": f"{number:064x}"}
    return Observation(host=host, port=443, address=ADDRESS, **{**given, **members})


def failed(failure: str, error: str = "as it is", **members: Any) -> Observation:
    """Return what is said where there is no verified chain."""
    return Observation(host=HOST, port=443, failure=failure, error=error, **members)


def sight(
    seen: Observation | None, address: str = ADDRESS, algorithm: str = "ecdsa", **members: Any
) -> Sight:
    """Return a sight; without an observation `fast` has confirmed what was known."""
    engine = "verified" if seen is not None else "fast"
    given = {"address": address, "algorithm": algorithm, "engine": engine, "observation": seen}
    return Sight(**{**given, **members})


def look_of(*sights: Sight, **members: Any) -> Look:
    """Return a look."""
    return Look(**{"id": 0, "sights": list(sights), "elapsed_ms": 12.4, **members})


@pytest.fixture(scope="session")
def seeing() -> Any:
    """The functions that make what was seen."""

    class Seeing:
        HOST, ADDRESS, LEASE = HOST, ADDRESS, LEASE
        key = staticmethod(key)
        certificate = staticmethod(certificate)
        observation = staticmethod(observation)
        failed = staticmethod(failed)
        sight = staticmethod(sight)
        look = staticmethod(look_of)

    return Seeing


class Incidents:
    """A room of incidents that keeps findings, and remembers what it was told."""

    def __init__(self) -> None:
        self.judged: list[Any] = []
        self.again: dict[tuple[int, str], dt.timedelta] = {}
        self.gone_ids: list[int] = []
        self.fault: Callable[[Any], bool] = lambda _: False

    def take(
        self, connection: Any, judged: Any, now: dt.datetime
    ) -> dict[tuple[int, str], dt.timedelta]:
        """Keep the findings of endpoints, each firing at once."""
        for each in judged:
            if self.fault(each):
                raise RuntimeError("a fault in the room beside")
            self.judged.append(each)
            place = {"endpoint": each.endpoint, "vantage": each.vantage}
            connection.execute(
                delete(findings).where(*(findings.c[name] == v for name, v in place.items()))
            )
            for found in each.findings:
                connection.execute(
                    insert(findings).values(
                        **place, key=found.key, account=each.account, state="firing", since=now,
                        seen=now, times=1, good=0, finding=json.encode(found).decode(),
                    )
                )  # fmt: skip
        return self.again

    def gone(self, _: Any, ids: Any, now: dt.datetime) -> None:
        """Remember who is no longer monitored."""
        self.gone_ids += ids


@pytest.fixture
def incidents() -> Incidents:
    """The room of incidents."""
    return Incidents()


class Judge:
    """Judges by a function that a test gives; nothing is wrong at first."""

    def __init__(self) -> None:
        self.says: Callable[..., list[Finding]] = lambda *_: []

    def __call__(self, *given: Any) -> list[Finding]:
        return self.says(*given)


@pytest.fixture
def judge() -> Judge:
    """The room that judges."""
    return Judge()


def finding(key_of: str = "pin_mismatch", host: str = HOST) -> Finding:
    """Return that pins do not match."""
    return Finding(
        kind="pin_mismatch", code="none", severity="critical", key=key_of, cause=key_of,
        host=host, port=443, sentence="no pin matches",
    )  # fmt: skip


@pytest.fixture(scope="session")
def wrong() -> Callable[..., Finding]:
    """Make findings."""
    return finding


@pytest.fixture
def sources(services: Services, clock: FakeClock) -> Sources:
    """What endpoints are judged by."""
    return Sources(services.database, clock=clock)


@pytest.fixture
def endpoints(services: Services, clock: FakeClock, incidents: Incidents) -> Endpoints:
    """The endpoints, looked at from here."""
    found = Endpoints(services.database, clock=clock, gone=incidents.gone)
    found.ensure_vantage("here")
    return found


@pytest.fixture
def schedule(
    services: Services, sources: Sources, clock: FakeClock, judge: Judge, incidents: Incidents
) -> Schedule:
    """The schedule."""
    return Schedule(services.database, sources, clock=clock, judge=judge, take=incidents.take)


@pytest.fixture
def all_due(clock: FakeClock) -> Callable[[], None]:
    """Go on to a time at which everything is due."""
    return lambda: clock.advance(minutes=15)
