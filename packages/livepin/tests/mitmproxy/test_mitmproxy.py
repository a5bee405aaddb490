"""mitmproxy, with a CA that the device trusts, reads what is not pinned and nothing else."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import ssl
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from livepin.client import Client, HTTPFetcher
from livepin.documents import Mode
from livepin.errors import PinMismatchError, find
from livepin.testing import Chain, DeliverySimulator, RecordingServer

if TYPE_CHECKING:
    from conftest import Mitmproxy, Sight

FAR = "api.example.com"


def _load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"livepin_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# The drivers of every adapter, and how they are used.
table = _load(Path(__file__).parents[1] / "adapters" / "test_every_adapter.py")


@pytest.fixture
def secret() -> str:
    """What only the API may read."""
    return f"card-{uuid.uuid4()}"


@pytest.fixture
def api(request: pytest.FixtureRequest, chain: Chain) -> Iterator[RecordingServer]:
    """The API that the app is for; it speaks what the driver speaks."""
    driver = request.getfixturevalue("driver") if "driver" in request.fixturenames else None
    kind = getattr(driver, "server", RecordingServer)
    respond = getattr(driver, "respond", lambda *_: (200, {}, b""))
    # Without content, a WebSocket is not closed at once: the app has something to say.
    with kind(chain, respond=lambda *asked: (*respond(*asked)[:2], b"")) as running:
        yield running


def _reads_nothing(sight: Sight, secret: str) -> bool:
    return sight.read == [] and secret not in sight.log


def _silent(api: RecordingServer) -> bool:
    api.wait_closed()
    return bytes(api.received) == b""


def _post(driver: Any, pins: Client, url: str, secret: str, **options: Any) -> int:
    with table.Http(driver, pins, **options) as http:
        return http.request("POST", f"{url}/{secret}", parts=(secret.encode(),))[0]


# -- every adapter -----------------------------------------------------------------------------


@table.every()
def test_a_reverse_proxy_reads_nothing(
    mitmproxy: Mitmproxy,
    pins: Client,
    chain: Chain,
    api: RecordingServer,
    driver: Any,
    secret: str,
) -> None:
    mark = mitmproxy.mark()
    with pytest.raises(driver.refused) as caught:
        _post(driver, pins, f"https://{mitmproxy.before(api.port)}", secret)
    error = find(caught.value)
    assert isinstance(error, PinMismatchError)
    assert error.expected == (str(chain.pin),)
    assert str(mitmproxy.pin) in error.chain
    assert _reads_nothing(mitmproxy.seen_since(mark), secret)
    assert _silent(api)


@table.every()
def test_without_pins_a_reverse_proxy_reads_everything(
    mitmproxy: Mitmproxy,
    pins: Client,
    simulator: DeliverySimulator,
    chain: Chain,
    api: RecordingServer,
    driver: Any,
    secret: str,
) -> None:
    """The control: the same request, with the domain off."""
    simulator.pin("localhost", chain.pin, mode=Mode.OFF)
    pins.refresh()
    mark = mitmproxy.mark()
    assert _post(driver, pins, f"https://{mitmproxy.before(api.port)}", secret) == 200
    sight = mitmproxy.seen_since(mark)
    assert secret in str(sight.read)
    assert secret in sight.log
    assert not _silent(api)


@table.every("proxy")
def test_a_proxy_that_is_asked_for_a_tunnel_reads_nothing(
    mitmproxy: Mitmproxy,
    pins: Client,
    chain: Chain,
    api: RecordingServer,
    driver: Any,
    secret: str,
) -> None:
    mark = mitmproxy.mark()
    with pytest.raises(driver.refused) as caught:
        _post(driver, pins, f"https://{FAR}:{api.port}", secret, proxy=mitmproxy.proxy)
    error = find(caught.value)
    assert isinstance(error, PinMismatchError)
    assert (error.host, error.expected) == (FAR, (str(chain.pin),))
    assert str(mitmproxy.pin) in error.chain
    assert _reads_nothing(mitmproxy.seen_since(mark), secret)
    assert _silent(api)


@table.every("proxy")
def test_without_pins_a_proxy_that_is_asked_for_a_tunnel_reads_everything(
    mitmproxy: Mitmproxy,
    pins: Client,
    simulator: DeliverySimulator,
    chain: Chain,
    api: RecordingServer,
    driver: Any,
    secret: str,
) -> None:
    """The control: the same request, with the domain off."""
    simulator.pin(FAR, chain.pin, mode=Mode.OFF)
    pins.refresh()
    mark = mitmproxy.mark()
    url = f"https://{FAR}:{api.port}"
    assert _post(driver, pins, url, secret, proxy=mitmproxy.proxy) == 200
    sight = mitmproxy.seen_since(mark)
    assert secret in str(sight.read)
    assert secret in sight.log
    assert not _silent(api)


# -- any library that takes an SSLContext ------------------------------------------------------


def _pay(context: ssl.SSLContext, authority: str, secret: str) -> int:
    """Send path, header and body, each with a secret of its own."""
    connection = http.client.HTTPSConnection(authority, context=context, timeout=10)
    with contextlib.closing(connection):
        headers = {"Authorization": f"Bearer head-{secret}"}
        connection.request("POST", f"/path-{secret}", f"body-{secret}".encode(), headers)
        return connection.getresponse().status


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_context_sends_no_path_no_header_and_no_body(
    mitmproxy: Mitmproxy,
    pins: Client,
    api: RecordingServer,
    secret: str,
    version: ssl.TLSVersion,
) -> None:
    context = pins.context()
    context.maximum_version = version
    mark = mitmproxy.mark()
    with pytest.raises(PinMismatchError):
        _pay(context, mitmproxy.before(api.port), secret)
    assert _reads_nothing(mitmproxy.seen_since(mark), secret)
    assert _silent(api)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_an_ordinary_context_sends_all_three(
    mitmproxy: Mitmproxy, api: RecordingServer, trusted: str, secret: str, version: ssl.TLSVersion
) -> None:
    """The control: the device trusts mitmproxy."""
    context = ssl.create_default_context(cadata=trusted)
    context.maximum_version = version
    mark = mitmproxy.mark()
    assert _pay(context, mitmproxy.before(api.port), secret) == 200
    sight = mitmproxy.seen_since(mark)
    api.wait_closed()
    for part in ("path", "head", "body"):
        assert f"{part}-{secret}" in str(sight.read)
        assert f"{part}-{secret}" in sight.log
        assert f"{part}-{secret}".encode() in api.received


# -- Livepin's own channel ---------------------------------------------------------------------


@pytest.fixture
def delivery(simulator: DeliverySimulator, chain: Chain) -> Iterator[RecordingServer]:
    """The delivery service of the account, over TLS."""

    def respond(path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        return simulator.respond(path.removeprefix("/copy"), headers)

    with RecordingServer(chain, respond=respond) as running:
        yield running


@pytest.fixture
def delivered(
    simulator: DeliverySimulator,
    delivery: RecordingServer,
    chain: Chain,
    mitmproxy: Mitmproxy,
    trusted: str,
) -> Callable[..., Client]:
    """Start an app that has mitmproxy before its delivery service; then publish a newer config."""

    def start(**settings: Any) -> Client:
        url = f"https://{mitmproxy.before(delivery.port)}"
        recovery = settings.pop("recovery", False)
        members = {"urls": (url,), "ca": trusted, "delivery_pins": (chain.pin,)} | settings
        members["recovery_urls"] = (f"{url}/copy",) if recovery else ()
        for name, value in members.items():
            setattr(simulator, name, value)
        simulator.publish()
        pins = simulator.client(fetcher=HTTPFetcher())
        simulator.publish()
        return pins

    return start


def test_the_delivery_channel_is_refused(
    mitmproxy: Mitmproxy,
    simulator: DeliverySimulator,
    delivery: RecordingServer,
    delivered: Callable[..., Client],
) -> None:
    mark = mitmproxy.mark()
    with delivered() as pins:
        with pytest.raises(PinMismatchError) as caught:
            pins.refresh()
        assert pins.status().version == simulator.version - 1
    assert str(mitmproxy.pin) in caught.value.chain
    assert _reads_nothing(mitmproxy.seen_since(mark), f"/v1/{simulator.account}")
    assert _silent(delivery)


def test_recovery_works_through_mitmproxy_and_shows_it_nothing_but_signed_documents(
    mitmproxy: Mitmproxy,
    simulator: DeliverySimulator,
    delivery: RecordingServer,
    delivered: Callable[..., Client],
) -> None:
    mark = mitmproxy.mark()
    with delivered(recovery=True) as pins:
        pins.refresh()
        assert pins.status().version == simulator.version
    heads = [each for each in mitmproxy.seen_since(mark).read if isinstance(each, list)]
    assert [each[:2] for each in heads] == [
        ["GET", f"/copy/v1/{simulator.account}/config/{simulator.stream}"]
    ]
    assert delivery.requests == 1


def test_with_its_key_pinned_mitmproxy_reads_the_delivery_channel(
    mitmproxy: Mitmproxy,
    simulator: DeliverySimulator,
    delivery: RecordingServer,
    delivered: Callable[..., Client],
) -> None:
    """The control: nothing but the pin was in its way."""
    mark = mitmproxy.mark()
    with delivered(delivery_pins=(mitmproxy.pin,)) as pins:
        pins.refresh()
        assert pins.status().version == simulator.version
    assert f"/v1/{simulator.account}/config" in str(mitmproxy.seen_since(mark).read)
    assert delivery.requests == 1


def test_the_genuine_api_is_reached_past_mitmproxy(pins: Client, api: RecordingServer) -> None:
    assert _pay(pins.context(), f"localhost:{api.port}", "mine") == 200
