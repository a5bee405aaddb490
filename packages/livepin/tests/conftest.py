"""Delivery services over real sockets, and an account whose documents keep or break the rules."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import http.client
import json
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from livepin.bootstrap import Bootstrap
from livepin.client import Client, HTTPFetcher
from livepin.client.trusted import Trusted
from livepin.client.updater import Updater
from livepin.jose import PrivateKey, sign_compact, sign_general
from livepin.middleware import asgi, wsgi
from livepin.middleware.check import TokenCheck
from livepin.testing import (
    Chain,
    DeliverySimulator,
    FakeClock,
    MemoryStore,
    RecordingServer,
    TokenIssuer,
    make_authority,
    make_chain,
    server_context,
)
from livepin.trust import TrustedState

# The same examples in each run; to look for others: pytest --hypothesis-profile=search
settings.register_profile("repeatable", deadline=None, max_examples=60, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=3000)
settings.load_profile("repeatable")

HOST = "localhost"
Respond = Callable[[str, dict[str, str]], tuple[int, dict[str, str], bytes]]


@dataclass
class Delivery:
    """A simulator behind `RecordingServer`: its URL, pin and CA are in the configs it signs.

    `answer` may take the place of the simulator's answers, `answer_post` that of those to a POST;
    `asked` holds what was asked for.
    """

    simulator: DeliverySimulator
    chain: Chain
    answer: Respond
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    answer_post: Callable[..., tuple[int, dict[str, str], bytes]] | None = None
    server: RecordingServer = field(init=False)

    def post(
        self, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """Note what is posted, and answer."""
        self.asked.append((path, headers))
        if path.endswith("/token"):
            return (self.answer_post or self.simulator.post)(path, headers, body)
        return self.answer(path, headers)

    def respond(self, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """Note what is asked for, and answer."""
        self.asked.append((path, headers))
        return self.answer(path, headers)

    @property
    def paths(self) -> list[str]:
        """The paths that were asked for."""
        return [path for path, _ in self.asked]

    def publish(self, **settings: Any) -> bytes:
        """Change the simulator's settings, and publish."""
        for name, value in settings.items():
            setattr(self.simulator, name, value)
        return self.simulator.publish()

    def client(self, **options: Any) -> Client:
        """Return a client that fetches over the network."""
        return self.simulator.client(**({"fetcher": HTTPFetcher()} | options))

    def updater(self, **options: Any) -> Updater:
        """Return an updater of its own, from the bootstrap of now."""
        trusted = Trusted(
            self.simulator.bootstrap(),
            options.pop("store", None) or MemoryStore(),
            clock=self.simulator.clock,
            on_change=lambda: None,
        )
        return Updater(trusted, HTTPFetcher(), clock=self.simulator.clock)


@pytest.fixture(scope="session")
def delivery_chain() -> Chain:
    """The chain of the delivery service, from a CA that no system trusts."""
    return make_chain(HOST, "127.0.0.1", "::1", authority=make_authority("Delivery CA"))


@pytest.fixture
def delivery(delivery_chain: Chain) -> Iterator[Delivery]:
    """A delivery service over pinned TLS."""
    simulator = DeliverySimulator()
    found = Delivery(simulator, delivery_chain, simulator.respond)
    with RecordingServer(delivery_chain, respond=found.respond, post=found.post) as found.server:
        found.publish(
            urls=(f"https://{HOST}:{found.server.port}",),
            delivery_pins=(delivery_chain.pin,),
            ca=delivery_chain.authority.pem,
        )
        yield found


@pytest.fixture
def plain_server() -> Iterator[Callable[[Respond], PlainServer]]:
    """Start plain HTTP servers, as recovery URLs may name them."""
    with contextlib.ExitStack() as stack:
        yield lambda respond: stack.enter_context(PlainServer(respond))


@pytest.fixture
def odd_server(delivery_chain: Chain) -> Iterator[Callable[..., OddServer]]:
    """Start servers that do with a connection what they are told: `odd_server(handle, tls=...)`."""
    with contextlib.ExitStack() as stack:

        def start(handle: Callable[[socket.socket], None], *, tls: bool = False) -> OddServer:
            context = server_context(delivery_chain) if tls else None
            return stack.enter_context(OddServer(handle, context))

        yield start


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that is taken, and where nobody listens: a connection to it is refused."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


