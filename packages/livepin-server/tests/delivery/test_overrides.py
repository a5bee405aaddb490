"""Overrides over the wire: for the one device, until their time, and with its tokens."""

from __future__ import annotations

import gzip
from datetime import timedelta

import pytest
from livepin.documents.override import TYP, Override
from livepin.documents.token_request import TokenRequest
from livepin.jose import PrivateKey, parse_compact
from livepin.testing import FakeClock
from livepin_server.delivery.overrides import Overrides
from livepin_server.services.model import Intent, NewDomain, NewPin, OverrideDocument
from livepin_server.services.overrides.model import NewOverride
from livepin_server.telemetry.metrics import Metrics

INTENT = Intent(author="alice", reason="a test")
HOST = "api.example.com"
PIN = NewPin(sha256=f"sha256/{'A' * 43}=")
A, B = "a" * 43, "b" * 43


def path(thumbprint: str) -> str:
    return f"/v1/acme/override/{thumbprint}"


# -- in memory -----------------------------------------------------------------------------------


def document(version: int, clock: FakeClock, *, hours: float = 1, ends: bool = False):
    until = clock() + timedelta(hours=hours)
    return OverrideDocument(
        root_version=1, version=version, raw=b"x" * version, expires=clock() if ends else until,
        until=until,
    )  # fmt: skip


def test_each_is_there_until_its_time_and_counted_while_in_force() -> None:
    metrics, clock = Metrics(), FakeClock()
    found = Overrides(metrics, clock=clock)

    def counted() -> float | None:
        return metrics.registry.get_sample_value("livepin_overrides", {"account": "acme"})

    found.replace("acme", {A: document(3, clock), B: document(4, clock, hours=2, ends=True)})
    found.replace("beta", {A: document(5, clock)})
    assert found.get(path(A)).raw == b"xxx"
    assert found.get(path(B)).raw == b"xxxx"
    assert counted() == 1
    clock.advance(hours=1)
    assert (found.get(path(A)), counted()) == (None, 0)
    assert found.get(path(B)) is not None
    found.replace("acme", {A: document(6, clock), B: None})
    assert found.get(path(A)).etag == '"1.6"'
    assert found.get(path(B)) is None
    assert counted() == 1
    found.replace("acme", {})
    assert (found.get(path(A)), counted()) == (None, 0)


# -- at a server ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def device() -> PrivateKey:
    """The key of a device."""
    return PrivateKey.generate()


@pytest.fixture(scope="module")
def unpinned(server, device, until) -> str:
    """The path of an override of that device."""
    services = server.services
    services.domains.add("acme", NewDomain(pattern=HOST, pins=[PIN], token=True), INTENT)
    new = NewOverride(installation=device.public.kid, domains=[HOST], mode="off")
    services.overrides.create("acme", new, INTENT, tested=False)
    found = path(device.public.kid)
    until(lambda: server.send("GET", found).status_code == 200)
    return found


def test_it_is_served_as_signed_and_no_cache_answers_for_it(server, device, unpinned) -> None:
    answer = server.send("GET", unpinned)
    found = Override.parse(parse_compact(answer.content, typ=TYP).payload)
    assert (found.installation, found.version) == (device.public.kid, 3)
    assert answer.headers["content-type"] == "application/jose"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["etag"] == '"1.3"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    held = server.send("GET", unpinned, headers={"if-none-match": '"1.3"'})
    assert (held.status_code, held.content) == (304, b"")
    assert server.send("HEAD", unpinned).headers["content-length"] == str(len(answer.content))
    packed = server.send("GET", unpinned, headers={"accept-encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == answer.content  # the client has expanded it
    assert gzip.decompress(gzip.compress(packed.content)) == answer.content
    refused = server.send("POST", unpinned)
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("thumbprint", [B, "", "x", "../config/main", A + "a"])
def test_of_others_there_is_none(server, unpinned, thumbprint) -> None:
    answer = server.raw(
        f"GET {path(thumbprint)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    )
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"content-type: application/problem+json" in answer


def ask(server, key: PrivateKey, challenge: str | None = None) -> dict:
    request = TokenRequest(
        account="acme", app="app", key=key.public, challenge=challenge, stream="main",
        root_version=1, config_version=2, hosts={HOST: None},
    )  # fmt: skip
    answer = server.send("POST", "/v1/acme/token", content=request.signed(key))
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_it_comes_with_the_tokens_of_its_device_and_with_no_others(
    server, device, unpinned, until
) -> None:
    until(lambda: ask(server, device, ask(server, device)["challenge"])["override"])
    first = ask(server, device)
    assert (first["tokens"], first["override"]) == (None, None)  # it asks again
    answer = ask(server, device, first["challenge"])
    assert answer["override"].encode() == server.send("GET", unpinned).content
    other = PrivateKey.generate()
    theirs = ask(server, other, ask(server, other)["challenge"])
    assert (theirs["override"], set(theirs["tokens"])) == (None, {HOST})


def test_no_config_is_touched_and_nobody_is_told(server, device, unpinned, until) -> None:
    before = server.send("GET", "/v1/acme/config/main")
    woken = []
    with server.connect() as sock:
        sock.sendall(b"GET /v1/acme/events HTTP/1.1\r\nHost: x\r\n\r\n")
        found = b""
        while b'"version":2}' not in found:
            found += sock.recv(65536)
        new = NewOverride(installation=B, domains=[HOST], mode="report")
        server.services.overrides.create("acme", new, INTENT, tested=False)
        until(lambda: server.send("GET", path(B)).status_code == 200)
        server.services.publisher.republish("acme", "main", INTENT)
        while b'"version":5}' not in found:
            found += sock.recv(65536)
        woken = found.count(b"event: config")
    assert woken == 2
    assert before.headers["etag"] == '"1.2"'
    assert server.send("GET", "/v1/acme/config/main").headers["etag"] == '"1.5"'


def test_it_goes_by_itself_when_its_time_is_over(start_server, until) -> None:
    server = start_server()
    services = server.services
    services.domains.add("acme", NewDomain(pattern=HOST, pins=[PIN], token=True), INTENT)
    key = PrivateKey.generate()
    new = NewOverride(installation=key.public.kid, domains=[HOST], mode="off", lives=60)
    services.overrides.create("acme", new, INTENT, tested=False)
    until(lambda: ask(server, key, ask(server, key)["challenge"])["override"])
    until(lambda: server.send("GET", path(key.public.kid)).status_code == 200)
    assert 'livepin_overrides{account="acme"} 1.0' in server.metrics.text().decode()
    challenge = ask(server, key)["challenge"]
    services.clock.advance(minutes=1)
    assert server.send("GET", path(key.public.kid)).status_code == 404
    assert ask(server, key, challenge)["override"] is None
    assert 'livepin_overrides{account="acme"} 0.0' in server.metrics.text().decode()
