"""What `livepin.testing` promises to users' tests: nothing in it pretends."""

from __future__ import annotations

import datetime as dt
import json
import socket
import ssl
import threading
import time
from typing import Any

import livepin
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from livepin import testing, tokens
from livepin.client import Request
from livepin.documents import Mode
from livepin.documents.token_request import TokenRequest
from livepin.errors import FetchError, VerificationError
from livepin.jose import PrivateKey, b64url_encode
from livepin.pins import Pin, PinSet
from livepin.testing import (
    Chain,
    DeliverySimulator,
    FakeClock,
    MemoryStore,
    RecordingServer,
    TokenIssuer,
    assert_pinned,
    load_chain,
    make_authority,
    make_chain,
    make_key,
    pin_of,
    server_context,
)
from livepin.trust import TrustedState

HOST = "localhost"


def client_context(chain: Chain) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=chain.authority.pem)


def talk(context: ssl.SSLContext, port: int, *requests: bytes, host: str = HOST) -> list[bytes]:
    """Send requests over one connection; return the answers."""
    answers = []
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        with context.wrap_socket(sock, server_hostname=host) as tls:
            for request in requests:
                tls.sendall(request)
                answers.append(tls.recv(65536))
    return answers


GET = b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_everything_that_is_named_is_there() -> None:
    assert sorted(testing.__all__) == testing.__all__
    for name in testing.__all__:
        assert getattr(testing, name).__doc__


def test_a_fake_clock_moves_only_when_told() -> None:
    clock = FakeClock()
    before = clock()
    assert clock() == before
    clock.advance(days=1, seconds=2)
    assert clock() - before == dt.timedelta(days=1, seconds=2)
    clock.advance(days=-2)
    assert clock() < before
    assert FakeClock(before)() == before


# -- certificates ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ec", "rsa"])
@pytest.mark.parametrize("tls12", [False, True], ids=["tls13", "tls12"])
@pytest.mark.parametrize("intermediate", [False, True], ids=["direct", "intermediate"])
def test_a_chain_verifies_in_a_real_handshake(kind: str, tls12: bool, intermediate: bool) -> None:
    chain = make_chain(HOST, "*.example.com", "127.0.0.1", "::1", key=make_key(kind),
                       intermediate=intermediate)  # fmt: skip
    with RecordingServer(chain, tls12=tls12) as server:
        for host in (HOST, "a.example.com", "127.0.0.1", "::1"):
            assert talk(client_context(chain), server.port, GET, host=host)
        with pytest.raises(ssl.SSLCertVerificationError):
            talk(client_context(chain), server.port, GET, host="elsewhere.example")


def test_a_chain_of_another_authority_does_not_verify() -> None:
    chain, other = make_chain(HOST), make_chain(HOST)
    with RecordingServer(chain) as server, pytest.raises(ssl.SSLCertVerificationError):
        talk(client_context(other), server.port, GET)
    assert bytes(server.received) == b""


def test_a_chain_that_ended_does_not_verify() -> None:
    chain = make_chain(HOST, not_after=dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc))
    with (
        RecordingServer(chain) as server,
        pytest.raises(ssl.SSLCertVerificationError, match="expired"),
    ):
        talk(client_context(chain), server.port, GET)


def test_keys_are_of_the_kind_that_was_asked_for() -> None:
    assert isinstance(make_key(), ec.EllipticCurvePrivateKey)
    found = make_key("rsa")
    assert isinstance(found, rsa.RSAPrivateKey)
    assert found.key_size == 2048


def test_a_renewed_certificate_with_the_same_key_has_the_same_pin() -> None:
    first = make_chain(HOST)
    renewed = make_chain(HOST, authority=first.authority, key=first.key)
    assert renewed.leaf != first.leaf
    assert renewed.pin == first.pin == pin_of(renewed.leaf)
    assert make_chain(HOST, authority=first.authority).pin != first.pin


def test_a_chain_has_what_was_put_into_it() -> None:
    authority = make_authority("Mine")
    between = make_authority("Between", issuer=authority)
    chain = make_chain(HOST, authority=authority, intermediate=between)
    assert chain.authority is authority
    assert chain.intermediate is between
    assert chain.presented == (chain.leaf, between.certificate)
    assert between.certificate.issuer == authority.certificate.subject
    other = make_chain(HOST)
    more = chain.also_presenting(other.leaf)
    assert more.presented == (*chain.presented, other.leaf)
    assert "BEGIN CERTIFICATE" in authority.pem
    assert authority.pin == pin_of(authority.certificate)