class PlainServer:
    """An HTTP server without TLS that answers with `respond` and remembers the requests."""

    def __init__(self, respond: Respond) -> None:
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                self._answer()

            def _answer(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.requests.append((self.command, self.path, headers))
                status, extra, body = respond(self.path, headers)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **extra}.items():
                    self.send_header(name, value)
                self.end_headers()
                with contextlib.suppress(OSError):  # who asked has gone
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def paths(self) -> list[str]:
        """The paths that were asked for."""
        return [path for _, path, _ in self.requests]

    def __enter__(self) -> PlainServer:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class OddServer:
    """A server that hands each connection to `handle`, and closes it afterwards."""

    def __init__(
        self, handle: Callable[[socket.socket], None], context: ssl.SSLContext | None
    ) -> None:
        self.connections = 0
        self.ended = threading.Event()
        self._handle = handle
        self._context = context
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        scheme = "http" if context is None else "https"
        self.url = f"{scheme}://{HOST}:{self.port}"

    def __enter__(self) -> OddServer:
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for sock in self._open:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(timeout=10)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.closing(sock):
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
            self._open.append(sock)
            with contextlib.closing(sock):
                self._handle(sock)


# -- backends ----------------------------------------------------------------------------------


@dataclass
class Reply:
    """What a backend answered."""

    status: int
    headers: dict[str, str]
    body: bytes


class Backend:
    """An app behind the middleware; `seen` holds what the tokens said whose requests reached it."""

    audience = "api.example.com"

    def __init__(self, clock: FakeClock, options: dict[str, Any]) -> None:
        self.refused: list[str] = []
        self.seen: list[Any] = []
        settings = {"audience": self.audience, "clock": clock, "on_refused": self._note}
        self.check = TokenCheck(**(settings | options))

    def _note(self, error: Any) -> None:
        self.refused.append(error.reason)

    def ask(self, *fields: tuple[str, str], method: str = "GET", path: str = "/") -> Reply:
        """Send a request with these header fields, in this order."""
        raise NotImplementedError

    def refuses(self, reason: str, *fields: tuple[str, str], **request: str) -> None:
        """Check that a request is refused for a reason that only the backend is told."""
        before = len(self.seen)
        reply = self.ask(*fields, **request)
        assert (self.refused[-1:], reply.status) == ([reason], 401)
        assert reply.headers["www-authenticate"] == "Livepin-Token"
        assert reply.headers["content-type"] == "application/problem+json"
        assert json.loads(reply.body) == {"title": "Unauthorized", "status": 401}
        assert len(self.seen) == before


class WsgiBackend(Backend):
    """Behind the server of the standard library, over a socket."""

    def __enter__(self) -> WsgiBackend:
        class Quiet(WSGIRequestHandler):
            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = WSGIServer(("127.0.0.1", 0), Quiet)
        self._server.set_app(wsgi.TokenMiddleware(self._app, self.check))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _app(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.seen.append(environ.get("livepin.token"))
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    def ask(self, *fields: tuple[str, str], method: str = "GET", path: str = "/") -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self._server.server_port, timeout=30)
        with contextlib.closing(connection):
            connection.putrequest(method, path)
            for name, value in fields:
                connection.putheader(name, value)
            connection.endheaders()
            found = connection.getresponse()
            headers = {name.lower(): value for name, value in found.getheaders()}
            return Reply(found.status, headers, found.read())


class AsgiBackend(Backend):
    """Spoken to as ASGI servers do."""

    def __enter__(self) -> AsgiBackend:
        self.app = asgi.TokenMiddleware(self._app, self.check)
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append(scope.get("livepin"))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    def ask(self, *fields: tuple[str, str], method: str = "GET", path: str = "/") -> Reply:
        return asyncio.run(self.answer(*fields, method=method, path=path))

    async def answer(self, *fields: tuple[str, str], method: str = "GET", path: str = "/") -> Reply:
        """Send a request on the event loop that runs."""
        raw, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "scheme": "https",
            "path": urllib.parse.unquote(raw),
            "raw_path": raw.encode(),
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), v.encode("latin-1")) for name, v in fields],
        }
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request"}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        start, body = sent
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return Reply(start["status"], headers, body["body"])


