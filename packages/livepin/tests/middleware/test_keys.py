"""When a JWKS is fetched, who waits for it, and what is kept when it is away."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import pytest
from livepin.errors import ConfigurationError
from livepin.middleware import keys
from livepin.middleware.keys import INTERVAL, KEPT, RETRY, RemoteKeys
from livepin.testing import Chain, RecordingServer, TokenIssuer
from livepin.tokens import TokenError, TokenKey

Serve = Callable[..., RecordingServer]


class Service:
    """A JWKS server that can be held up, or answer something else."""

    def __init__(self, issuer: TokenIssuer) -> None:
        self.issuer = issuer
        self.status, self.body = 200, None
        self.arrived = threading.Semaphore(0)
        self.goes = threading.Event()
        self.goes.set()

    def respond(self, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        goes = self.goes
        _, fields, body = self.issuer.respond(path, headers)
        self.arrived.release()
        assert goes.wait(30)
        return self.status, fields, body if self.body is None else self.body


@pytest.fixture
def service(issuer: TokenIssuer) -> Service:
    return Service(issuer)


@pytest.fixture
def remote(service: Service, jwks_server: Serve, delivery_chain: Chain, ticks: Any) -> RemoteKeys:
    url = f"https://localhost:{jwks_server(service.respond).port}/v1/acme/jwks.json"
    return RemoteKeys(url, ca=delivery_chain.authority.pem, clock=ticks)


def named(found: RemoteKeys, kid: str) -> tuple[TokenKey, ...]:
    """Return the keys of a name, as a request that may wait."""
    fetching = found.fetching(kid)
    if fetching is not None:
        fetching.result(timeout=30)
    return found.named(kid)


def has_none(found: RemoteKeys, kid: str = "any") -> None:
    with pytest.raises(TokenError) as caught:
        named(found, kid)
    assert caught.value.reason == "no-keys"


def settled(found: RemoteKeys) -> None:
    """Wait for the fetch that runs beside requests."""
    if found._under_way is not None:
        found._under_way.done.result(timeout=30)


def test_nothing_is_fetched_before_it_is_needed(remote: RemoteKeys, issuer: TokenIssuer) -> None:
    assert issuer.fetched == 0
    (key,) = named(remote, issuer.key.kid)
    assert key == issuer.key.public()
    assert remote.fetching(issuer.key.kid) is None
    assert issuer.fetched == 1


def test_it_is_fetched_again_when_its_age_has_ended(
    remote: RemoteKeys, issuer: TokenIssuer, ticks: Any
) -> None:
    (first,) = named(remote, issuer.key.kid)
    ticks.advance(299)
    assert remote.fetching(first.kid) is None
    gone = issuer.keys.pop(first.kid, None)
    issuer.new_key()
    ticks.advance(1)
    assert gone is not None
    assert named(remote, first.kid) == (), "the request waited, and has the keys of now"
    assert named(remote, issuer.key.kid) == (issuer.key.public(),)
    assert issuer.fetched == 2


def test_a_key_that_stays_is_the_same_object(
    remote: RemoteKeys, issuer: TokenIssuer, ticks: Any
) -> None:
    (first,) = named(remote, issuer.key.kid)
    issuer.new_key()
    ticks.advance(300)
    (second,) = named(remote, first.kid)
    assert second is first


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("max-age=120", 120),
        ("private, Max-Age=90, must-revalidate", 90),
        ("max-age=1", 60),
        ("no-store", 60),
        ("no-cache, max-age=300", 60),
        ("max-age=999999999", 3600),
        ("s-maxage=100", 300),
        ("max-age=ten", 300),
        ("", 300),
    ],
)
def test_its_age_is_what_it_says_within_bounds(
    remote: RemoteKeys, issuer: TokenIssuer, ticks: Any, said: str, seconds: int
) -> None:
    issuer.cache_control = said
    named(remote, issuer.key.kid)
    ticks.advance(seconds - 1)
    assert remote.fetching(issuer.key.kid) is None
    ticks.advance(1)
    named(remote, issuer.key.kid)
    assert issuer.fetched == 2


def test_a_kid_that_is_not_there_has_it_fetched_once_a_minute(
    remote: RemoteKeys, issuer: TokenIssuer, ticks: Any
) -> None:
    named(remote, issuer.key.kid)
    made = issuer.new_key()
    ticks.advance(INTERVAL - 1)
    assert named(remote, made.kid) == ()
    ticks.advance(1)
    assert named(remote, made.kid) == (made.public(),)
    for number in range(100):
        assert named(remote, f"unknown {number}") == ()
    assert issuer.fetched == 2


def test_many_at_once_wait_for_one_fetch(
    remote: RemoteKeys, service: Service, issuer: TokenIssuer
) -> None:
    service.goes.clear()
    with ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(named, remote, issuer.key.kid) for _ in range(20)]
        assert not wait(waiting, timeout=0.05).done
        service.goes.set()
        assert [each.result(30) for each in waiting] == 20 * [(issuer.key.public(),)]
    assert issuer.fetched == 1


def test_whose_key_is_known_does_not_wait_for_the_sake_of_an_unknown_one(
    remote: RemoteKeys, service: Service, issuer: TokenIssuer, ticks: Any
) -> None:
    named(remote, issuer.key.kid)
    ticks.advance(INTERVAL)
    service.goes.clear()
    fetching = remote.fetching("unknown")
    assert fetching is not None
    assert remote.fetching(issuer.key.kid) is None
    assert remote.fetching("another") is fetching
    service.goes.set()
    settled(remote)


def test_who_gives_up_cancels_nothing(
    remote: RemoteKeys, service: Service, issuer: TokenIssuer
) -> None:
    service.goes.clear()
    fetching = remote.fetching("any")
    assert fetching is not None
    assert not fetching.cancel()
    service.goes.set()
    fetching.result(timeout=30)
    assert named(remote, issuer.key.kid) == (issuer.key.public(),)


def test_without_any_keys_it_is_tried_every_few_seconds(
    remote: RemoteKeys, service: Service, issuer: TokenIssuer, ticks: Any
) -> None:
    service.status = 503
    for _ in range(3):
        has_none(remote)
    assert issuer.fetched == 1
    ticks.advance(RETRY)
    has_none(remote)
    service.status = 200
    has_none(remote)
    ticks.advance(RETRY)
    assert named(remote, issuer.key.kid) == (issuer.key.public(),)
    assert issuer.fetched == 3


def test_keys_outlive_a_jwks_that_is_away_for_an_hour(
    remote: RemoteKeys,
    service: Service,
    issuer: TokenIssuer,
    ticks: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    kid = issuer.key.kid
    named(remote, kid)
    service.status = 500
    ticks.advance(300)
    assert named(remote, kid), "the first waited"
    for _ in range(3):
        ticks.advance(RETRY)
        assert remote.fetching(kid) is None, "the others do not"
        settled(remote)
    assert "expected status 200, found 500" in caplog.text
    assert issuer.fetched == 5
    ticks.advance(KEPT - 300 - 3 * RETRY)
    assert named(remote, kid)
    settled(remote)
    ticks.advance(1)
    has_none(remote, kid)
    service.status = 200
    ticks.advance(RETRY)
    assert named(remote, kid)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"keys":{}}', b"\xff", b"[" * 100_000])
def test_what_is_no_jwks_changes_nothing(
    remote: RemoteKeys, service: Service, issuer: TokenIssuer, ticks: Any, body: bytes
) -> None:
    service.body = body
    has_none(remote)
    service.body = None
    ticks.advance(RETRY)
    named(remote, issuer.key.kid)
    service.body = body
    ticks.advance(300)
    assert named(remote, issuer.key.kid)


def test_a_jwks_without_keys_takes_those_of_before_away(
    remote: RemoteKeys,
    service: Service,
    issuer: TokenIssuer,
    ticks: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """That is no failure: the operator has taken them all."""
    named(remote, issuer.key.kid)
    service.body = b'{"keys":[]}'
    ticks.advance(300)
    has_none(remote, issuer.key.kid)
    assert "has no key that can be used" in caplog.text


def test_a_fetch_that_was_given_up_brings_no_old_keys_back(
    remote: RemoteKeys, service: Service, issuer: TokenIssuer, ticks: Any
) -> None:
    old = issuer.key.kid
    named(remote, old)
    ticks.advance(300)
    held = service.goes = threading.Event()
    first = remote.fetching(old)
    assert first is not None
    service.arrived.acquire(timeout=30)
    service.arrived.acquire(timeout=30)
    service.goes = threading.Event()
    service.goes.set()
    del issuer.keys[old]
    issuer.new_key()
    ticks.advance(INTERVAL)
    assert remote.fetching(issuer.key.kid) is None
    settled(remote)
    assert remote.named(issuer.key.kid)
    held.set()
    first.result(timeout=30)
    assert remote.named(old) == ()


def test_where_no_thread_starts_nobody_waits(
    remote: RemoteKeys, issuer: TokenIssuer, ticks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        def __init__(self, **_: Any) -> None:
            """Nothing to keep."""

        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(keys.threading, "Thread", Full)
        assert remote.fetching("any") is None
        has_none(remote)
    ticks.advance(RETRY)
    assert named(remote, issuer.key.kid)


@pytest.mark.parametrize(
    "url",
    [
        "http://pins.example.com/jwks.json",
        "https://",
        "https://user:s3cret@pins.example.com/",
        "https://pins.example.com/?account=acme",
        "https://pins.example.com/#keys",
        "https://[pins/",
        "https://pins.example.com:0/",
        "https://pins.example.com:99999/",
        "https://b\xfccher.example/",
        "file:///etc/passwd",
        "",
    ],
)
def test_only_https_urls_are_taken(url: str) -> None:
    with pytest.raises(ConfigurationError, match="expected the https URL") as caught:
        RemoteKeys(url)
    assert "s3cret" not in str(caught.value)
