"""The services hold on both databases: each of these tests runs on SQLite and on PostgreSQL.

Coverage is measured on SQLite: what differs on PostgreSQL is in `storage`, with tests of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from livepin.documents import Config
from livepin.trust import TrustedState
from livepin_server.services.composition import Services
from livepin_server.services.model import Intent, NewPin, NewPinSet, NewStream, Publication


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.no_cover)])
def data_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A data folder of this test's own, made on 2026-11-23, for each database in turn."""
    if request.param == "postgresql":
        found: Path = request.getfixturevalue("postgres_folder")
        return found
    data = tmp_path / "data"
    shutil.copytree(request.getfixturevalue("data_template"), data)
    return data


@pytest.fixture
def published(services: Services) -> Callable[..., Config]:
    """Return the config that clients have now, as one that was just installed trusts it."""

    def one(stream: str = "main") -> Config:
        return TrustedState.from_bootstrap(services.published.bootstrap("acme", stream)).config

    return one


@pytest.fixture
def refused(services: Services) -> Callable[..., str | None]:
    """Expect that a change is refused and that nothing at all was changed by it."""

    def state() -> list[Any]:
        streams = services.streams.all("acme")
        names = [each.name for each in streams]
        held = [(services.domains.all("acme", n), services.pin_sets.all("acme", n)) for n in names]
        return [streams, held]

    def one(kind: type[Exception], change: Callable[[], object], match: str) -> str | None:
        before = state()
        with pytest.raises(kind, match=match) as caught:
            change()
        assert state() == before
        assert "\n" not in str(caught.value)
        found: str | None = getattr(caught.value, "hint", None)
        return found

    return one


@pytest.fixture
def add_set(
    services: Services, new_pin: Callable[..., NewPin], intent: Intent
) -> Callable[..., Publication]:
    """Add a shared pin set to `acme`, with the keys of these numbers, and publish."""

    def one(name: str = "payments", *numbers: int, stream: str = "main") -> Publication:
        found = [new_pin(number, label=f"key {number}") for number in numbers or (1,)]
        new = NewPinSet(name=name, pins=found, stream=stream)
        return services.pin_sets.add("acme", new, intent)

    return one


@pytest.fixture
def make_stream(services: Services, intent: Intent) -> Callable[..., Publication]:
    """Add a stream to `acme`, a copy of another one, and publish."""

    def one(name: str = "canary", source: str = "main") -> Publication:
        return services.streams.add("acme", NewStream(name=name, source=source), intent)

    return one
