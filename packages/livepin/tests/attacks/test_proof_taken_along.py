"""A proof that leaves for another host, or comes again: by a redirect, in cleartext, or in a retry.

Whoever reads a token and its proof before the backend does can send that one request in its place.
"""

from __future__ import annotations

import socket
import ssl
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from livepin import Client, tokens
from livepin.adapters import stdlib
from livepin.middleware.check import RefusedError, Request, TokenCheck
from livepin.testing import Chain, DeliverySimulator, RecordingServer, make_chain

if TYPE_CHECKING:
    from conftest import PlainServer

API, ELSEWHERE = "localhost", "127.0.0.1"
Serve = Callable[..., RecordingServer]


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
    with simulator.client(ca=chain.authority.pem, proof=True) as found:
        yield found


@pytest.fixture
def serve(chain: Chain) -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(RecordingServer(chain, **options))


def leading_to(url: str) -> dict[str, Any]:
    return {"respond": lambda *_: (302, {"Location": url}, b"")}


def sent(server: RecordingServer, name: str = tokens.PROOF_HEADER) -> list[str]:
    server.wait_closed()
    lines = bytes(server.received).decode("latin-1").split("\r\n")
    fields = [line.partition(": ") for line in lines]
    return [value for each, _, value in fields if each.lower() == name.lower()]


def beginning(proof: str) -> bytes:
    """Return what all proofs of one key begin with."""
    return proof.split(".")[0].encode()


def test_a_redirect_does_not_give_it_to_the_next_host(pins: Client, serve: Serve) -> None:
    thief = serve()
    good = serve(**leading_to(f"https://{ELSEWHERE}:{thief.port}/"))
    stdlib.opener(pins).open(f"https://{API}:{good.port}/", timeout=10).close()
    (proof,) = sent(good)
    assert thief.requests == 1
    thief.wait_closed()
    assert beginning(proof) not in bytes(thief.received)


def test_the_next_host_with_tokens_has_one_that_is_good_there_alone(
    pins: Client, simulator: DeliverySimulator, chain: Chain, serve: Serve
) -> None:
    simulator.pin(ELSEWHERE, chain.pin, token=True)
    pins.refresh()
    thief = serve()
    good = serve(**leading_to(f"https://{ELSEWHERE}:{thief.port}/"))
    stdlib.opener(pins).open(f"https://{API}:{good.port}/", timeout=10).close()
    token = pins.token(API).value  # which the thief has read elsewhere
    jwks, now = simulator.jwks(), simulator.clock
    for origin, audience, whose, reason in (
        (f"https://{API}:{good.port}", API, good, None),
        (f"https://{API}:{good.port}", API, thief, "proof"),
    ):
        check = TokenCheck(audience=audience, jwks=jwks, proof=True, origin=origin, clock=now)
        fields = {tokens.HEADER: [token], tokens.PROOF_HEADER: sent(whose)}
        request = Request(method="GET", path="/", values=fields.__getitem__)
        if reason is None:
            check.check(request)
            continue
        with pytest.raises(RefusedError, match=reason):
            check.check(request)


def test_a_redirect_to_cleartext_does_not_show_it(
    pins: Client, serve: Serve, plain_server: Callable[..., PlainServer]
) -> None:
    thief = plain_server(lambda *_: (200, {}, b"ok"))
    good = serve(**leading_to(thief.url))
    stdlib.opener(pins).open(f"https://{API}:{good.port}/", timeout=10).close()
    (proof,) = sent(good)
    ((_, _, headers),) = thief.requests
    assert beginning(proof).decode() not in str(headers)


@pytest.mark.parametrize("name", ["DPoP", "X-Own"])
def test_one_that_was_put_into_a_request_elsewhere_is_removed(
    pins: Client, serve: Serve, name: str
) -> None:
    proof = pins.prove(pins.token(API), "GET", f"https://{API}/")
    thief = serve()
    request = urllib.request.Request(f"https://{ELSEWHERE}:{thief.port}/", headers={name: proof})
    stdlib.opener(pins).open(request, timeout=10).close()
    thief.wait_closed()
    assert beginning(proof) not in bytes(thief.received)


def test_what_is_smuggled_into_the_field_does_not_arrive(pins: Client, serve: Serve) -> None:
    """Twice in one request, a backend may look at the one and a gateway at the other."""
    good = serve()
    connection = stdlib.https_connection(pins, API, good.port)
    connection.putrequest("GET", "/")
    connection.putheader(b"dpop", b"smuggled")
    connection.putheader("DPOP", "smuggled", "twice")
    connection.endheaders()
    assert connection.getresponse().read() == b"ok"
    connection.close()
    (proof,) = sent(good)
    assert proof.count(".") == 2


def test_the_bytes_of_a_request_sent_again_are_refused(
    pins: Client, simulator: DeliverySimulator, chain: Chain, serve: Serve
) -> None:
    outcomes: list[str] = []

    def respond(path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        values = {name.lower(): [value] for name, value in headers.items()}
        request = Request(method="GET", path=path, values=lambda name: values[name.lower()])
        try:
            check.check(request)
        except RefusedError as exc:
            outcomes.append(exc.reason)
            return 401, {}, b""
        outcomes.append("taken")
        return 200, {}, b"ok"

    good = serve(respond=respond)
    origin = f"https://{API}:{good.port}"
    check = TokenCheck(
        audience=API, jwks=simulator.jwks(), proof=True, origin=origin, clock=simulator.clock
    )
    connection = stdlib.https_connection(pins, API, good.port)
    for _ in range(2):
        connection.request("GET", "/pay")
        assert connection.getresponse().read() == b"ok"
    connection.close()
    good.wait_closed()
    seen = bytes(good.received).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    context = ssl.create_default_context(cadata=chain.authority.pem)
    with socket.create_connection(("127.0.0.1", good.port), timeout=10) as sock:
        with context.wrap_socket(sock, server_hostname=API) as tls:
            tls.sendall(seen)
            assert tls.recv(65536).startswith(b"HTTP/1.1 401")
    assert outcomes == ["taken", "taken", "replayed"]
