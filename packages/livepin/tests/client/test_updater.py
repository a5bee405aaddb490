"""Updating over real sockets: the pinned channel, the recovery channel, and what each may do."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
from pathlib import Path

import livepin
import pytest
from livepin.client import MemoryStore
from livepin.errors import FetchError, UnlistedHostError, VerificationError
from livepin.jose import PrivateKey
from livepin.testing import Chain, RecordingServer, make_authority, make_chain
from livepin.trust import TrustedState

BASE = "/v1/acme"
CONFIG = f"{BASE}/config/main"


class Recording(MemoryStore):
    """A store that remembers each value it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.saved: list[bytes] = []

    def save(self, data: bytes) -> None:
        self.saved.append(data)
        super().save(data)


class Waiting:
    """An answer that is held back until it is released."""

    def __init__(self, respond) -> None:
        self.asked, self.released = threading.Event(), threading.Event()
        self._respond = respond

    def __call__(self, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        self.asked.set()
        assert self.released.wait(20)
        return self._respond(path, headers)


def eventually(condition, timeout: float = 10.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


# -- what is fetched ---------------------------------------------------------------------------


def test_a_newer_config_is_fetched_and_an_equal_one_is_not(delivery) -> None:
    with delivery.client() as pins:
        held = delivery.simulator.version
        delivery.publish()
        pins.refresh()
        assert pins.status().version == held + 1
        pins.refresh()
    assert delivery.paths == [CONFIG, CONFIG]
    assert [headers["if-none-match"] for _, headers in delivery.asked] == [
        f'"1.{held}"',
        f'"1.{held + 1}"',
    ]
    assert pins.status().last_error is None


def test_an_answer_not_modified_changes_nothing(delivery) -> None:
    updater = delivery.updater()
    state = updater._trusted()
    outcome = updater.update()
    assert (outcome.url, outcome.error) == (delivery.simulator.urls[0], None)
    assert updater._trusted() is state
    assert updater.last_success is not None


def test_a_fresh_update_passes_all_caches(delivery) -> None:
    updater = delivery.updater()
    updater.update(fresh=True)
    updater.update()
    (_, fresh), (_, usual) = delivery.asked
    assert (fresh["cache-control"], fresh["pragma"]) == ("no-cache", "no-cache")
    assert "cache-control" not in usual


def test_a_gzipped_config_is_taken(delivery) -> None:
    updater = delivery.updater()
    packed = gzip.compress(delivery.publish())
    delivery.answer = lambda _path, _headers: (200, {"Content-Encoding": "gzip"}, packed)
    assert updater.update().error is None
    assert updater._trusted().config.version == delivery.simulator.version


def test_root_and_config_come_in_one_update(delivery) -> None:
    updater = delivery.updater()
    delivery.simulator.keys["config"] = PrivateKey.generate()
    delivery.simulator.publish_root()
    delivery.publish()
    assert updater.update().error is None
    assert delivery.paths == [CONFIG, f"{BASE}/root/2"]
    assert updater._trusted().order == (2, delivery.simulator.version)


def test_each_step_of_the_walk_over_roots_is_stored(delivery) -> None:
    store, bootstrap = Recording(), delivery.simulator.bootstrap()
    updater = delivery.updater(store=store)
    for _ in range(3):
        delivery.simulator.publish_root()
    delivery.publish()
    assert updater.update().error is None
    stored = [
        TrustedState.load(data, bootstrap, now=delivery.simulator.clock()) for data in store.saved
    ]
    assert [(each.root.version, each.order[0]) for each in stored] == [
        (2, 1),
        (3, 1),
        (4, 1),
        (4, 4),
    ]


def test_a_walk_that_breaks_off_keeps_the_steps_taken(delivery) -> None:
    store = MemoryStore()
    bootstrap = delivery.simulator.bootstrap()
    updater = delivery.updater(store=store)
    for _ in range(3):
        delivery.simulator.publish_root()
    delivery.publish()
    last = delivery.simulator.roots.pop(4)
    outcome = updater.update()
    assert isinstance(outcome.error, FetchError)
    assert "404" in str(outcome.error)
    state = TrustedState.load(store.data or b"", bootstrap, now=delivery.simulator.clock())
    assert (state.root.version, state.order[0]) == (3, 1)
    delivery.simulator.roots[4] = last
    delivery.asked.clear()
    assert updater.update().error is None
    assert delivery.paths == [CONFIG, f"{BASE}/root/4"]


def test_a_root_that_is_answered_as_not_modified_is_not_there(delivery) -> None:
    updater = delivery.updater()
    delivery.simulator.publish_root()
    delivery.publish()
    real = delivery.simulator.respond
    delivery.answer = lambda path, headers: (
        (304, {}, b"") if "/root/" in path else real(path, headers)
    )
    assert "root 2 is not there" in str(updater.update().error)


def test_thirty_two_steps_are_taken_and_the_rest_in_the_next_update(delivery) -> None:
    updater = delivery.updater()
    for _ in range(40):
        delivery.simulator.publish_root()
    delivery.publish()
    outcome = updater.update(timeout=60)
    assert isinstance(outcome.error, VerificationError)
    assert outcome.error.rule == 6
    assert updater._trusted().root.version == 33
    assert len(delivery.paths) == 33
    assert updater.update(timeout=60).error is None
    assert updater._trusted().order == (41, delivery.simulator.version)


# -- one at a time -----------------------------------------------------------------------------


def test_concurrent_updates_are_one(delivery) -> None:
    updater = delivery.updater()
    delivery.answer = waiting = Waiting(delivery.simulator.respond)
    delivery.publish()
    outcomes = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(updater.update())) for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    eventually(lambda: waiting.asked.is_set())
    eventually(lambda: len(updater._flight.done._cond._waiters) == 11)
    waiting.released.set()
    for thread in threads:
        thread.join()
    assert delivery.paths == [CONFIG]
    assert len(outcomes) == 12
    assert len(set(map(id, outcomes))) == 1
    assert updater.update().error is None  # and the next one fetches again
    assert delivery.paths == [CONFIG, CONFIG]


def test_who_waits_for_an_update_waits_no_longer_than_asked(delivery) -> None:
    updater = delivery.updater()
    delivery.answer = waiting = Waiting(delivery.simulator.respond)
    leader = threading.Thread(target=updater.update)
    leader.start()
    eventually(lambda: waiting.asked.is_set())
    assert "no answer in time" in str(updater.update(timeout=0.05).error)
    waiting.released.set()
    leader.join()
    assert updater.last.error is None


# -- the channels ------------------------------------------------------------------------------


def test_the_recovery_channel_is_left_alone_while_the_pinned_one_answers(
    delivery, plain_server
) -> None:
    recovery = plain_server(delivery.simulator.respond)
    delivery.publish(recovery_urls=(recovery.url,))
    updater = delivery.updater()
    delivery.publish()
    assert updater.update().error is None
    assert recovery.requests == []


def test_recovery_is_tried_at_once_when_the_pinned_channel_fails(
    delivery, plain_server, closed_port
) -> None:
    recovery = plain_server(delivery.simulator.respond)
    delivery.publish(urls=(f"https://localhost:{closed_port}",), recovery_urls=(recovery.url,))
    updater = delivery.updater()
    delivery.simulator.publish_root()
    delivery.publish()
    began = time.monotonic()
    outcome = updater.update()
    assert time.monotonic() - began < 0.9
    assert (outcome.url, outcome.error) == (recovery.url, None)
    assert updater._trusted().order == (2, delivery.simulator.version)
    # Only config, root and override may travel there, and nothing of the app with them.
    assert recovery.paths == [CONFIG, f"{BASE}/root/2"]
    for method, _, headers in recovery.requests:
        assert method == "GET"
        assert set(headers) <= {"host", "accept-encoding", "connection", "if-none-match"}


def test_recovery_is_tried_after_a_second_without_an_answer(delivery, plain_server) -> None:
    recovery = plain_server(delivery.simulator.respond)
    delivery.publish(recovery_urls=(recovery.url,))
    updater = delivery.updater()
    delivery.answer = waiting = Waiting(delivery.simulator.respond)
    delivery.publish()
    began = time.monotonic()
    outcome = updater.update()
    waiting.released.set()
    assert 1.0 <= time.monotonic() - began < 5
    assert (outcome.url, outcome.error) == (recovery.url, None)
    assert updater._trusted().config.version == delivery.simulator.version


def test_the_pinned_channels_late_answer_counts_although_recovery_was_quicker(
    delivery, plain_server
) -> None:
    """A man in the middle on the recovery channel can replay the old config; not for ever."""
    old = delivery.simulator.config
    recovery = plain_server(lambda _path, _headers: (200, {}, old))
    old = delivery.publish(recovery_urls=(recovery.url,))
    updater = delivery.updater()
    delivery.answer = waiting = Waiting(delivery.simulator.respond)
    delivery.publish()
    assert updater.update().url == recovery.url
    assert updater._trusted().config.version == delivery.simulator.version - 1
    waiting.released.set()
    eventually(lambda: updater._trusted().config.version == delivery.simulator.version)


def test_the_late_answer_of_the_pinned_channel_is_taken_after_recovery_failed(
    delivery, plain_server
) -> None:
    recovery = plain_server(lambda _path, _headers: (404, {}, b""))
    delivery.publish(recovery_urls=(recovery.url,))
    updater = delivery.updater()
    delivery.answer = waiting = Waiting(delivery.simulator.respond)
    delivery.publish()
    release = threading.Thread(
        target=lambda: (eventually(lambda: recovery.requests), waiting.released.set())
    )
    release.start()
    outcome = updater.update()
    release.join()
    assert (outcome.url, outcome.error) == (delivery.simulator.urls[0], None)


@pytest.fixture
def system_trusts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Make an authority the only one that the system trusts."""

    def trust(chain: Chain) -> None:
        path = tmp_path / "system.pem"
        path.write_text(chain.authority.pem)
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))

    return trust


def test_recovery_over_https_is_an_ordinary_unpinned_channel(
    delivery, closed_port, system_trusts
) -> None:
    chain = make_chain("localhost")
    with RecordingServer(chain, respond=delivery.simulator.respond) as mirror:
        url = f"https://localhost:{mirror.port}"
        delivery.publish(urls=(f"https://localhost:{closed_port}",), recovery_urls=(url,))
        updater = delivery.updater()
        delivery.publish()
        system_trusts(make_chain("elsewhere.example"))
        assert isinstance(updater.update().error, FetchError)
        assert bytes(mirror.received) == b""
        system_trusts(chain)
        assert updater.update().url == url
    assert updater._trusted().config.version == delivery.simulator.version


def test_the_next_url_is_tried_when_one_fails(delivery, closed_port) -> None:
    good = delivery.simulator.urls[0]
    delivery.publish(urls=(f"https://localhost:{closed_port}", good))
    updater = delivery.updater()
    delivery.publish()
    assert updater.update().url == good


def test_a_url_that_never_answers_leaves_time_for_the_next(delivery, odd_server) -> None:
    server = odd_server(lambda sock: sock.recv(1 << 20) and sock.recv(1))
    good = delivery.simulator.urls[0]
    delivery.publish(urls=(f"https://localhost:{server.port}", good))
    updater = delivery.updater()
    delivery.publish()
    assert updater.update(timeout=2).url == good
    assert server.connections == 1


@pytest.mark.parametrize("url", ["https://localhost:{port}/base", "https://localhost:{port}/base/"])
def test_a_url_may_have_a_path(delivery, url: str) -> None:
    real = delivery.simulator.respond
    delivery.answer = lambda path, headers: real(path.removeprefix("/base"), headers)
    delivery.publish(urls=(url.format(port=delivery.server.port),))
    updater = delivery.updater()
    assert updater.update().error is None
    assert delivery.paths == [f"/base{CONFIG}"]


def test_delivery_over_an_ipv6_address(delivery, delivery_chain) -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError as exc:
        pytest.skip(f"this system has no IPv6 loopback: {exc}")
    delivery.publish(urls=(f"https://[::1]:{listener.getsockname()[1]}",))
    updater = delivery.updater()

    def serve() -> None:
        with listener.accept()[0] as sock:
            with delivery.server.context.wrap_socket(sock, server_side=True) as tls:
                tls.recv(65536)
                tls.sendall(b"HTTP/1.1 304 X\r\n\r\n")

    thread = threading.Thread(target=serve)
    with listener:
        thread.start()
        assert updater.update().error is None
        thread.join()


# -- what guards the pinned channel ------------------------------------------------------------


def man_in_the_middle(delivery, chain: Chain) -> RecordingServer:
    """Answer in the place of the delivery service, with another chain."""
    server = RecordingServer(chain, respond=delivery.simulator.respond)
    delivery.publish(urls=(f"https://localhost:{server.port}",))
    return server


def test_a_man_in_the_middle_with_a_certificate_of_the_same_ca_gets_no_byte(
    delivery, delivery_chain
) -> None:
    attacker = make_chain("localhost", authority=delivery_chain.authority)
    with man_in_the_middle(delivery, attacker) as server, delivery.client() as pins:
        with pytest.raises(livepin.PinMismatchError) as caught:
            pins.refresh()
        assert caught.value.chain[0] == str(attacker.pin)
        assert caught.value.expected == (str(delivery_chain.pin),)
        server.wait_closed()
        assert server.connections == 1
        assert bytes(server.received) == b""


def test_a_man_in_the_middle_whom_the_system_trusts_gets_no_byte(delivery, system_trusts) -> None:
    attacker = make_chain("localhost")
    system_trusts(attacker)
    delivery.publish(ca=None)
    with man_in_the_middle(delivery, attacker) as server, delivery.client() as pins:
        with pytest.raises(livepin.PinMismatchError):
            pins.refresh()
        server.wait_closed()
        assert bytes(server.received) == b""


def test_the_pinned_key_under_another_ca_gets_no_byte(delivery, delivery_chain) -> None:
    other = make_chain("localhost", authority=make_authority(), key=delivery_chain.key)
    assert other.pin == delivery_chain.pin
    with man_in_the_middle(delivery, other) as server, delivery.client() as pins:
        with pytest.raises(FetchError, match="certificate verify failed"):
            pins.refresh()
        server.wait_closed()
        assert bytes(server.received) == b""


def test_a_delivery_service_of_a_public_ca_needs_no_ca(delivery, system_trusts) -> None:
    system_trusts(delivery.chain)
    delivery.publish(ca=None)
    assert delivery.updater().update().error is None


def test_the_ca_of_delivery_is_no_anchor_for_the_app(delivery, system_trusts) -> None:
    system_trusts(make_chain("elsewhere.example"))
    with RecordingServer(delivery.chain) as server, delivery.client() as pins:
        pins.refresh()  # Livepin's own channel does trust it
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
            with pytest.raises(ssl.SSLCertVerificationError, match="verify failed"):
                pins.context().wrap_socket(sock, server_hostname="localhost")
        assert bytes(server.received) == b""


def test_the_channel_of_delivery_reaches_delivery_hosts_only(delivery) -> None:
    context = delivery.updater().delivery_context()
    with socket.create_connection(("127.0.0.1", delivery.server.port), timeout=10) as sock:
        with pytest.raises(UnlistedHostError, match="not a delivery host"):
            context.wrap_socket(sock, server_hostname="127.0.0.1")


def test_the_channel_follows_the_pins_of_the_active_config(delivery, delivery_chain) -> None:
    updater = delivery.updater()
    before = updater.delivery_context()
    assert updater.delivery_context() is before
    delivery.publish(delivery_pins=(make_chain("localhost").pin,))
    assert updater.update().error is None
    assert updater.delivery_context() is not before
    assert isinstance(updater.update().error, livepin.PinMismatchError)


# -- what goes wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((301, {"Location": "https://elsewhere.example/"}, b""), "found 301"),
        ((404, {}, b"{}"), "expected status 200, found 404"),
        ((500, {}, b"<html>"), "found 500"),
        ((200, {}, b"x" * (8 * 1024 * 1024 + 1)), "at most 8388608 bytes"),
        ((200, {"Content-Encoding": "gzip"}, gzip.compress(bytes(50 << 20))), "at most 8388608"),
        ((200, {}, b"garbage"), "rule 2"),
        ((200, {}, b""), "rule 2"),
    ],
    ids=["redirect", "404", "500", "oversized", "bomb", "garbage", "empty"],
)
def test_a_bad_answer_changes_nothing_and_is_reported(
    delivery, answer: tuple[int, dict[str, str], bytes], message: str
) -> None:
    with delivery.client() as pins:
        held = pins.status().version
        delivery.publish()
        delivery.answer = lambda _path, _headers: answer
        with pytest.raises(livepin.LivepinError, match=message):
            pins.refresh()
        status = pins.status()
        assert status.version == held
        assert message in (status.last_error or "")
        assert status.last_error_rule == (2 if "rule" in message else None)
        assert status.last_refresh is None
        delivery.answer = delivery.simulator.respond
        pins.refresh()
        assert pins.status().version == held + 1
        assert pins.status().last_error is None


def refused(delivery, how: str) -> bytes:
    simulator = delivery.simulator
    newer = simulator.version + 1
    if how == "rollback":
        return simulator.sign(simulator.document(version=1))
    if how == "same version, other content":
        return simulator.sign(simulator.document(expires=simulator.clock()))
    if how == "another stream":
        return simulator.sign(simulator.document(stream="canary", version=newer))
    if how == "another account":
        return simulator.sign(simulator.document(account="other", version=newer))
    raw = bytearray(simulator.sign(simulator.document(version=newer)))
    raw[-10] = ord("A") if raw[-10] != ord("A") else ord("B")
    return bytes(raw)


@pytest.mark.parametrize(
    ("how", "rule"),
    [
        ("bad signature", 3),
        ("another stream", 5),
        ("another account", 5),
        ("rollback", 7),
        ("same version, other content", 7),
    ],
)
def test_a_refused_config_is_reported_with_its_rule(delivery, how: str, rule: int) -> None:
    with delivery.client() as pins:
        held = pins.status()
        raw = refused(delivery, how)
        delivery.answer = lambda _path, _headers: (200, {}, raw)
        with pytest.raises(VerificationError):
            pins.refresh()
        assert (pins.status().last_error_rule, pins.status().version) == (rule, held.version)


def test_a_forged_config_on_the_recovery_channel_is_reported_with_its_rule(
    delivery, plain_server, closed_port
) -> None:
    forger = PrivateKey.generate()
    forged = delivery.simulator.sign(delivery.simulator.document(version=99), key=forger)
    recovery = plain_server(lambda _path, _headers: (200, {}, forged))
    delivery.publish(urls=(f"https://localhost:{closed_port}",), recovery_urls=(recovery.url,))
    with delivery.client() as pins:
        with pytest.raises(livepin.VerificationError) as caught:
            pins.refresh()
        status = pins.status()
    assert caught.value.rule == 2
    assert (status.last_error_rule, status.version) == (2, delivery.simulator.version)


def test_a_forged_config_is_reported_although_the_next_url_is_unreachable(
    delivery, plain_server, closed_port
) -> None:
    forged = refused(delivery, "bad signature")
    recovery = plain_server(lambda _path, _headers: (200, {}, forged))
    nothing = f"http://localhost:{closed_port}"
    delivery.publish(
        urls=(f"https://localhost:{closed_port}",), recovery_urls=(nothing, recovery.url, nothing)
    )
    outcome = delivery.updater().update()
    assert isinstance(outcome.error, VerificationError)
    assert (outcome.error.rule, outcome.url) == (3, recovery.url)


def test_a_refused_connection_is_reported_although_recovery_failed_too(
    delivery, plain_server
) -> None:
    recovery = plain_server(lambda _path, _headers: (404, {}, b""))
    delivery.publish(delivery_pins=(make_chain("localhost").pin,), recovery_urls=(recovery.url,))
    outcome = delivery.updater().update()
    assert recovery.paths == [CONFIG]
    assert isinstance(outcome.error, livepin.PinMismatchError)


def test_the_first_of_two_like_failures_is_reported(delivery, plain_server) -> None:
    recovery = plain_server(lambda _path, _headers: (404, {}, b""))
    delivery.publish(recovery_urls=(recovery.url,))
    delivery.answer = lambda _path, _headers: (500, {}, b"")
    outcome = delivery.updater().update()
    assert outcome.url == delivery.simulator.urls[0]
    assert "500" in str(outcome.error)


def test_one_deadline_holds_for_roots_and_both_channels(delivery, plain_server) -> None:
    """Each answer is quick enough for itself; all of them together are not."""
    real = delivery.simulator.respond

    def slow(path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        time.sleep(0.15)  # the pace of the attack
        return real(path, headers)

    recovery = plain_server(slow)
    delivery.publish(recovery_urls=(recovery.url,))
    updater = delivery.updater()
    for _ in range(30):
        delivery.simulator.publish_root()
    delivery.publish()
    delivery.answer = slow
    began = time.monotonic()
    outcome = updater.update(timeout=1.3)
    assert time.monotonic() - began < 3
    assert "in time" in str(outcome.error)
    eventually(lambda: not [each for each in threading.enumerate() if each.name == "livepin-fetch"])
    assert 1 < updater._trusted().root.version < 31


def test_no_answer_from_anybody_ends_with_the_deadline(delivery, odd_server) -> None:
    silent = odd_server(lambda sock: sock.recv(1 << 20) and sock.recv(1))
    delivery.publish(urls=(f"https://localhost:{silent.port}",), recovery_urls=(silent.url,))
    began = time.monotonic()
    outcome = delivery.updater().update(timeout=1.3)
    assert "in time" in str(outcome.error)
    assert time.monotonic() - began < 3


class Broken:
    """A fetcher of the app's own with a bug in it."""

    def fetch(self, request: object) -> None:
        raise RuntimeError("a bug")


def test_a_bug_in_a_fetcher_is_a_failed_update(delivery) -> None:
    with delivery.client(fetcher=Broken()) as pins, pytest.raises(FetchError, match="a bug"):
        pins.refresh()


def test_no_thread_left_is_a_failed_update(delivery, monkeypatch: pytest.MonkeyPatch) -> None:
    updater = delivery.updater()

    def exhausted(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", exhausted)
        assert "can't start new thread" in str(updater.update().error)
    assert updater.update().error is None


def test_a_ca_with_a_comment_in_any_language_is_a_ca(delivery) -> None:
    """The rules accept it, so the channel must work by it: nothing else could replace it."""
    delivery.publish(ca=f"# Émetteur: société générale\n{delivery.simulator.ca}")
    updater = delivery.updater()
    delivery.publish()
    assert updater.update().error is None
    assert updater._trusted().config.version == delivery.simulator.version
