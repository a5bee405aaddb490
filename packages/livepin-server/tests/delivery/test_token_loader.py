"""What tokens are made of, in step with the database; and what other servers are told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from livepin import tokens
from livepin.documents.token_request import TokenRequest
from livepin.jose import PrivateKey
from livepin.tokens import TokenError, verify
from livepin_server.bus.memory import MOST_SPENT, MemoryBus, News, Spent, TokensChanged
from livepin_server.delivery import token_loader
from livepin_server.delivery.token_loader import TokenLoader
from livepin_server.delivery.tokens import TokenDesk
from livepin_server.errors import NotFoundError, UnavailableError
from livepin_server.services.appraisal.verifiers import Verifiers
from livepin_server.services.appraisal.verifying import Verifying
from livepin_server.services.composition import Services
from livepin_server.services.model import Intent, NewDomain, NewPin
from livepin_server.services.tokens.challenges import AHEAD, Challenges
from livepin_server.services.tokens.issuing import Issuing
from livepin_server.storage.schema import token_keys
from livepin_server.telemetry.metrics import Metrics
from sqlalchemy import select, update

INTENT = Intent(author="bob", reason="a test")
HOST = "api.example.com"
TOKEN, JWKS = "/v1/acme/token", "/v1/acme/jwks.json"


def protect(services: Services) -> None:
    """Have `api.example.com` ask for tokens."""
    new = NewDomain(pattern=HOST, pins=[NewPin(sha256=f"sha256/{'A' * 43}=")], token=True)
    services.domains.add("acme", new, INTENT)


class Installation:
    """An app on a device."""

    def __init__(self) -> None:
        self.key, self.challenge = PrivateKey.generate(), None

    @property
    def id(self) -> str:
        return tokens.installation_id("acme", self.key.public.kid)

    def request(self) -> bytes:
        return TokenRequest(
            account="acme", app="app", key=self.key.public, challenge=self.challenge,
            stream="main", root_version=1, config_version=1, hosts={HOST: None},
        ).signed(self.key)  # fmt: skip

    def ask(self, server) -> Any:
        """Ask once; return the tokens."""
        answer = server.send("POST", TOKEN, content=self.request())
        assert answer.status_code == 200, answer.text
        self.challenge = answer.json()["challenge"]
        return answer.json()["tokens"]


# -- a running server ----------------------------------------------------------------------------


@pytest.fixture
def served(start_server, until):
    """A running server of this test's own that issues tokens."""
    server = start_server()
    protect(server.services)
    app = Installation()
    until(lambda: app.ask(server))
    return server


def in_step(server) -> bool:
    return "livepin_in_step 1.0" in server.metrics.text().decode()


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("column", ["sealed", "decoy"])
def test_where_a_key_does_not_open_nobody_gets_a_token_until_it_does(served, until, column) -> None:
    """What is decided of an installation meanwhile would not hold otherwise."""
    services, app = served.services, Installation()
    with services.database.reading() as connection:
        (row,) = connection.execute(select(token_keys)).all()

    def put(data: bytes) -> None:
        statement = update(token_keys).values({column: data})
        services.database.write(lambda connection: connection.execute(statement))

    put(flipped(getattr(row, column)))
    services.installations.decide("acme", app.id, "block", INTENT)
    until(lambda: served.send("POST", TOKEN, content=app.request()).status_code == 503)
    for answer in (
        served.send("POST", TOKEN, content=app.request()),
        served.send("GET", JWKS),
        served.send("GET", JWKS, key=served.key()),
    ):
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["detail"] == "no tokens are issued here now"
    assert not in_step(served)
    assert served.send("GET", "/v1/acme/config/main").status_code == 200

    put(getattr(row, column))
    until(lambda: served.send("POST", TOKEN, content=app.request()).status_code == 200)
    assert in_step(served)
    app.ask(served)
    keys = tokens.parse_jwks(served.send("GET", JWKS).content)
    with pytest.raises(TokenError) as caught:
        verify(app.ask(served)[HOST]["token"], keys, audience=HOST, now=services.clock())
    assert caught.value.reason == "signature"