@pytest.fixture
def clock() -> FakeClock:
    """The clock of backends and of who issues tokens."""
    return FakeClock()


@pytest.fixture
def issuer(clock: FakeClock) -> TokenIssuer:
    """Who issues tokens for the backends."""
    return TokenIssuer(Backend.audience, clock=clock)


@pytest.fixture(params=[WsgiBackend, AsgiBackend], ids=["WSGI", "ASGI"])
def backend(
    request: pytest.FixtureRequest, clock: FakeClock, issuer: TokenIssuer
) -> Iterator[Callable[..., Backend]]:
    """Start backends; they have the issuer's keys unless said otherwise."""
    with contextlib.ExitStack() as stack:

        def start(**options: Any) -> Backend:
            keys = {} if "secret" in options else {"jwks": issuer.jwks()}
            found: Backend = stack.enter_context(request.param(clock, keys | options))
            return found

        yield start


class Ticks:
    """A monotonic clock that stands still until it is told to move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Move."""
        self.now += seconds


@pytest.fixture
def ticks() -> Ticks:
    """The clock by which keys are fetched."""
    return Ticks()


@pytest.fixture
def jwks_server(
    delivery_chain: Chain, issuer: TokenIssuer
) -> Iterator[Callable[..., RecordingServer]]:
    """Serve the JWKS, or what a test answers instead: `jwks_server(respond=...)`."""
    with contextlib.ExitStack() as stack:
        yield lambda respond=issuer.respond: stack.enter_context(
            RecordingServer(delivery_chain, respond=respond)
        )


# -- documents ---------------------------------------------------------------------------------


class Account:
    """An account that signs whatever a test asks for: members are given and changed as JSON.

    `root`, `config` and `override` return a signed document; `members` change those of a valid
    one (`...` removes one), the other arguments say who signs.
    """

    now = dt.datetime(2026, 11, 23, 12, tzinfo=dt.timezone.utc)
    thumbprint = "i" * 43

    def __init__(self) -> None:
        self.keys = {
            role: [PrivateKey.generate() for _ in range(3)]
            for role in ("root", "config", "override")
        }
        self._first = self.root(), self.config()

    def at(self, **delta: float) -> int:
        """Return the second `delta` after `now`."""
        return int((self.now + dt.timedelta(**delta)).timestamp())

    def role(self, *keys: PrivateKey, threshold: int = 1) -> dict[str, Any]:
        """Return a role of a root."""
        return {"keys": [key.public.jwk() for key in keys], "threshold": threshold}

    def pin(self, number: int = 1) -> dict[str, Any]:
        """Return a pin, another for each number."""
        return {"sha256": base64.b64encode(bytes([number]) * 32).decode()}

    def root_members(self, version: int = 1, **members: Any) -> dict[str, Any]:
        """Return the payload of a root."""
        base = {
            "account": "acme",
            "version": version,
            "issued": self.at(),
            "expires": self.at(days=3 * 365),
            "roles": {role: self.role(keys[0]) for role, keys in self.keys.items()},
        }
        return _changed(base, members)

    def config_members(self, version: int = 1, **members: Any) -> dict[str, Any]:
        """Return the payload of a config."""
        base = {
            "account": "acme",
            "stream": "main",
            "root_version": 1,
            "version": version,
            "issued": self.at(),
            "expires": self.at(days=14),
            "refresh_interval": 300,
            "stale_grace": 7 * 24 * 3600,
            "pin_sets": {"api": [self.pin(1)], "pentest": [self.pin(9)]},
            "domains": [
                {"pattern": "api.example.com", "pin_set": "api"},
                {"pattern": "*.example.org", "pin_set": "api"},
            ],
            "delivery": {"urls": ["https://pins.example.com"], "pins": [self.pin(2)]},
        }
        return _changed(base, members)

    def override_members(self, version: int = 1, **members: Any) -> dict[str, Any]:
        """Return the payload of an override."""
        base = {
            "account": "acme",
            "installation": self.thumbprint,
            "root_version": 1,
            "version": version,
            "issued": self.at(),
            "expires": self.at(days=1),
            "pin_sets": {"pentest": [self.pin(9)]},
            "domains": [{"pattern": "api.example.com", "pin_set": "pentest"}],
        }
        return _changed(base, members)

    def root(
        self, version: int = 1, *, by: list[PrivateKey] | None = None, **members: Any
    ) -> bytes:
        """Return a signed root."""
        signers = self.keys["root"][:1] if by is None else by
        payload = json.dumps(self.root_members(version, **members)).encode()
        return sign_general(payload, typ="livepin-root+jws", signers=signers)

    def config(self, version: int = 1, *, by: PrivateKey | None = None, **members: Any) -> bytes:
        """Return a signed config."""
        payload = json.dumps(self.config_members(version, **members)).encode()
        return self.sign(payload, "config", by=by)

    def override(self, version: int = 1, *, by: PrivateKey | None = None, **members: Any) -> bytes:
        """Return a signed override."""
        payload = json.dumps(self.override_members(version, **members)).encode()
        return self.sign(payload, "override", by=by)

    def sign(self, payload: bytes, role: str, *, by: PrivateKey | None = None) -> bytes:
        """Return any payload as signed config or override."""
        return sign_compact(payload, typ=f"livepin-{role}+jws", signer=by or self.keys[role][0])

    def bootstrap(self, root: bytes | None = None, config: bytes | None = None) -> Bootstrap:
        """Return a bootstrap, of the same root 1 and config 1 unless said otherwise."""
        return Bootstrap(root=root or self._first[0], config=config or self._first[1])

    def state(self, **members: Any) -> TrustedState:
        """Return the state of an app that was just installed, its config with these members."""
        config = self.config(**members) if members else None
        return TrustedState.from_bootstrap(self.bootstrap(config=config))