def test_a_server_context_presents_another_chain_once_it_is_loaded() -> None:
    first, second = make_chain(HOST), make_chain(HOST)
    context = server_context(first)
    load_chain(context, second)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener.accept()[0] as sock, context.wrap_socket(sock, server_side=True) as tls:
            tls.recv(1)

    thread = threading.Thread(target=serve)
    with listener:
        thread.start()
        with socket.create_connection(listener.getsockname(), timeout=10) as sock:
            with client_context(second).wrap_socket(sock, server_hostname=HOST) as tls:
                assert tls.getpeercert(True) == second.leaf.public_bytes(Encoding.DER)
                tls.sendall(b"?")
                assert tls.recv(1) == b""  # all is read: what is not resets the connection
        thread.join()


# -- the recording server ----------------------------------------------------------------------


def test_the_server_records_every_byte_and_counts() -> None:
    chain = make_chain(HOST)
    with RecordingServer(chain) as server:
        answers = talk(client_context(chain), server.port, GET, GET)
        assert [answer.split(b"\r\n")[0] for answer in answers] == [b"HTTP/1.1 200 X"] * 2
        assert answers[0].endswith(b"\r\n\r\nok")
        server.wait_closed()
        assert bytes(server.received) == GET * 2
        assert (server.requests, server.connections, server.handshakes) == (2, 1, 1)
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
            sock.sendall(b"no TLS at all")
            deadline = time.monotonic() + 10
            while server.connections < 2:
                assert time.monotonic() < deadline
                time.sleep(0.005)
        server.wait_closed()
        assert (server.requests, server.connections, server.handshakes) == (2, 2, 1)


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 5\r\n\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ],
)
@pytest.mark.parametrize("pieces", [1, 2])
def test_a_body_is_read_before_the_answer(body: bytes, pieces: int) -> None:
    chain = make_chain(HOST)
    request = b"POST /b HTTP/1.1\r\n" + body
    at = len(request) if pieces == 1 else request.index(b"\r\n\r\n") + 6
    with RecordingServer(chain) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
            with client_context(chain).wrap_socket(sock, server_hostname=HOST) as tls:
                for piece in (request[:at], request[at:]):
                    tls.sendall(piece)
                assert tls.recv(100).startswith(b"HTTP/1.1 200")
                tls.sendall(GET)
                assert tls.recv(100).startswith(b"HTTP/1.1 200")
        server.wait_closed()
        assert bytes(server.received) == request + GET


def test_a_body_that_never_comes_has_no_answer() -> None:
    chain = make_chain(HOST)
    with RecordingServer(chain) as server:
        talk_nothing = b"POST /b HTTP/1.1\r\nContent-Length: 5\r\n\r\nhe"
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
            with client_context(chain).wrap_socket(sock, server_hostname=HOST) as tls:
                tls.sendall(talk_nothing)
        server.wait_closed()
        assert bytes(server.received) == talk_nothing


def test_the_answers_are_the_tests_own() -> None:
    chain = make_chain(HOST)

    def respond(path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        return 418, {"X-Path": path, "X-Saw": headers["x-mine"]}, b"teapot"

    with RecordingServer(chain, respond=respond) as server:
        request = b"GET /c?d=1 HTTP/1.1\r\nX-Mine:  yes \r\n\r\n"
        [answer] = talk(client_context(chain), server.port, request)
    assert answer.startswith(b"HTTP/1.1 418 X\r\n")
    assert b"X-Path: /c?d=1\r\nX-Saw: yes\r\n\r\nteapot" in answer
    assert b"Content-Length: 6\r\n" in answer


def test_another_chain_may_be_presented_while_the_server_runs() -> None:
    first = make_chain(HOST)
    second = make_chain(HOST, authority=first.authority)
    with RecordingServer(first) as server:
        talk(client_context(first), server.port, GET)
        server.present(second)
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
            with client_context(first).wrap_socket(sock, server_hostname=HOST) as tls:
                assert tls.getpeercert(True) == second.leaf.public_bytes(Encoding.DER)


def test_waiting_for_clients_to_leave_ends_in_time() -> None:
    chain = make_chain(HOST)
    with RecordingServer(chain) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
            with client_context(chain).wrap_socket(sock, server_hostname=HOST) as tls:
                tls.sendall(GET)
                tls.recv(100)
                with pytest.raises(TimeoutError):
                    server.wait_closed(timeout=0.05)
        server.wait_closed()


def test_a_closed_server_hangs_up_and_listens_no_more() -> None:
    chain = make_chain(HOST)
    server = RecordingServer(chain)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        with client_context(chain).wrap_socket(sock, server_hostname=HOST) as tls:
            tls.sendall(GET)
            assert tls.recv(100)
            server.close()
            assert tls.recv(100) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=10)
    server.close()  # again
    with RecordingServer(chain, port=server.port) as again:
        assert again.port == server.port


