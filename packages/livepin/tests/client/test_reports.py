"""Reports of mismatches: what they say, how often, and over which connection."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import socket
import threading
import time

import livepin
import pytest
from livepin.client import Answer, Request
from livepin.client import reports as reports_module
from livepin.client.reports import Reports
from livepin.documents import Mode
from livepin.testing import Chain, RecordingServer, make_chain

HOST = "localhost"
NOW = dt.datetime(2026, 11, 23, 12, 0, 0, 999_999, tzinfo=dt.timezone.utc)


def mismatch(host: str = "api.example.com", *chain: str) -> livepin.PinMismatchError:
    return livepin.PinMismatchError(
        "no pinned key",
        host=host,
        chain=chain or ("sha256/leaf", "sha256/root"),
        expected=("sha256/pin",),
        config_version=7,
        config_age=1.5,
    )


def eventually(condition, timeout: float = 10.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


# -- collected ---------------------------------------------------------------------------------


def test_a_report_says_host_chain_version_and_second() -> None:
    reports = Reports()
    assert reports.add(mismatch(), now=NOW)
    assert reports.take() == [
        {
            "host": "api.example.com",
            "chain": ["sha256/leaf", "sha256/root"],
            "config_version": 7,
            "at": 1795435200,
        }
    ]
    assert reports.take() == []


def test_the_same_host_and_leaf_is_reported_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = [1000.0]
    monkeypatch.setattr(reports_module.time, "monotonic", lambda: moment[0])
    reports = Reports()
    assert reports.add(mismatch(), now=NOW)
    for moment[0] in (1000.0, 1030.0, 1059.9):
        assert not reports.add(mismatch(), now=NOW)
        assert not reports.add(mismatch("api.example.com", "sha256/leaf", "other"), now=NOW)
    assert reports.add(mismatch("www.example.com"), now=NOW)
    assert reports.add(mismatch("api.example.com", "sha256/another"), now=NOW)
    moment[0] = 1060.0
    assert reports.add(mismatch(), now=NOW)
    assert len(reports.take()) == 4


def test_a_flood_of_hosts_and_long_chains_is_bounded() -> None:
    reports = Reports()
    for number in range(1000):
        assert reports.add(mismatch(f"h{number}.example", *["sha256/x"] * 100), now=NOW)
    taken = reports.take()
    assert [each["host"] for each in taken] == [f"h{number}.example" for number in range(968, 1000)]
    assert {len(each["chain"]) for each in taken} == {16}
    assert len(reports._last) == 256


def test_of_many_threads_one_reports() -> None:
    reports, news = Reports(), []
    threads = [
        threading.Thread(target=lambda: news.append(reports.add(mismatch(), now=NOW)))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(news) == 1
    assert len(reports.take()) == 1


# -- sent --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def app_chain() -> Chain:
    return make_chain(HOST)


@pytest.fixture
def app(app_chain: Chain):
    with RecordingServer(app_chain) as server:
        yield server


@pytest.fixture
def reporting(delivery, app_chain):
    """Return a client that reports, and expects another key than the app's service has."""
    with contextlib.ExitStack() as stack:

        def make(reports: bool = True, **settings: object) -> livepin.Client:
            delivery.simulator.pin(HOST, make_chain(HOST).pin, **settings)
            pins = delivery.client(ca=app_chain.authority.pem, reports=reports)
            pins.context()._healer = None
            return stack.enter_context(pins)

        yield make