def test_challenges_are_made_with_the_master_key_of_now(served, until) -> None:
    """As on each other server that has it; one that was made with that of before is none."""
    services, app, before = served.services, Installation(), Installation()
    for each in (app, before):
        each.ask(served)
    services.private_keys.rekey(INTENT)
    elsewhere = Challenges(services.tokens.challenge_key())
    elsewhere.hears(True, services.clock() - AHEAD)
    services.installations.decide("acme", app.id, "pass", INTENT)

    def taken_elsewhere() -> bool:
        app.ask(served)
        return elsewhere.spend(app.challenge, "acme", app.key.public.kid, services.clock())

    until(taken_elsewhere)
    assert before.ask(served) is None
    assert before.ask(served)


# -- loading -------------------------------------------------------------------------------------


class Reading:
    """Reads what tokens are made of, or fails as a test says, while the loader waits."""

    def __init__(self, services: Services) -> None:
        self._tokens = services.tokens
        self.challenge_key = services.tokens.challenge_key
        self.failing: Exception | None = None
        self.then: Callable[[int], None] = lambda number: None
        self.count = 0

    def load(self, account: str) -> Issuing:
        self.count += 1
        number = self.count
        if self.failing is not None:
            raise self.failing
        found = replace(self._tokens.load(account), issuer=f"reading {number}")
        self.then(number)
        return found