# -- the delivery simulator --------------------------------------------------------------------


@pytest.fixture
def simulator() -> DeliverySimulator:
    return DeliverySimulator()


CONFIG = "/v1/acme/config/main"


def test_it_answers_as_the_delivery_service_does(simulator: DeliverySimulator) -> None:
    status, headers, body = simulator.respond(CONFIG, {})
    assert (status, headers["ETag"], body) == (200, '"1.1"', simulator.config)
    assert simulator.respond(CONFIG, {"if-none-match": '"1.1"'})[0::2] == (304, b"")
    assert simulator.respond(CONFIG, {"if-none-match": '"2.1"'})[0] == 200
    assert simulator.respond("/v1/acme/root/1", {})[0::2] == (200, simulator.roots[1])
    assert simulator.respond("/v1/acme/reports", {})[0] == 202
    for path in ("/", "/v1/acme/root/2", "/v1/other/config/main", "/v1/acme/config/canary"):
        assert simulator.respond(path, {})[0] == 404


def test_in_memory_it_answers_the_same(simulator: DeliverySimulator) -> None:
    def request(url: str) -> Request:
        return Request(url=url, context=None, max_bytes=1, max_compressed=1, timeout=1,
                       headers={"If-None-Match": '"1.1"'})  # fmt: skip

    assert simulator.fetch(request(f"https://pins.example.com{CONFIG}")).status == 304
    assert simulator.fetch(request("https://pins.example.com/v1/acme/root/1")).status == 200
    simulator.reachable = False
    with pytest.raises(FetchError, match="no network"):
        simulator.fetch(request(f"https://pins.example.com{CONFIG}"))
    assert len(simulator.fetched) == 3


def test_what_it_signs_is_accepted_by_the_rules(simulator: DeliverySimulator) -> None:
    state = TrustedState.from_bootstrap(simulator.bootstrap())
    state = state.advance_config(simulator.pin("api.example.com", Pin(b"\1" * 32)))
    assert state.order == (1, simulator.version) == (1, 2)
    simulator.keys["config"] = PrivateKey.generate()
    state = state.advance_root(simulator.publish_root()).advance_config(simulator.publish())
    assert state.order == (2, 3) == (simulator.root_version, simulator.version)
    again = TrustedState.from_bootstrap(simulator.bootstrap())
    assert again.order == state.order
    domain = again.lookup("api.example.com")
    assert domain is not None
    assert domain.pins.pins == (Pin(b"\1" * 32),)


def test_a_new_root_key_is_signed_for_by_the_old(simulator: DeliverySimulator) -> None:
    state = TrustedState.from_bootstrap(simulator.bootstrap())
    old = simulator.keys["root"]
    simulator.keys["root"] = PrivateKey.generate()
    raw = simulator.publish_root(signers=[old, simulator.keys["root"]])
    assert state.advance_root(raw).root.version == 2


def test_it_forges_when_told_to(simulator: DeliverySimulator) -> None:
    state = TrustedState.from_bootstrap(simulator.bootstrap())
    forged = simulator.sign(simulator.document(version=9), key=PrivateKey.generate())
    with pytest.raises(VerificationError) as caught:
        state.advance_config(forged)
    assert caught.value.rule == 2


def test_members_of_the_next_config_may_be_changed(simulator: DeliverySimulator) -> None:
    simulator.publish(expires=simulator.clock() - dt.timedelta(days=1))
    state = TrustedState.from_bootstrap(simulator.bootstrap())
    assert state.is_stale(now=simulator.clock())


