"""Frida as a process, one for all tests, and apps that it attaches to."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from attaching import FRIDA, Talker, attacher, attacked
from livepin.testing import (
    Authority,
    Chain,
    DeliverySimulator,
    RecordingServer,
    make_authority,
    make_chain,
)

HOST = "localhost"


@pytest.fixture(scope="session")
def frida(
    tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str], NoReturn]
) -> Iterator[Talker]:
    """Frida: it attaches to processes, and does what `frida_driver.py` says."""
    if not FRIDA.exists():
        missing("Frida is not here; install it with: .ci/counterparts")
    with attacher(tmp_path_factory.mktemp("frida")) as found:
        yield found


@pytest.fixture(scope="session")
def authority() -> Authority:
    """A CA that the app's device trusts, and that certified an attacker too."""
    return make_authority("Public CA")


@pytest.fixture(scope="session")
def chain(authority: Authority) -> Chain:
    """The chain that is pinned."""
    return make_chain(HOST, authority=authority)


@pytest.fixture(scope="session")
def rogues(authority: Authority) -> tuple[Chain, Chain]:
    """Two chains of an attacker's."""
    return make_chain(HOST, authority=authority), make_chain(HOST, authority=authority)


@pytest.fixture
def service(chain: Chain) -> Iterator[DeliverySimulator]:
    """The delivery service, over TLS: it pins the API, and gives tokens for it."""
    found = DeliverySimulator(clock=lambda: dt.datetime.now(dt.timezone.utc))
    with RecordingServer(chain, respond=found.respond, post=found.post) as server:
        found.urls = (f"https://{HOST}:{server.port}",)
        found.delivery_pins, found.ca = (chain.pin,), chain.authority.pem
        found.pin(HOST, chain.pin, token=True)
        yield found


@pytest.fixture
def rogue(rogues: tuple[Chain, Chain]) -> Iterator[RecordingServer]:
    """The attacker's server."""
    with RecordingServer(rogues[0]) as running:
        yield running


@pytest.fixture
def app(service: DeliverySimulator, chain: Chain, tmp_path: Path) -> Iterator[Talker]:
    """An app in a process of its own, to be attacked."""
    settings = tmp_path / "settings.json"
    bootstrap = service.bootstrap().to_text()
    settings.write_text(json.dumps({"bootstrap": bootstrap, "ca": chain.authority.pem}))
    with attacked(settings) as found:
        yield found
