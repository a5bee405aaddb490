"""A token that leaves for another host: by a redirect, in cleartext, or because it was put there.

Whoever reads a token can use it until it ends, and its host takes it for the app.
"""

from __future__ import annotations

import http.client
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from livepin import CleartextError, Client, TokenUnavailableError, tokens
from livepin.adapters import stdlib
from livepin.testing import Chain, DeliverySimulator, RecordingServer, make_chain

if TYPE_CHECKING:
    from conftest import PlainServer

API, ELSEWHERE = "localhost", "127.0.0.1"


@pytest.fixture
def chain() -> Chain:
    return make_chain(API, ELSEWHERE)


@pytest.fixture
def simulator(chain: Chain) -> DeliverySimulator:
    found = DeliverySimulator()
    found.pin(API, chain.pin, token=True)
    return found


@pytest.fixture
def pins(simulator: DeliverySimulator, chain: Chain) -> Iterator[Client]:
    with simulator.client(ca=chain.authority.pem) as found:
        yield found


@pytest.fixture
def serve(chain: Chain) -> Iterator[Callable[..., RecordingServer]]:
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(RecordingServer(chain, **options))


def leading_to(url: str) -> dict[str, Any]:
    return {"respond": lambda *_: (302, {"Location": url}, b"")}


def sent(server: RecordingServer) -> list[str]:
    server.wait_closed()
    lines = bytes(server.received).decode("latin-1").split("\r\n")
    fields = [line.partition(": ") for line in lines]
    return [value for name, _, value in fields if name.lower() == tokens.HEADER.lower()]


def test_a_redirect_does_not_give_it_to_the_next_host(
    pins: Client, serve: Callable[..., RecordingServer]
) -> None:
    thief = serve()
    good = serve(**leading_to(f"https://{ELSEWHERE}:{thief.port}/"))
    stdlib.opener(pins).open(f"https://{API}:{good.port}/", timeout=10).close()
    token = pins.token(API).value
    assert sent(good) == [token]
    assert thief.requests == 1
    thief.wait_closed()
    assert token.encode() not in bytes(thief.received)


def test_a_redirect_to_cleartext_does_not_show_it(
    pins: Client,
    serve: Callable[..., RecordingServer],
    plain_server: Callable[..., PlainServer],
) -> None:
    thief = plain_server(lambda *_: (200, {}, b"ok"))
    good = serve(**leading_to(thief.url))
    stdlib.opener(pins).open(f"https://{API}:{good.port}/", timeout=10).close()
    ((_, _, headers),) = thief.requests
    assert pins.token(API).value not in headers.values()


def test_no_cleartext_request_to_its_own_host_carries_it(
    pins: Client, plain_server: Callable[..., PlainServer]
) -> None:
    listening = plain_server(lambda *_: (200, {}, b"ok"))
    url = listening.url.replace(ELSEWHERE, API)
    with pytest.raises(CleartextError):
        stdlib.opener(pins).open(url, timeout=10)
    assert listening.requests == []


def test_a_token_that_was_put_into_a_request_elsewhere_is_removed(
    pins: Client, serve: Callable[..., RecordingServer]
) -> None:
    """An app that sets the field itself, for all requests of a session, gives it to all hosts."""
    token, thief = pins.token(API).value, serve()
    request = urllib.request.Request(
        f"https://{ELSEWHERE}:{thief.port}/", headers={tokens.HEADER: token, "X-Own": token}
    )
    stdlib.opener(pins).open(request, timeout=10).close()
    thief.wait_closed()
    assert token.encode() not in bytes(thief.received)


def test_what_is_smuggled_into_the_field_does_not_arrive(
    pins: Client, serve: Callable[..., RecordingServer]
) -> None:
    """Twice in one request, a backend may look at the one and a gateway at the other."""
    good = serve()
    connection = stdlib.https_connection(pins, API, good.port)
    connection.putrequest("GET", "/")
    connection.putheader(b"livepin-token", b"smuggled")
    connection.putheader("LIVEPIN-TOKEN", "smuggled", "twice")
    connection.endheaders()
    assert connection.getresponse().read() == b"ok"
    connection.close()
    assert sent(good) == [pins.token(API).value]


def test_where_there_is_none_a_kept_connection_sends_nothing(
    pins: Client, simulator: DeliverySimulator, serve: Callable[..., RecordingServer]
) -> None:
    good = serve()
    connection: http.client.HTTPSConnection = stdlib.https_connection(pins, API, good.port)
    simulator.reachable = False
    with pytest.raises(TokenUnavailableError, match="no_network"):
        connection.request("POST", "/", b"card=4111")
    good.wait_closed()
    assert bytes(good.received) == b""


@pytest.mark.parametrize("bound", ["Bearer one", "Bearer two"])
def test_a_token_that_is_bound_to_one_user_is_not_sent_for_another(
    simulator: DeliverySimulator,
    chain: Chain,
    serve: Callable[..., RecordingServer],
    bound: str,
) -> None:
    keys = tokens.parse_jwks(simulator.jwks())
    with simulator.client(ca=chain.authority.pem, bind="authorization") as pins:
        pins.token(API, "Bearer one")
        good = serve()
        request = urllib.request.Request(
            f"https://{API}:{good.port}/", headers={"Authorization": bound}
        )
        stdlib.opener(pins).open(request, timeout=10).close()
    (token,) = sent(good)
    found = {"audience": API, "now": simulator.clock(), "bound_to": bound.encode()}
    assert tokens.verify(token, keys, **found).binding == tokens.binding(bound.encode())