def test_it_may_be_another_account_and_stream() -> None:
    simulator = DeliverySimulator(account="other", stream="canary")
    assert simulator.respond("/v1/other/config/canary", {})[0] == 200
    state = TrustedState.from_bootstrap(simulator.bootstrap())
    assert (state.account, state.stream) == ("other", "canary")


def test_its_client_refreshes_in_memory(simulator: DeliverySimulator) -> None:
    store = MemoryStore()
    with simulator.client(store=store) as pins:
        simulator.pin("api.example.com", Pin(b"\1" * 32))
        assert pins.domain("api.example.com") is None
        pins.refresh()
        assert pins.domain("API.example.com.") is not None
        assert pins.pins()["api.example.com"] == ["AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="]
    assert store.data is not None
    assert simulator.fetched == [f"https://pins.example.com{CONFIG}"]


def test_it_serves_a_recording_server_over_tls() -> None:
    chain = make_chain(HOST)
    simulator = DeliverySimulator(delivery_pins=(chain.pin,), ca=chain.authority.pem)
    with RecordingServer(chain, respond=simulator.respond) as server:
        simulator.urls = (f"https://localhost:{server.port}",)
        simulator.publish()
        with simulator.client(fetcher=livepin.client.HTTPFetcher()) as pins:
            simulator.publish()
            pins.refresh()
            assert pins.status().version == simulator.version
    assert simulator.fetched == []
    assert server.requests == 1


# -- tokens ------------------------------------------------------------------------------------

TOKEN = "/v1/acme/token"


def asking(key: PrivateKey, **changes: Any) -> bytes:
    members: dict[str, Any] = {
        "account": "acme",
        "app": "app",
        "key": key.public,
        "challenge": None,
        "stream": "main",
        "root_version": 1,
        "config_version": 3,
        "hosts": {"api.example.com": None, "plain.example.com": None},
    }
    return TokenRequest(**(members | changes)).signed(key)


@pytest.fixture
def protected(simulator: DeliverySimulator) -> DeliverySimulator:
    simulator.pin("api.example.com", Pin(b"\1" * 32), token=True)
    simulator.pin("plain.example.com", Pin(b"\1" * 32))
    return simulator


def answered(simulator: DeliverySimulator, body: bytes) -> Any:
    status, headers, found = simulator.post(TOKEN, {}, body)
    assert (status, headers["Content-Type"]) == (200, "application/json")
    return json.loads(found)


def test_it_gives_tokens_that_a_backend_verifies(protected: DeliverySimulator) -> None:
    key = PrivateKey.generate()
    bound = bytes(range(32))
    challenge = answered(protected, asking(key))["challenge"]
    answer = answered(protected, asking(key, challenge=challenge, hosts={"api.example.com": bound}))
    assert (answer["config"], answer["override"]) == (None, None)
    assert answer["newest"] == {"root_version": 1, "version": 3}
    keys = tokens.parse_jwks(protected.respond("/v1/acme/jwks.json", {})[2])
    token = answer["tokens"]["api.example.com"]["token"]
    claims = tokens.verify(token, keys, audience="api.example.com", now=protected.clock())
    assert claims.binding == b64url_encode(bound).decode()
    assert claims.thumbprint == key.public.kid
    (request,) = protected.token_requests
    old = protected.token("api.example.com", request=request, expires=protected.clock())
    with pytest.raises(tokens.TokenError) as caught:
        tokens.verify(
            old, keys, audience="api.example.com", now=protected.clock(), leeway=dt.timedelta()
        )
    assert caught.value.reason == "expired"


def test_it_gives_them_for_a_good_challenge_once(protected: DeliverySimulator) -> None:
    key, other = PrivateKey.generate(), PrivateKey.generate()
    answer = answered(protected, asking(key))
    assert answer["tokens"] is None
    challenge = answer["challenge"]
    assert answered(protected, asking(other, challenge=challenge))["tokens"] is None
    good = asking(key, challenge=challenge)
    assert [*answered(protected, good)["tokens"]] == ["api.example.com"]
    assert answered(protected, good)["tokens"] is None
    assert len(protected.token_requests) == 1


def test_it_sends_a_newer_config_along(protected: DeliverySimulator) -> None:
    key = PrivateKey.generate()
    assert answered(protected, asking(key, config_version=2))["config"].encode() == protected.config
    protected.pin_sets["many"] = PinSet(tuple(Pin(bytes([n]) * 32) for n in range(256)) * 8)
    protected.publish()
    assert answered(protected, asking(key, config_version=2))["config"] is None


