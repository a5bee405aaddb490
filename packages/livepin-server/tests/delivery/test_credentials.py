"""Credentials for the keys that are for backends alone: whose, and at what price."""

from __future__ import annotations

import asyncio
import threading

import pytest
from livepin.documents.root import TYP
from livepin.jose import PrivateKey, sign_general
from livepin_server.delivery.credentials import Credentials
from livepin_server.errors import ForbiddenError, UnavailableError
from livepin_server.services.model import Area, Role

GOOD = "lpk_" + "0" * 12 + "_" + "A" * 43
ADDRESS = "192.0.2.1"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_a_key_of_another_account_opens_nothing_here(services, intent) -> None:
    key = PrivateKey.generate()
    payload = services.accounts.prepare("beta", [dict(key.public.jwk())], intent)
    services.accounts.create("beta", sign_general(payload, typ=TYP, signers=[key]), intent)
    credentials, create = Credentials(services.api_keys), services.api_keys.create
    scopes = [Area.TOKENS]
    _, theirs = create("backend", Role.VIEWER, "beta", intent, scopes=scopes)
    _, everywhere = create("everywhere", Role.VIEWER, None, intent, scopes=scopes)
    await credentials.require(f"Bearer {theirs}", "beta", ADDRESS)
    await credentials.require(f"bearer {everywhere}", "acme", ADDRESS)
    with pytest.raises(ForbiddenError):
        await credentials.require(f"Bearer {theirs}", "acme", ADDRESS)


class Slow:
    """API keys that are looked up for as long as a test says."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.count = 0

    def verify(self, text: str, address: str) -> None:
        self.count += 1
        assert self.go_on.wait(10)
        raise ForbiddenError("no such key")


@pytest.mark.anyio
async def test_strangers_never_keep_more_than_four_threads() -> None:
    slow = Slow()
    credentials = Credentials(slow)
    first = [
        asyncio.create_task(credentials.require(f"Bearer {GOOD}", "acme", ADDRESS))
        for _ in range(4)
    ]
    for _ in range(3):
        await asyncio.sleep(0)
    with pytest.raises(UnavailableError, match="too many credentials"):
        await credentials.require(f"Bearer {GOOD}", "acme", ADDRESS)
    slow.go_on.set()
    found = await asyncio.gather(*first, return_exceptions=True)
    assert [type(each) for each in found] == [ForbiddenError] * 4
    with pytest.raises(ForbiddenError):
        await credentials.require(f"Bearer {GOOD}", "acme", ADDRESS)
    assert slow.count == 5


@pytest.mark.anyio
@pytest.mark.parametrize(
    "given", ["", "Bearer", GOOD, f"Basic {GOOD}", "Bearer x", f"Bearer {GOOD}{'A' * 300}"]
)
async def test_what_is_no_key_costs_no_look_up(given: str) -> None:
    slow = Slow()
    with pytest.raises(ForbiddenError, match="expected a credential"):
        await Credentials(slow).require(given, "acme", ADDRESS)
    assert slow.count == 0