def connect(pins: livepin.Client, server: RecordingServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        with pins.context().wrap_socket(sock, server_hostname=HOST) as tls:
            tls.sendall(b"GET /private?user=7 HTTP/1.1\r\nAuthorization: Bearer s3cret\r\n\r\n")
            tls.recv(100)


def posted(delivery) -> list[tuple[list[str], dict]]:
    """Return the head and the body of each report that the delivery service received."""
    found = []
    for request in bytes(delivery.server.received).split(b"POST /v1/acme/reports HTTP/1.1\r\n")[1:]:
        head, _, body = request.partition(b"\r\n\r\n")
        with contextlib.suppress(ValueError):  # not all of it is there yet
            found.append(
                (head.decode().split("\r\n"), json.JSONDecoder().raw_decode(body.decode())[0])
            )
    return found


def test_a_mismatch_is_reported_to_delivery_and_nothing_to_whom_it_is_about(
    delivery, reporting, app, app_chain
) -> None:
    pins = reporting()
    with pytest.raises(livepin.PinMismatchError):
        connect(pins, app)
    eventually(lambda: posted(delivery))
    [(head, body)] = posted(delivery)
    assert body == {
        "host": HOST,
        "chain": [str(app_chain.pin), str(app_chain.authority.pin)],
        "root_version": delivery.simulator.root_version,
        "config_version": delivery.simulator.version,
        "at": int(delivery.simulator.clock().timestamp()),
        "stream": "main",
    }
    names = {line.partition(":")[0].lower() for line in head}
    assert names == {"host", "accept-encoding", "content-length", "content-type", "connection"}
    app.wait_closed()
    assert bytes(app.received) == b""


def test_mismatches_in_a_row_are_one_report(delivery, reporting, app, app_chain) -> None:
    pins = reporting()
    for _ in range(5):
        with pytest.raises(livepin.PinMismatchError):
            connect(pins, app)
    eventually(lambda: posted(delivery))
    app.present(make_chain(HOST, authority=app_chain.authority))
    with pytest.raises(livepin.PinMismatchError):
        connect(pins, app)
    eventually(lambda: len(posted(delivery)) == 2)
    pins.close()
    assert len(posted(delivery)) == 2


def test_a_domain_that_only_reports_is_connected_to_and_reported(delivery, reporting, app) -> None:
    pins = reporting(mode=Mode.REPORT)
    connect(pins, app)
    eventually(lambda: posted(delivery))
    assert app.requests == 1


def test_a_client_may_be_told_not_to_report(delivery, reporting, app) -> None:
    pins = reporting(reports=False)
    with pytest.raises(livepin.PinMismatchError):
        connect(pins, app)
    eventually(lambda: pins.status().last_refresh is not None)
    pins.close()
    assert posted(delivery) == []


@pytest.mark.parametrize("status", [202, 404, 429, 500])
def test_what_the_service_answers_to_a_report_does_not_matter(
    delivery, reporting, app, app_chain, status: int
) -> None:
    pins = reporting()
    real = delivery.simulator.respond
    delivery.answer = lambda path, headers: (
        (status, {}, b"x" * 100_000) if path.endswith("/reports") else real(path, headers)
    )
    for count in (1, 2):
        with pytest.raises(livepin.PinMismatchError):
            connect(pins, app)
        eventually(lambda count=count: len(posted(delivery)) == count)
        app.present(make_chain(HOST, authority=app_chain.authority))


def test_a_report_that_cannot_be_sent_is_dropped_and_the_next_one_is_not(
    delivery, reporting, app, app_chain, caplog: pytest.LogCaptureFixture
) -> None:
    pins = reporting()
    real = delivery.simulator.respond

    def broken(path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        if path.endswith("/reports"):
            raise OSError("the service hangs up")
        return real(path, headers)

    delivery.answer = broken
    with caplog.at_level(logging.DEBUG, "livepin"):
        with pytest.raises(livepin.PinMismatchError):
            connect(pins, app)
        eventually(lambda: "a report could not be sent" in caplog.text)
    delivery.answer = real
    app.present(make_chain(HOST, authority=app_chain.authority))
    with pytest.raises(livepin.PinMismatchError):
        connect(pins, app)
    eventually(lambda: len(posted(delivery)) == 2)


class OwnFetcher:
    """A fetcher of an app that raises its own errors on a POST, and counts them."""

    def __init__(self, delivery) -> None:
        self.failed = 0
        self._simulator = delivery.simulator

    def fetch(self, request: Request) -> Answer:
        if request.body is not None:
            self.failed += 1
            raise KeyError("no such proxy")
        return self._simulator.fetch(request)


def test_after_an_error_of_an_apps_own_fetcher_the_client_goes_on(
    delivery, app, app_chain, quick_healing
) -> None:
    """The thread that sends reports is the one that refreshes."""
    fetcher = OwnFetcher(delivery)
    delivery.simulator.pin(HOST, make_chain(HOST).pin)
    with delivery.client(ca=app_chain.authority.pem, reports=True, fetcher=fetcher) as pins:
        for count in (1, 2):
            with pytest.raises(livepin.PinMismatchError):
                connect(pins, app)
            eventually(lambda count=count: fetcher.failed == count)
            app.present(make_chain(HOST, authority=app_chain.authority))


def test_a_man_in_the_middle_of_delivery_gets_no_report(
    delivery, reporting, app, caplog: pytest.LogCaptureFixture
) -> None:
    attacker = make_chain(HOST, authority=delivery.chain.authority)
    with RecordingServer(attacker, respond=delivery.simulator.respond) as server:
        delivery.publish(urls=(f"https://{HOST}:{server.port}",))
        pins = reporting()
        with caplog.at_level(logging.DEBUG, "livepin"):
            with pytest.raises(livepin.PinMismatchError):
                connect(pins, app)
            eventually(lambda: "a report could not be sent" in caplog.text)
        server.wait_closed()
        assert bytes(server.received) == b""
    assert posted(delivery) == []