def test_it_refuses_what_is_no_request_for_tokens(protected: DeliverySimulator) -> None:
    key, other = PrivateKey.generate(), PrivateKey.generate()
    forged = asking(key).rpartition(b".")[0] + b"." + asking(other).rpartition(b".")[2]
    for body in (b"", b"{}", forged, asking(key, account="other")):
        assert protected.post(TOKEN, {}, body)[0] == 400
    assert protected.post("/v1/acme/reports", {}, b"{}")[0] == 202
    assert protected.post("/v1/other/token", {}, asking(key))[0] == 404
    assert protected.token_requests == []


def test_it_gives_tokens_over_tls(protected: DeliverySimulator) -> None:
    chain = make_chain(HOST)
    protected.delivery_pins, protected.ca = (chain.pin,), chain.authority.pem
    with RecordingServer(chain, respond=protected.respond, post=protected.post) as server:
        protected.urls = (f"https://localhost:{server.port}",)
        protected.publish()
        with protected.client(fetcher=livepin.client.HTTPFetcher()) as pins:
            assert pins.token("api.example.com").state is livepin.TokenState.SUCCESS


# -- asserting ---------------------------------------------------------------------------------


def test_a_pinned_host_passes_in_any_spelling(simulator: DeliverySimulator) -> None:
    simulator.pin("api.example.com", Pin(b"\1" * 32))
    simulator.pin("*.wild.example", Pin(b"\1" * 32))
    with simulator.client() as pins:
        for host in ("api.example.com", "API.Example.COM.", "a.b.wild.example"):
            assert_pinned(pins, host)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("elsewhere.example", "no domain of the config covers it"),
        ("wild.example", "no domain of the config covers it"),
        ("report.example", "its mode is report"),
        ("off.example", "its mode is off"),
    ],
)
def test_a_host_that_is_not_pinned_fails(
    simulator: DeliverySimulator, host: str, message: str
) -> None:
    simulator.pin("*.wild.example", Pin(b"\1" * 32))
    simulator.pin("report.example", Pin(b"\1" * 32), mode=Mode.REPORT)
    simulator.pin("off.example", Pin(b"\1" * 32), mode=Mode.OFF)
    with simulator.client() as pins, pytest.raises(AssertionError, match=message):
        assert_pinned(pins, host)


def test_an_issuer_issues_what_its_jwks_verifies() -> None:
    clock = FakeClock()
    issuer = TokenIssuer("api.example.com", clock=clock)
    old = issuer.token()
    issuer.new_key()
    keys = tokens.parse_jwks(issuer.jwks())
    for token in (old, issuer.token(bound_to=b"mine", app="another")):
        claims = tokens.verify(token, keys, audience="api.example.com", now=clock.now)
        proof = issuer.proof(token, "GET", "https://api.example.com/")
        assert tokens.verify_proof(
            proof,
            token=token,
            claims=claims,
            method="GET",
            url="https://api.example.com/",
            now=clock.now,
        )
    assert (claims.app, claims.binding) == ("another", tokens.binding(b"mine"))
    status, fields, body = issuer.respond("/v1/acme/jwks.json", {})
    assert (status, body, issuer.fetched) == (200, issuer.jwks(), 1)
    assert fields["Cache-Control"] == "public, max-age=300"


def test_the_simulator_unpins_one_installation_and_ends_that() -> None:
    simulator = DeliverySimulator()
    simulator.pin(HOST, Pin(b"\1" * 32), token=True)
    with simulator.client() as tester, simulator.client() as other:
        simulator.override(tester.installation_thumbprint, HOST, mode=Mode.OFF)
        assert tester.token(HOST).state is other.token(HOST).state is livepin.TokenState.SUCCESS
        assert_pinned(other, HOST)
        with pytest.raises(AssertionError, match="its mode is off"):
            assert_pinned(tester, HOST)
        simulator.end_override(tester.installation_thumbprint)
        tester.refresh()
        assert_pinned(tester, HOST)
    for whose in (other.installation_thumbprint, "..", ""):
        assert simulator.respond(f"/v1/acme/override/{whose}", {})[0] == 404