class Telling(MemoryBus):
    """A bus that keeps what it is to tell other servers, or cannot tell it."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[bytes, ...]] = []
        self.failing: Exception | None = None
        self.on_tell: Callable[[], None] = lambda: None

    async def tell(self, news: News) -> None:
        assert isinstance(news, Spent)
        self.on_tell()
        if self.failing is not None:
            raise self.failing
        self.told.append(news.challenges)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def reading(services: Services) -> Reading:
    protect(services)
    return Reading(services)


@pytest.fixture
def bus() -> Telling:
    return Telling()


@pytest.fixture
def desk(services: Services) -> TokenDesk:
    challenges = Challenges(services.tokens.challenge_key())
    verifiers = Verifiers(clock=services.clock, revoked=lambda: None)
    verifying = Verifying(services.database, verifiers)
    return TokenDesk(challenges, verifying, services.recording, Metrics(), clock=services.clock)


@pytest.fixture
def new_loader(reading, bus, desk, services) -> Callable[[], TokenLoader]:
    """Make a loader, on the loop that runs."""
    return lambda: TokenLoader(desk, reading, bus, clock=services.clock, report=lambda: None)


def issuer(desk: TokenDesk) -> str | None:
    """Return which reading is in force, if any."""
    found = desk._issuing.get("acme")
    return None if found is None else found.issuer


@pytest.mark.anyio
async def test_while_the_database_is_away_it_goes_on_as_before(
    new_loader, reading, desk, caplog
) -> None:
    loader = new_loader()
    await loader.load("acme")
    reading.failing = UnavailableError("the database is not there")
    for _ in range(2):
        await loader.load("acme")
        assert (issuer(desk), loader.missed) == ("reading 1", {"acme"})
    assert [each.getMessage() for each in caplog.records] == [
        "tokens of acme are issued as before: the database is not there"
    ]
    reading.failing = None
    await loader.load("acme")
    assert (issuer(desk), loader.missed) == ("reading 4", set())


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("failing", "missed"), [(NotFoundError("no account"), set()), (ValueError("odd"), {"acme"})]
)
async def test_of_what_is_not_there_or_cannot_be_read_none_are_issued(
    new_loader, reading, desk, failing, missed
) -> None:
    loader = new_loader()
    await loader.load("acme")
    reading.failing = failing
    for _ in range(2):
        await loader.load("acme")
        assert (issuer(desk), loader.missed) == (None, missed)
    with pytest.raises(UnavailableError):
        await desk.answer("acme", b"")
    with pytest.raises(UnavailableError):
        desk.jwks("acme", restricted=False)


@pytest.mark.anyio
async def test_an_older_reading_never_replaces_a_newer_one(new_loader, reading, desk) -> None:
    """Else who was blocked meanwhile would pass until something else changes."""
    loader, second = new_loader(), threading.Event()

    def slow(number: int) -> None:
        if number == 1:
            second.wait(0.2)  # in order, it has not begun by then
        else:
            second.set()

    reading.then = slow
    await asyncio.gather(loader.load("acme"), loader.load("acme"))
    assert issuer(desk) == "reading 2"


@pytest.mark.anyio
async def test_what_is_wanted_often_is_read_once_more(new_loader, reading, bus, desk) -> None:
    """News come faster than it can be read; the last of them is in what is read."""
    loader, begun, go_on = new_loader(), threading.Event(), threading.Event()

    def slow(number: int) -> None:
        begun.set()
        assert go_on.wait(30)

    reading.then = slow
    ends = loader.subscribe()
    bus.announce(TokensChanged(account="acme"))
    await asyncio.to_thread(begun.wait, 30)
    for _ in range(100):
        bus.announce(TokensChanged(account="acme"))
    await asyncio.sleep(0)
    go_on.set()
    while loader._loading:
        await asyncio.gather(*loader._loading)
        await asyncio.sleep(0)
    assert (reading.count, issuer(desk)) == (2, "reading 2")
    for end in ends:
        end()
    bus.announce(TokensChanged(account="acme"))
    await asyncio.sleep(0)
    assert not loader._loading


# -- spent challenges ----------------------------------------------------------------------------


def spend(desk: TokenDesk, now: datetime, count: int) -> list[bytes]:
    """Spend challenges of one installation; return what other servers are to be told."""
    for _ in range(count):
        assert desk.challenges.spend(desk.challenges.make("acme", "k", now), "acme", "k", now)
    return list(desk.challenges.fresh)


async def reached(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


def test_half_of_the_second_that_is_promised_is_left_for_the_way() -> None:
    assert token_loader._TELL_EVERY <= 0.5


@pytest.mark.anyio
async def test_however_many_were_spent_others_are_told_at_once(
    new_loader, bus, desk, clock
) -> None:
    """A replay at another server must not wait behind those of everybody else."""
    loader, found = new_loader(), []
    spent = spend(desk, clock(), 2 * MOST_SPENT + 200)
    loop = asyncio.get_running_loop()
    # It has its turn after all that is told without a pause.
    bus.on_tell = lambda: loop.call_soon(lambda: found.append(len(bus.told)))
    task = asyncio.create_task(loader._tell())
    await reached(lambda: found)
    assert found[0] == 3
    assert [len(each) for each in bus.told] == [MOST_SPENT, MOST_SPENT, 200]
    assert [one for each in bus.told for one in each] == spent
    assert desk.challenges.fresh == []
    task.cancel()


@pytest.mark.anyio
@pytest.mark.parametrize("failing", [OSError("not there"), ValueError("odd")])
async def test_what_could_not_be_told_is_told_next_time(
    new_loader, bus, desk, clock, monkeypatch, failing
) -> None:
    """In bounded memory: while nobody hears, the newest are kept."""
    monkeypatch.setattr(token_loader, "_TELL_EVERY", 0.01)
    monkeypatch.setattr(token_loader, "_MOST_UNTOLD", 5)
    loader, tries = new_loader(), []
    bus.failing, bus.on_tell = failing, lambda: tries.append(1)
    spent = spend(desk, clock(), 7)
    task = asyncio.create_task(loader._tell())
    await reached(lambda: len(tries) > 2)
    assert desk.challenges.fresh == spent[2:]
    bus.failing = None
    await reached(lambda: bus.told)
    assert bus.told == [tuple(spent[2:])]
    task.cancel()


@pytest.mark.anyio
async def test_what_another_server_tells_is_spent_here(new_loader, bus, desk, clock) -> None:
    new_loader().subscribe()
    text = desk.challenges.make("acme", "k", clock())
    elsewhere = Challenges(desk.challenges.key)
    elsewhere.hears(True, clock() - AHEAD)
    assert elsewhere.spend(text, "acme", "k", clock())
    bus.announce(Spent(challenges=tuple(elsewhere.fresh)))
    assert not desk.challenges.spend(text, "acme", "k", clock())
