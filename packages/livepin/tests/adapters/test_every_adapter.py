"""What every adapter promises, whatever the library: each runs through the same table."""

from __future__ import annotations

import asyncio
import functools
import gc
import importlib.util
import inspect
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from livepin import tokens
from livepin.client import Answer, Client, Request
from livepin.client.context import Judging, PinnedObject, PinnedSocket
from livepin.documents import Mode
from livepin.errors import (
    CleartextError,
    FetchError,
    PinMismatchError,
    TokenUnavailableError,
    UnlistedHostError,
    UnverifiedChainError,
    find,
)
from livepin.middleware import check as middleware
from livepin.testing import Authority, Chain, DeliverySimulator, RecordingServer

pytestmark = pytest.mark.no_cover  # each adapter has tests of its own, and this takes long

HOST, ELSEWHERE, FAR = "localhost", "127.0.0.1", "api.example.com"
QUICK = pytest.mark.usefixtures("quick_healing")
BODY = (b"one-", b"two-", b"three")
DOCS = Path(__file__).parents[4] / "docs" / "apps.md"

# What not every library can do. A driver says why in `cannot`, and docs/apps.md says the same.
CASES = {
    "wait": "waits for newer pins, so that the request that meets a changed certificate succeeds",
    "body": "begins to take a body when there is a connection",
    "pool": "keeps connections and uses them again",
    "redirect": "follows redirects",
    "downgrade": "would follow redirects to cleartext",
    "cleartext": "would send requests without TLS",
    "proxy": "tunnels through proxies",
    "tokens": "adds tokens to requests",
}


def _drivers() -> list[Any]:
    found = []
    for path in sorted((Path(__file__).parent / "drivers").glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"livepin_driver_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except pytest.skip.Exception as exc:
            found.append(pytest.param(None, id=path.stem, marks=pytest.mark.skip(str(exc))))
            continue
        found += [pytest.param(driver, id=name) for name, driver in module.DRIVERS.items()]
    return found


DRIVERS = _drivers()


def every(*needed: str) -> Any:
    """Parametrise a test with the drivers that can do what it needs."""
    assert CASES.keys() >= {*needed}
    able = [
        each
        for each in DRIVERS
        if each.values[0] is None or each.values[0].cannot.keys().isdisjoint(needed)
    ]
    return pytest.mark.parametrize("driver", able)


class Http:
    """A driver in use; an asynchronous one on an event loop of its own."""

    def __init__(self, driver: Any, pins: Client, **options: Any) -> None:
        is_async = inspect.iscoroutinefunction(driver.request)
        self._loop = asyncio.new_event_loop() if is_async else None
        self._driver = (
            self._run(_made(driver, pins, options)) if is_async else driver(pins, **options)
        )

    def request(self, method: str, url: str, **options: Any) -> tuple[int, bytes]:
        return self._run(self._driver.request(method, url, **options))  # type: ignore[no-any-return]

    def get(self, url: str, **options: Any) -> int:
        return self.request("GET", url, **options)[0]

    def get_all(self, urls: list[str]) -> list[int]:
        """Get all at the same time, in as many threads or tasks."""
        if self._loop is None:
            with ThreadPoolExecutor(len(urls)) as pool:
                return list(pool.map(self.get, urls))
        found = self._run(_gathered(self._driver.request, urls))
        return [status for status, _ in found]

    def later(self, call: Callable[[], object]) -> None:
        """Call on the event loop once it runs, or at once where there is none."""
        if self._loop is None:
            call()
        else:
            self._loop.call_later(0.05, call)

    def see_change(self) -> None:
        """Wait until the library has seen that connections were cut, where that takes a while."""
        if hasattr(self._driver, "see_change"):
            self._run(self._driver.see_change())

    def _run(self, result: Any) -> Any:
        return result if self._loop is None else self._loop.run_until_complete(result)

    def __enter__(self) -> Http:
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._driver.close())
        gc.collect()  # urllib3 closes the connections of a pool when nobody refers to it
        if self._loop is not None:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()


async def _made(driver: Any, pins: Client, options: dict[str, Any]) -> Any:
    return driver(pins, **options)


async def _gathered(request: Callable[..., Any], urls: list[str]) -> list[tuple[int, bytes]]:
    return await asyncio.gather(*(request("GET", url) for url in urls))