def _changed(base: dict[str, Any], members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in (base | members).items() if value is not ...}


@pytest.fixture(scope="session")
def account() -> Account:
    """The account of the tests; it keeps nothing but its keys."""
    return Account()


@pytest.fixture(scope="session")
def damaged() -> Callable[[bytes], st.SearchStrategy[bytes]]:
    """Make a strategy of a valid text: bytes changed, removed, repeated, inserted, cut off."""
    return _damaged


@pytest.fixture(scope="session")
def mangled() -> Callable[[Any], st.SearchStrategy[Any]]:
    """Make a strategy of valid JSON: one member somewhere is another value, or is gone."""
    return _mangled


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, 1, -1, 2**53 - 1, 2**53, 253402300799, 253402300800, 10**40, 1e300])
    | st.sampled_from(["", "enforce", "off", "*.", "*.com", "API.example.com", "\ud800", "\0"])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=5,
)


@st.composite
def _damaged(draw: st.DrawFn, valid: bytes) -> bytes:
    data = bytearray(valid)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from([0, 1, 1, 1, 2, 4, 64, 10**6])))
        piece = draw(st.binary(max_size=3) | st.just(bytes(data[start:end]) * 2))
        data[start:end] = piece
    return bytes(data)


@st.composite
def _mangled(draw: st.DrawFn, valid: Any) -> Any:
    if not isinstance(valid, (dict, list)) or not valid or draw(st.integers(0, 3)) == 0:
        return draw(_JSON)
    found: Any = valid.copy()
    key = draw(st.sampled_from(list(found) if isinstance(found, dict) else range(len(found))))
    what = draw(st.sampled_from(["inside", "inside", "inside", "remove", "add"]))
    if what == "inside":
        found[key] = draw(_mangled(found[key]))
    elif what == "remove":
        del found[key]
    elif isinstance(found, dict):
        found[draw(st.sampled_from(["critical", "x"]))] = draw(_JSON)
    else:
        found.append(draw(_mangled(found[key])))
    return found
