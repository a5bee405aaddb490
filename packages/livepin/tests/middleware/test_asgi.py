"""What ASGI alone has: event loops, WebSockets, lifespans, shared state."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import Any

import pytest
from livepin.errors import ConfigurationError
from livepin.middleware.asgi import TokenMiddleware
from livepin.middleware.check import TokenCheck
from livepin.testing import FakeClock, TokenIssuer

FIELD = b"livepin-token"


@pytest.fixture
def check(issuer: TokenIssuer, clock: FakeClock) -> TokenCheck:
    return TokenCheck(audience=issuer.audience, jwks=issuer.jwks(), clock=clock)


def run(app: Any, scope: dict[str, Any], *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """Call an app once; return what it sent."""
    received, sent = list(messages), []

    async def receive() -> dict[str, Any]:
        return received.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    assert not received, "the app did not ask for this"
    return sent


def scope(kind: str, *fields: tuple[bytes, str], **more: Any) -> dict[str, Any]:
    headers = [(name, value.encode()) for name, value in fields]
    return {"type": kind, "path": "/", "headers": headers, "method": "GET"} | more


class App:
    def __init__(self) -> None:
        self.scopes: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        await send({"type": "app"})


def test_a_web_socket_without_a_token_is_closed_before_it_is_accepted(
    check: TokenCheck, issuer: TokenIssuer
) -> None:
    app = App()
    made = TokenMiddleware(app, check)
    asked = scope("websocket")
    del asked["method"]
    sent = run(made, asked, {"type": "websocket.connect"})
    assert sent == [{"type": "websocket.close", "code": 1008}]
    assert not app.scopes
    asked["headers"] = [(FIELD, issuer.token().encode())]
    assert run(made, asked) == [{"type": "app"}]
    assert app.scopes[0]["livepin"].audience == issuer.audience


def test_a_proof_of_a_web_socket_is_for_its_get(issuer: TokenIssuer, clock: FakeClock) -> None:
    check = TokenCheck(audience=issuer.audience, jwks=issuer.jwks(), clock=clock, proof=True)
    token = issuer.token()
    proof = issuer.proof(token, "GET", "https://api.example.com/a%20b")
    asked = scope("websocket", (FIELD, token), (b"dpop", proof), path="/a b")
    del asked["method"]
    assert run(TokenMiddleware(App(), check), asked) == [{"type": "app"}]


def test_a_lifespan_is_the_apps(check: TokenCheck) -> None:
    app, asked = App(), {"type": "lifespan"}
    assert run(TokenMiddleware(app, check), asked) == [{"type": "app"}]
    assert app.scopes[0] is asked


def test_what_is_neither_request_nor_web_socket_is_refused(check: TokenCheck) -> None:
    app = App()
    with pytest.raises(ConfigurationError, match="found 'webtransport'"):
        run(TokenMiddleware(app, check), scope("webtransport"))
    assert not app.scopes


def test_claims_are_of_one_request_also_where_state_is_shared(
    check: TokenCheck, issuer: TokenIssuer
) -> None:
    app, shared = App(), {"database": "open"}
    made = TokenMiddleware(app, check)
    asked = scope("http", (FIELD, issuer.token()), state=shared)
    run(made, asked)
    assert app.scopes[0]["state"]["database"] == "open"
    assert app.scopes[0]["state"]["livepin"] is app.scopes[0]["livepin"]
    assert shared == {"database": "open"}
    assert "livepin" not in asked


def test_a_field_is_found_in_any_case(check: TokenCheck, issuer: TokenIssuer) -> None:
    app = App()
    twice = scope("http", (FIELD, issuer.token()), (b"Livepin-Token", issuer.token()))
    assert run(TokenMiddleware(app, check), twice)[0]["status"] == 401
    assert run(TokenMiddleware(app, check), scope("http", (b"Livepin-Token", issuer.token())))
    assert len(app.scopes) == 1


def test_an_event_loop_goes_on_while_keys_are_fetched(
    issuer: TokenIssuer, clock: FakeClock, jwks_server: Any, delivery_chain: Any
) -> None:
    """Fifty requests wait for one fetch, and other tasks run meanwhile."""
    asked, goes = threading.Event(), threading.Event()

    def respond(path: str, headers: dict[str, str]) -> Any:
        asked.set()
        assert goes.wait(30)
        return issuer.respond(path, headers)

    url = f"https://localhost:{jwks_server(respond).port}/"
    ca = delivery_chain.authority.pem
    check = TokenCheck(audience=issuer.audience, jwks=url, ca=ca, clock=clock)
    app = App()
    made = TokenMiddleware(app, check)

    async def ask() -> None:
        async def send(_: Any) -> None:
            """Nobody reads it."""

        await made(scope("http", (FIELD, issuer.token())), send, send)

    async def main() -> None:
        waiting = [asyncio.ensure_future(ask()) for _ in range(50)]
        deadline = time.monotonic() + 30
        while not asked.is_set():  # the loop turns, and nobody has an answer
            assert time.monotonic() < deadline
            await asyncio.sleep(0)
        assert not any(each.done() for each in waiting)
        waiting.pop().cancel()
        await asyncio.sleep(0)
        goes.set()
        await asyncio.gather(*waiting)

    asyncio.run(main())
    assert (len(app.scopes), issuer.fetched) == (49, 1)


def test_web_sockets_over_a_real_server(check: TokenCheck, issuer: TokenIssuer) -> None:
    uvicorn = pytest.importorskip("uvicorn", reason="the livepin wheel alone brings no uvicorn")
    client = pytest.importorskip("websockets.sync.client", reason="nor websockets")
    from websockets.exceptions import InvalidStatus

    reached: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["livepin"].installation)
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": scope["state"]["livepin"].app})
        await send({"type": "websocket.close"})

    config = uvicorn.Config(
        TokenMiddleware(app, check), lifespan="off", log_level="error", ws="websockets-sansio"
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}/"
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            for fields in ([], [("Livepin-Token", "x")], 2 * [("Livepin-Token", issuer.token())]):
                with pytest.raises(InvalidStatus) as caught:
                    client.connect(url, additional_headers=fields, proxy=None)
                assert caught.value.response.status_code == 403
            assert not reached
            fields = [("Livepin-Token", issuer.token())]
            with client.connect(url, additional_headers=fields, proxy=None) as websocket:
                assert websocket.recv() == "com.example.app"
            assert reached == [issuer.claims().installation]
        finally:
            server.should_exit = True
            thread.join(30)