@pytest.fixture
def server(driver: Any, serve: Any) -> Callable[..., RecordingServer]:
    """Start a server that answers as the driver needs it."""

    def start(chain: Chain, **options: Any) -> RecordingServer:
        settings = {"respond": getattr(driver, "respond", None)} | options
        return serve(chain, kind=getattr(driver, "server", RecordingServer), **settings)  # type: ignore[no-any-return]

    return start


@pytest.fixture(autouse=True)
def trusted_by_the_app(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system trusts the test CA."""
    (tmp_path / "ca.pem").write_text(authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


def url_of(server: RecordingServer, host: str = HOST) -> str:
    return f"https://{host}:{server.port}/"


def messages(driver: Any, server: RecordingServer) -> bytes:
    """Return what a server was sent, where the driver's library does not hide it."""
    server.wait_closed()
    received = bytes(server.received)
    return driver.messages(received) if hasattr(driver, "messages") else received


def reported(simulator: DeliverySimulator) -> bool:
    return any(url.endswith("/reports") for url in simulator.fetched)


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def silent(server: RecordingServer) -> bool:
    server.wait_closed()
    return bytes(server.received) == b""


@every()
def test_what_a_library_cannot_do_is_documented_with_the_reason(driver: Any) -> None:
    """Only for such a reason is a test of this table not run with it."""
    text = " ".join(DOCS.read_text("utf-8").split())
    assert CASES.keys() >= driver.cannot.keys()
    assert [reason for reason in driver.cannot.values() if reason not in text] == []


# -- pins --------------------------------------------------------------------------------------


@every()
def test_the_right_pin_passes(pins: Client, chain: Chain, driver: Any, server: Any) -> None:
    good = server(chain)
    with Http(driver, pins) as http:
        assert http.request("GET", url_of(good))[0] == 200
    assert good.requests == 1


@QUICK
@every()
def test_a_wrong_pin_sends_nothing_and_is_found_in_the_causes(
    pins: Client, chain: Chain, other: Chain, driver: Any, server: Any
) -> None:
    evil = server(other)
    with Http(driver, pins) as http, pytest.raises(driver.refused) as caught:
        http.request("POST", url_of(evil), parts=(b"card=4111",))
    error = find(caught.value)
    assert isinstance(error, PinMismatchError)
    assert (error.host, error.chain[0]) == (HOST, str(other.pin))
    assert error.expected == (str(chain.pin),)
    assert "livepin domain check localhost" in str(error)
    assert silent(evil)


@every()
@pytest.mark.parametrize("mode", [Mode.REPORT, Mode.OFF])
def test_a_mode_that_does_not_enforce_lets_a_wrong_pin_pass(
    simulator: DeliverySimulator,
    authority: Authority,
    other: Chain,
    driver: Any,
    server: Any,
    mode: Mode,
) -> None:
    """And `report` tells of it."""
    simulator.pin(HOST, simulator.delivery_pins[0], mode=mode)
    good = server(other)
    with simulator.client(ca=authority.pem, reports=True) as pins:
        with Http(driver, pins) as http:
            assert http.get(url_of(good)) == 200
        if mode is Mode.REPORT:
            eventually(lambda: reported(simulator))
    assert reported(simulator) == (mode is Mode.REPORT)


@every()
def test_an_unlisted_host_is_ordinary_tls(
    simulator: DeliverySimulator, authority: Authority, other: Chain, driver: Any, server: Any
) -> None:
    good = server(other)
    with simulator.client(ca=authority.pem) as pins, Http(driver, pins) as http:
        assert http.get(url_of(good)) == 200
        assert pins.status().unlisted_hosts == (HOST,)


@every()
def test_an_unlisted_host_can_be_refused(
    simulator: DeliverySimulator, authority: Authority, chain: Chain, driver: Any, server: Any
) -> None:
    good = server(chain)
    with simulator.client(ca=authority.pem, unlisted="refuse") as pins:
        with Http(driver, pins) as http, pytest.raises(driver.refused) as caught:
            http.get(url_of(good))
    assert isinstance(find(caught.value), UnlistedHostError)
    assert silent(good)


@every()
def test_a_chain_of_a_stranger_is_refused_whatever_the_mode(
    pins: Client, simulator: DeliverySimulator, driver: Any, server: Any, stranger: Chain
) -> None:
    """Pins add to the verification of the chain, they do not replace it."""
    evil = server(stranger)
    for mode in Mode:
        simulator.pin(HOST, stranger.pin, mode=mode)
        pins.refresh()
        with Http(driver, pins) as http, pytest.raises(driver.refused):
            http.get(url_of(evil))
    assert silent(evil)


# -- newer pins --------------------------------------------------------------------------------


@every("wait")
@pytest.mark.parametrize("tls12", [False, True])
def test_a_streamed_post_is_healed_and_arrives_once_and_whole(
    pins: Client,
    simulator: DeliverySimulator,
    other: Chain,
    driver: Any,
    server: Any,
    tls12: bool,
) -> None:
    rotated = server(other, tls12=tls12)
    threading.Timer(0.3, simulator.pin, (HOST, other.pin)).start()
    with Http(driver, pins) as http:
        assert http.request("POST", url_of(rotated), parts=BODY)[0] == 200
    assert rotated.requests == 1
    received = messages(driver, rotated)
    assert [received.count(part) for part in BODY] == [1] * 3


@QUICK
@every("body")
def test_a_body_is_not_begun_before_its_connection_is_judged(
    pins: Client, other: Chain, driver: Any, server: Any
) -> None:
    """Else the app could not send it again."""
    taken: list[bytes] = []

    class Watched(tuple[bytes, ...]):
        def __iter__(self) -> Iterator[bytes]:
            for part in super().__iter__():
                taken.append(part)
                yield part

    evil = server(other)
    with Http(driver, pins) as http, pytest.raises(driver.refused):
        http.request("POST", url_of(evil), parts=Watched(BODY))
    assert taken == []
    assert silent(evil)


@every()
def test_a_new_connection_is_judged_by_the_pins_of_now(
    pins: Client, simulator: DeliverySimulator, other: Chain, driver: Any, server: Any
) -> None:
    rotated = server(other, tls12=True)
    simulator.pin(HOST, other.pin)
    pins.refresh()
    with Http(driver, pins) as http:
        assert http.get(url_of(rotated)) == 200


@pytest.fixture
def resumed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Let connections offer the session of the one before; tell which were resumed.

    No library here does that by itself, but any may.
    """
    sessions: dict[ssl.SSLContext, ssl.SSLSession] = {}
    found: list[bool] = []

    def offering(kind: Any) -> Any:
        create, read = kind._create.__func__, kind.read

        def _create(cls: Any, *args: Any, **options: Any) -> Any:
            options["session"] = sessions.get(options["context"])
            return create(cls, *args, **options)

        def remembering(connection: Any, *args: Any) -> Any:
            data = read(connection, *args)  # in TLS 1.3 tickets come with it
            if connection.session is not None:
                sessions[connection.context] = connection.session
            return data

        monkeypatch.setattr(kind, "_create", classmethod(_create))
        monkeypatch.setattr(kind, "read", remembering)

    judge = Judging.judge

    def noting(judging: Any, connection: Any) -> None:
        found.append(connection.session_reused)
        judge(judging, connection)

    for kind in (PinnedSocket, PinnedObject):
        offering(kind)
    monkeypatch.setattr(Judging, "judge", noting)
    return found


@QUICK
@every()
@pytest.mark.parametrize("tls12", [False, True], ids=["tls13", "tls12"])
def test_a_resumed_session_is_judged_by_the_pins_of_now(
    pins: Client,
    simulator: DeliverySimulator,
    chain: Chain,
    other: Chain,
    driver: Any,
    server: Any,
    resumed: list[bool],
    tls12: bool,
) -> None:
    good = server(chain, tls12=tls12)
    with Http(driver, pins) as http:
        http.get(url_of(good))
        simulator.pin(HOST, other.pin)
        pins.refresh()
        http.see_change()
        before = bytes(good.received)
        with pytest.raises(driver.refused) as caught:
            http.get(url_of(good))
    # Resumed, there is no chain but the remembered one, and none where the leaf was enough.
    assert isinstance(find(caught.value), (PinMismatchError, UnverifiedChainError))
    assert (resumed[0], resumed[-1]) == (False, True)
    good.wait_closed()
    assert bytes(good.received) == before


@every("pool")
def test_a_pooled_connection_is_used_again_while_its_pin_holds(
    pins: Client,
    simulator: DeliverySimulator,
    chain: Chain,
    other: Chain,
    driver: Any,
    server: Any,
) -> None:
    good = server(chain)
    with Http(driver, pins) as http:
        for host_pins in ((chain.pin,), (chain.pin, other.pin), (chain.authority.pin,)):
            simulator.pin(HOST, *host_pins)
            pins.refresh()
            assert http.get(url_of(good)) == 200
    assert good.connections == 1


@every("pool")
def test_a_pooled_connection_is_dropped_when_its_pin_goes(
    pins: Client,
    simulator: DeliverySimulator,
    chain: Chain,
    other: Chain,
    driver: Any,
    server: Any,
) -> None:
    """The server has rotated already: the next request takes a new connection by itself."""
    good = server(chain)
    with Http(driver, pins) as http:
        http.get(url_of(good))
        good.present(other)
        simulator.pin(HOST, other.pin)
        pins.refresh()
        http.see_change()
        assert http.request("POST", url_of(good), parts=(b"only-once",))[0] == 200
    good.wait_closed()
    assert good.connections == 2
    assert bytes(good.received).count(b"only-once") == 1


@QUICK
@every("pool")
def test_a_pooled_connection_to_an_attacker_gets_no_second_request(
    pins: Client,
    simulator: DeliverySimulator,
    chain: Chain,
    other: Chain,
    driver: Any,
    server: Any,
) -> None:
    """A key was stolen, and its pin is withdrawn."""
    good = server(chain)
    with Http(driver, pins) as http:
        http.get(url_of(good))
        simulator.pin(HOST, other.pin)
        pins.refresh()
        http.see_change()
        before = bytes(good.received)
        with pytest.raises(driver.refused) as caught:
            http.get(url_of(good))
    assert isinstance(find(caught.value), PinMismatchError)
    good.wait_closed()
    assert bytes(good.received) == before


@every("wait")
def test_fifty_at_once_during_a_certificate_change_all_succeed(
    pins: Client, simulator: DeliverySimulator, other: Chain, driver: Any, server: Any
) -> None:
    rotated = server(other)
    threading.Timer(0.5, simulator.pin, (HOST, other.pin)).start()
    with Http(driver, pins) as http:
        assert http.get_all([url_of(rotated)] * 50) == [200] * 50
    assert rotated.requests == 50
    assert sum("/config/" in each for each in simulator.fetched) < 10


# -- other hosts, cleartext, proxies -----------------------------------------------------------


@QUICK
@every("redirect")
def test_a_redirect_to_another_host_is_judged_by_that_hosts_pins(
    pins: Client, chain: Chain, other: Chain, driver: Any, server: Any
) -> None:
    evil = server(other)
    elsewhere = url_of(evil, ELSEWHERE).replace("https", getattr(driver, "scheme", "https"))
    location = {"Location": elsewhere}
    good = server(chain, respond=lambda *_: (302, location, b""))
    with Http(driver, pins) as http, pytest.raises(driver.refused) as caught:
        http.get(url_of(good), redirects=True)
    error = find(caught.value)
    assert isinstance(error, PinMismatchError)
    assert error.host == ELSEWHERE
    assert silent(evil)


@every("redirect", "downgrade")
def test_a_redirect_to_cleartext_is_refused(
    pins: Client, chain: Chain, driver: Any, server: Any
) -> None:
    good = server(chain, respond=lambda *_: (302, {"Location": "http://127.0.0.1:9/"}, b""))
    with Http(driver, pins) as http, pytest.raises(driver.refused) as caught:
        http.get(url_of(good), redirects=True)
    assert isinstance(find(caught.value), CleartextError)


@every("cleartext")
@pytest.mark.parametrize("mode", list(Mode))
def test_cleartext_to_a_listed_host_is_refused_in_every_mode(
    simulator: DeliverySimulator, driver: Any, tunnel: Any, mode: Mode
) -> None:
    simulator.pin(ELSEWHERE, simulator.delivery_pins[0], mode=mode)
    with simulator.client() as pins, Http(driver, pins) as http:
        with pytest.raises(driver.refused, match="without TLS") as caught:
            http.get(tunnel.url)
    assert isinstance(find(caught.value), CleartextError)
    assert tunnel.asked == []


@every("cleartext")
def test_an_unlisted_host_may_speak_cleartext(
    simulator: DeliverySimulator, driver: Any, tunnel: Any
) -> None:
    with simulator.client() as pins, Http(driver, pins) as http:
        assert http.get(tunnel.url) == 501


@QUICK
@every("proxy")
@pytest.mark.parametrize("presented", ["chain", "other"])
def test_a_proxy_is_tunnelled_through(
    pins: Client,
    driver: Any,
    server: Any,
    tunnel: Any,
    request: pytest.FixtureRequest,
    presented: str,
) -> None:
    found = server(request.getfixturevalue(presented))
    with Http(driver, pins, proxy=tunnel.url) as http:
        if presented == "chain":
            assert http.get(url_of(found, FAR)) == 200
        else:
            with pytest.raises(driver.refused) as caught:
                http.get(url_of(found, FAR))
            assert isinstance(find(caught.value), PinMismatchError)
    if presented == "other":
        assert silent(found)
    assert {line.partition(":")[0] for line in tunnel.asked} == {f"CONNECT {FAR}"}


@every("proxy", "cleartext")
def test_cleartext_through_a_proxy_is_refused(pins: Client, driver: Any, tunnel: Any) -> None:
    with Http(driver, pins, proxy=tunnel.url) as http, pytest.raises(driver.refused) as caught:
        http.get(f"http://{FAR}/")
    assert isinstance(find(caught.value), CleartextError)
    assert tunnel.asked == []


@every("proxy")
def test_a_request_through_a_proxy_is_healed(
    pins: Client,
    simulator: DeliverySimulator,
    other: Chain,
    driver: Any,
    server: Any,
    tunnel: Any,
) -> None:
    rotated = server(other)
    threading.Timer(0.3, simulator.pin, (FAR, other.pin)).start()
    with Http(driver, pins, proxy=tunnel.url) as http:
        assert http.get(url_of(rotated, FAR)) == 200


# -- tokens ------------------------------------------------------------------------------------


@pytest.fixture
def protected(simulator: DeliverySimulator, chain: Chain) -> DeliverySimulator:
    """An account with a host that asks for tokens, and one that does not."""
    simulator.pin(HOST, chain.pin, token=True)
    simulator.pin(ELSEWHERE, chain.pin)
    return simulator


def sent(server: RecordingServer, name: str = tokens.HEADER) -> list[str]:
    """Return the values of a header field that a server was sent."""
    if hasattr(server, "backend"):
        return [value for each, value in server.backend.fields if each == name.lower()]
    head = bytes(server.received).partition(b"\r\n\r\n")[0].decode("latin-1")
    lines = [line.partition(": ") for line in head.split("\r\n")]
    return [value for each, _, value in lines if each.lower() == name.lower()]


@every("tokens")
def test_a_token_goes_to_the_host_that_asks_for_one(
    protected: DeliverySimulator, authority: Authority, chain: Chain, driver: Any, server: Any
) -> None:
    """In place of what the app may have put there."""
    good = server(chain)
    with protected.client(ca=authority.pem) as pins, Http(driver, pins) as http:
        assert http.get(url_of(good), headers={"LIVEPIN-TOKEN": "smuggled", "X-Own": "1"}) == 200
        (token,) = sent(good)
        assert token == pins.token(HOST).value
    keys = tokens.parse_jwks(protected.jwks())
    tokens.verify(token, keys, audience=HOST, now=protected.clock())
    assert sent(good, "x-own") == ["1"]


@every("tokens")
def test_a_host_that_asks_for_no_token_gets_none(
    protected: DeliverySimulator, authority: Authority, chain: Chain, driver: Any, server: Any
) -> None:
    """Not that of another host either, which the app may have put there."""
    good = server(chain)
    with protected.client(ca=authority.pem) as pins, Http(driver, pins) as http:
        own = {"X-Own": "1", "X-Stray": pins.token(HOST).value}
        assert http.get(url_of(good, ELSEWHERE), headers=own) == 200
    assert (sent(good), sent(good, "x-stray"), sent(good, "x-own")) == ([], [], ["1"])


@every("tokens", "redirect")
@pytest.mark.parametrize("kind", ["listed", "unlisted", "protected"])
def test_a_redirect_elsewhere_takes_no_token_along(
    protected: DeliverySimulator,
    authority: Authority,
    chain: Chain,
    driver: Any,
    server: Any,
    kind: str,
) -> None:
    if kind == "unlisted":
        del protected.domains[ELSEWHERE], protected.pin_sets[ELSEWHERE]
        protected.publish()
    if kind == "protected":
        protected.pin(ELSEWHERE, chain.pin, token=True)
    other = server(chain)
    elsewhere = url_of(other, ELSEWHERE).replace("https", getattr(driver, "scheme", "https"))
    good = server(chain, respond=lambda *_: (302, {"Location": elsewhere}, b""))
    with protected.client(ca=authority.pem) as pins, Http(driver, pins) as http:
        assert http.get(url_of(good), redirects=True) == 200
        assert sent(good) == [pins.token(HOST).value]
        own = [pins.token(ELSEWHERE).value] if kind == "protected" else []
    assert sent(other) == own


@every("tokens", "redirect", "downgrade")
def test_a_redirect_to_cleartext_takes_no_token_along(
    protected: DeliverySimulator,
    authority: Authority,
    chain: Chain,
    driver: Any,
    server: Any,
    plain_server: Any,
) -> None:
    del protected.domains[ELSEWHERE], protected.pin_sets[ELSEWHERE]
    protected.publish()
    other = plain_server(lambda *_: (200, {}, b"ok"))
    good = server(chain, respond=lambda *_: (302, {"Location": other.url}, b""))
    with protected.client(ca=authority.pem) as pins, Http(driver, pins) as http:
        token = pins.token(HOST).value
        assert http.get(url_of(good), redirects=True, headers={"X-Own": token}) == 200
    ((_, _, headers),) = other.requests
    assert token not in headers.values()


@every("tokens")
def test_without_a_token_nothing_is_sent(
    protected: DeliverySimulator, authority: Authority, chain: Chain, driver: Any, server: Any
) -> None:
    good = server(chain)
    with protected.client(ca=authority.pem) as pins, Http(driver, pins) as http:
        protected.reachable = False
        with pytest.raises(driver.refused) as caught:
            http.request("POST", url_of(good), parts=(b"card=4111",))
    error = find(caught.value)
    assert isinstance(error, TokenUnavailableError)
    assert (error.host, error.state) == (HOST, "no_network")
    assert silent(good)


@every("tokens")
def test_an_app_can_choose_to_send_without_a_token(
    protected: DeliverySimulator, authority: Authority, chain: Chain, driver: Any, server: Any
) -> None:
    good = server(chain)
    with protected.client(ca=authority.pem, without_token="send") as pins:
        protected.reachable = False
        with Http(driver, pins) as http:
            assert http.get(url_of(good)) == 200
    assert sent(good) == []


@every("tokens")
def test_a_token_is_bound_to_what_the_request_carries(
    protected: DeliverySimulator, authority: Authority, chain: Chain, driver: Any, server: Any
) -> None:
    keys, found = tokens.parse_jwks(protected.jwks()), []
    with protected.client(ca=authority.pem, bind="Authorization") as pins:
        for user in ("Bearer one", "Bearer two"):
            good = server(chain)
            with Http(driver, pins) as http:
                assert http.get(url_of(good), headers={"Authorization": user}) == 200
            found += sent(good)
            tokens.verify(
                found[-1], keys, audience=HOST, now=protected.clock(), bound_to=user.encode()
            )
    assert len({*found}) == 2


@every("tokens")
def test_many_at_once_wait_for_one_fetch(
    protected: DeliverySimulator, authority: Authority, chain: Chain, driver: Any, server: Any
) -> None:
    good = server(chain)
    with protected.client(ca=authority.pem) as pins, Http(driver, pins) as http:
        assert http.get_all([url_of(good)] * 20) == [200] * 20
    assert len(protected.token_requests) == 1


@every("tokens")
def test_an_event_loop_goes_on_while_a_token_is_fetched(
    protected: DeliverySimulator, authority: Authority, chain: Chain, driver: Any, server: Any
) -> None:
    """The service answers when the loop has turned; other libraries may wait in their thread."""
    turned = threading.Event()

    class Slow:
        def fetch(self, request: Request) -> Answer:
            if request.body is not None and not turned.wait(8):
                raise FetchError("the loop was blocked")
            return protected.fetch(request)

    good = server(chain)
    with protected.client(ca=authority.pem, fetcher=Slow()) as pins, Http(driver, pins) as http:
        http.later(turned.set)
        assert http.get(url_of(good)) == 200
    assert len(sent(good)) == 1


# -- proofs ------------------------------------------------------------------------------------


class Backend:
    """What Livepin's middleware does with each request to a server, before that answers.

    `paths` are those that it took; a request to `/old` leads to `/next`.
    """

    def __init__(
        self, simulator: DeliverySimulator, driver: Any, server: Any, chain: Chain
    ) -> None:
        self.paths: list[str] = []
        self._sends = getattr(driver, "sends", None)
        self._answer = getattr(driver, "respond", lambda *_: (200, {}, b"ok"))
        self._taken: list[middleware.Request] = []
        self.server = server(
            chain, respond=functools.partial(self._respond, self._sends or "GET"), **self._posts()
        )
        self._check = middleware.TokenCheck(
            audience=HOST,
            jwks=simulator.jwks(),
            proof=True,
            origin=url_of(self.server)[:-1],
            clock=simulator.clock,
        )

    def _posts(self) -> dict[str, Any]:
        if self._sends is not None:
            return {}
        return {"post": lambda path, headers, _: self._respond("POST", path, headers)}

    def _respond(self, method: str, path: str, headers: dict[str, str]) -> Any:
        def values(name: str) -> list[str]:
            return [headers[name.lower()]] if name.lower() in headers else []

        request = middleware.Request(method=method, path=path.partition("?")[0], values=values)
        try:
            self._check.check(request)
        except middleware.RefusedError:
            return 401, {}, b""
        self.paths.append(request.path)
        self._taken.append(request)
        if request.path == "/old":
            return 302, {"Location": "/next?page=2"}, b""
        return self._answer(path, headers)

    def replayed(self) -> list[str]:
        """Return why each request that was taken is not taken again."""
        found = []
        for each in self._taken:
            with pytest.raises(middleware.RefusedError) as caught:
                self._check.check(each)
            found.append(caught.value.reason)
        return found


@every("tokens")
def test_a_backend_takes_the_proof_of_each_request_once(
    protected: DeliverySimulator, authority: Authority, chain: Chain, driver: Any, server: Any
) -> None:
    """In place of what the app may have put there."""
    backend = Backend(protected, driver, server, chain)
    url = f"{url_of(backend.server)}a%20b/c;d[%c3?page=1"
    with protected.client(ca=authority.pem, proof=True) as pins, Http(driver, pins) as http:
        for method in ("GET", "POST", "GET"):
            own = {"dpop": "smuggled"}
            assert (
                http.request(method, url, headers=own, parts=(b"x",) * (method == "POST"))[0] == 200
            )
    assert len(backend.paths) == 3
    assert backend.replayed() == ["replayed"] * 3


@every("tokens")
def test_a_backend_that_asks_for_proofs_refuses_a_client_without(
    protected: DeliverySimulator, authority: Authority, chain: Chain, driver: Any, server: Any
) -> None:
    """The test above can fail."""
    backend = Backend(protected, driver, server, chain)
    with protected.client(ca=authority.pem) as pins, Http(driver, pins) as http:
        try:
            assert http.get(url_of(backend.server)) == 401
        except driver.refused as exc:  # gRPC
            assert "UNAUTHENTICATED" in str(exc)  # noqa: PT017
    assert backend.paths == []


@every("tokens", "redirect")
def test_a_redirect_on_the_same_host_has_a_proof_of_its_own(
    protected: DeliverySimulator, authority: Authority, chain: Chain, driver: Any, server: Any
) -> None:
    backend = Backend(protected, driver, server, chain)
    with protected.client(ca=authority.pem, proof=True) as pins, Http(driver, pins) as http:
        assert http.get(f"{url_of(backend.server)}old", redirects=True) == 200
    assert backend.paths == ["/old", "/next"]
    assert backend.replayed() == ["replayed"] * 2


@every("tokens", "proxy")
def test_a_proof_is_for_the_host_and_not_for_the_proxy(
    protected: DeliverySimulator,
    authority: Authority,
    chain: Chain,
    driver: Any,
    server: Any,
    tunnel: Any,
) -> None:
    backend = Backend(protected, driver, server, chain)
    with protected.client(ca=authority.pem, proof=True) as pins:
        with Http(driver, pins, proxy=tunnel.url) as http:
            assert http.get(url_of(backend.server)) == 200
    assert len(backend.paths) == 1
    assert len(tunnel.asked) == 1
