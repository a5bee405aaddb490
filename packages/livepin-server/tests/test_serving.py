"""A server from its first answer to its end: signals, ports, the database going, metrics."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from livepin.testing import RecordingServer, make_chain
from livepin_server import serving
from livepin_server.bus.memory import Announcement, OverridesChanged
from livepin_server.delivery.events import Events
from livepin_server.delivery.overrides import Overrides
from livepin_server.delivery.snapshot import Snapshot
from livepin_server.errors import UnavailableError
from livepin_server.folder import Node
from livepin_server.services.api_keys import ApiKeys
from livepin_server.services.changes import SetDelivery
from livepin_server.services.delivery_settings import DeliveryChange
from livepin_server.services.model import How, Intent, Role
from livepin_server.services.overrides.model import NewOverride
from livepin_server.services.tokens.recording import Seen
from livepin_server.serving import (
    RUN_FILE,
    _forget_overrides,
    _forget_unseen,
    _keep_seen,
    _keep_uses,
    _Loader,
    _look,
    _tell_expired,
    _watch,
)
from livepin_server.storage.schema import keys
from livepin_server.telemetry.attention import Note
from livepin_server.telemetry.metrics import Metrics
from sqlalchemy import delete

UNTOLD = (
    "nobody will be told if apps are about to break: livepin channel add email ops --to "
    "ops@example.com"
)
_PATIENCE = 60.0  # seconds, on a busy machine


_numbers = itertools.count()


class Child:
    """`livepin serve` as a process of its own."""

    def __init__(self, data: Path, *under: str, **settings: str) -> None:
        self.data = data
        self.errors = data.parent / f"errors-{next(_numbers)}"
        self.context = ssl.create_default_context(cafile=data / "tls" / "ca.pem")
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*under, sys.executable, "-m", "livepin", "serve", "--data", str(data)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={
                    **os.environ,
                    **{f"LIVEPIN_{name.upper()}": value for name, value in settings.items()},
                },
            )

    def wait(self) -> dict[str, int]:
        """Wait until it serves; return its run file."""
        self._wait_for((self.data / RUN_FILE).exists)
        return json.loads((self.data / RUN_FILE).read_text())

    def delivery_port(self) -> int:
        """Wait until the log names the port of delivery, and return it."""
        self._wait_for(lambda: '"serving"' in self.errors.read_text())
        lines = self.errors.read_text().splitlines()
        return int(json.loads(next(each for each in lines if '"serving"' in each))["delivery"])

    def _wait_for(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            assert self.process.poll() is None, self.errors.read_text()
            assert time.monotonic() < deadline, self.errors.read_text()
            time.sleep(0.02)

    def connect(self, port: int) -> ssl.SSLSocket:
        """Return a TLS connection."""
        plain = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE)
        return self.context.wrap_socket(plain, server_hostname="127.0.0.1")

    def end(self, number: int) -> int:
        """Send a signal; return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(_PATIENCE)


@pytest.fixture
def start(data_folder: Path) -> Iterator[Callable[..., Child]]:
    """Start `livepin serve` on the data folder."""
    with ExitStack() as stack:

        def one(*under: str, **settings: str) -> Child:
            child = Child(data_folder, *under, **settings)
            stack.callback(lambda: child.process.poll() is None and child.end(signal.SIGKILL))
            return child

        yield one


def read_until(sock: ssl.SSLSocket, expected: bytes) -> bytes:
    """Read up to a text."""
    found = b""
    while expected not in found:
        more = sock.recv(65536)
        assert more, found
        found += more
    return found


def read_rest(sock: ssl.SSLSocket) -> bytes:
    """Read to the end."""
    found = b""
    with suppress(ConnectionError, ssl.SSLError):
        while more := sock.recv(65536):
            found += more
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_gracefully(start, number: int) -> None:
    child = start()
    child.wait()
    port = child.delivery_port()
    report = json.dumps(
        {"host": "x", "chain": ["sha256/" + "A" * 43 + "="], "config_version": 1, "at": 0}
    ).encode()
    with child.connect(port) as events, child.connect(port) as under_way:
        events.sendall(b"GET /v1/acme/events HTTP/1.1\r\nHost: x\r\n\r\n")
        read_until(events, b'"version":1}')
        under_way.sendall(
            b"POST /v1/acme/reports HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            b"Content-Length: %d\r\n\r\n" % len(report)
        )
        read_until(under_way, b"100 Continue")  # the server waits for the body
        child.process.send_signal(number)
        read_rest(events)  # ends
        under_way.sendall(report)
        assert read_rest(under_way).startswith(b"HTTP/1.1 202 ")
    assert child.process.wait(_PATIENCE) == 0
    assert not (child.data / RUN_FILE).exists()
    lines = [json.loads(line) for line in child.errors.read_text().splitlines()]
    assert [line["message"] for line in lines if line["logger"] == "livepin.server"] == [
        "serving", UNTOLD, "stopping",
    ]  # fmt: skip
    others = [line for line in lines if line["message"] != UNTOLD]
    assert not [line for line in others if line["level"] not in ("info", "debug")]


@pytest.mark.parametrize(("number", "kept"), [(signal.SIGTERM, True), (signal.SIGKILL, False)])
def test_the_last_use_of_a_key_is_kept_at_the_end_and_a_crash_loses_a_minute(
    start, open_folder, number: int, kept: bool
) -> None:
    child = start()
    where = child.wait()
    key = (child.data / "operator.key").read_text().strip()
    with child.connect(where["port"]) as sock:
        sock.sendall(
            b"GET /v1/whoami HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Authorization: Bearer %s\r\n\r\n" % key.encode()
        )
        assert read_rest(sock).startswith(b"HTTP/1.1 200 ")
    child.end(number)
    with open_folder(child.data) as opened:
        (operator,) = opened.services.api_keys.all()
    assert (operator.last_used_from == "127.0.0.1") is kept
    assert (operator.last_used is not None) is kept


def test_a_server_that_runs_keeps_the_last_uses_every_minute(opened, clock) -> None:
    job = _keep_uses(opened)
    assert job.seconds == 60
    _, key = opened.services.api_keys.create("ci", Role.VIEWER, None, Intent(author="bob"))
    opened.services.api_keys.verify(key, "192.0.2.7")
    job.run()
    fresh = ApiKeys(opened.services.database, clock=clock)
    assert fresh.show("ci").last_used_from == "192.0.2.7"


def seen(identity: str, moment: datetime) -> Seen:
    return Seen(
        account="acme", id=identity, thumbprint="t" * 43, app="app", stream="main",
        config_version=1, moment=moment,
    )  # fmt: skip


def test_a_crash_loses_of_installations_a_second_and_a_database_that_is_away_nothing(
    opened, clock
) -> None:
    job, services = _keep_seen(opened), opened.services
    assert job.seconds <= 1
    services.recording.note(seen("1" * 22, clock()))
    with pytest.MonkeyPatch.context() as patch:

        def away(change: object) -> None:
            raise UnavailableError("the database is not there")

        patch.setattr(services.database, "write", away)
        job.run()
    job.run()
    assert [each.id for each in services.installations.all("acme")] == ["1" * 22]


def test_installations_that_ask_no_more_are_forgotten_after_half_a_year(opened, clock) -> None:
    job, services = _forget_unseen(opened), opened.services
    assert job.seconds == job.first == 86400
    services.recording.note(seen("1" * 22, clock()))
    services.recording.keep()
    clock.advance(days=180)
    job.run()
    assert services.installations.all("acme")
    clock.advance(seconds=1)
    job.run()
    assert services.installations.all("acme") == []


def test_a_key_that_ends_soon_is_spoken_of_in_the_log_once(opened, clock, caplog) -> None:
    expires = clock() + timedelta(days=14)
    opened.services.api_keys.create("ci", Role.VIEWER, None, Intent(author="bob"), expires=expires)
    run = _watch(opened, Metrics()).run
    run()
    run()
    assert caplog.messages == []
    clock.advance(hours=1)
    run()
    clock.advance(hours=1)
    run()
    assert caplog.messages == ["the API key ci expires on 2026-12-07"]


def test_a_second_server_on_the_same_folder_is_refused_by_name(start) -> None:
    first = start()
    first.wait()
    second = Child(first.data)
    assert second.process.wait(_PATIENCE) not in (0, 1)
    assert second.errors.read_text().splitlines() == [
        f"error: another process works on {first.data}",
        "hint:  is livepin serve running?",
    ]
    assert first.process.poll() is None
    assert (first.data / RUN_FILE).exists()


@pytest.mark.parametrize("name", ["delivery", "management"])
def test_a_port_in_use_is_one_line_and_what_to_do(start, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        child = start(**{f"{name}_port": str(port)})
        assert child.process.wait(_PATIENCE) not in (0, 1)
    assert child.errors.read_text().splitlines() == [
        f"error: cannot listen on 127.0.0.1:{port}: Address already in use",
        "hint:  is another server running? choose another port in livepin.toml",
    ]
    assert not (child.data / RUN_FILE).exists()


def test_where_few_files_may_be_open_it_takes_fewer_event_streams_and_goes_on_answering(
    start,
) -> None:
    few = ("sh", "-c", 'ulimit -n 1024; exec "$@"', "sh")
    child = start(*few, requests_per_second="1000", max_streams="600")
    child.wait()
    port = child.delivery_port()
    assert "it takes 128 event streams instead of 600" in child.errors.read_text()
    with ExitStack() as stack:
        for _ in range(128):
            stream = stack.enter_context(child.connect(port))
            stream.sendall(b"GET /v1/acme/events HTTP/1.1\r\nHost: x\r\n\r\n")
            read_until(stream, b'"version":1}')
        for path, answer in (("events", b"503"), ("config/main", b"200")):
            other = stack.enter_context(child.connect(port))
            other.sendall(b"GET /v1/acme/%s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
            assert read_until(other, b"\r\n").startswith(b"HTTP/1.1 " + answer)
    assert child.end(signal.SIGTERM) == 0


def test_the_run_file_is_for_the_servers_user_alone(start_server) -> None:
    server = start_server()
    path = server.folder.data / RUN_FILE
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    found = json.loads(path.read_text())
    assert found == {"host": "127.0.0.1", "port": server.ports["management"], "pid": os.getpid()}
    server.stop()
    assert not path.exists()


def test_a_run_file_that_cannot_be_written_ends_it_in_words(start) -> None:
    child = start()
    child.end(signal.SIGKILL)
    shutil.rmtree(child.data / "run", ignore_errors=True)
    (child.data / "run").write_text("a file")
    child = start()
    assert child.process.wait(_PATIENCE) not in (0, 1)
    assert f"error: cannot write {child.data / RUN_FILE}: " in child.errors.read_text()
    assert "Traceback" not in child.errors.read_text()


def test_the_server_ends_whole_when_one_listener_ends(start_server) -> None:
    for name in ("delivery", "management"):
        server = start_server()
        listener = getattr(server.running, name)
        server.call(listener._server.stop)
        server._thread.join(_PATIENCE)
        assert not server._thread.is_alive()


def test_both_listeners_say_that_they_are_well(start_server) -> None:
    server = start_server()
    for to in ("delivery", "management"):
        for path in ("/healthz", "/readyz"):
            answer = server.send("GET", path, to=to)
            assert (answer.status_code, answer.text) == (200, "ok\n")


def test_without_its_database_delivery_goes_on_and_management_says_so(start_server) -> None:
    server = start_server()
    key = server.key()
    before = server.send("GET", "/v1/acme/config/main").content
    path = server.services.database.path
    server.services.database._engine.dispose()
    for each in path.parent.glob("livepin.db*"):
        each.unlink()
    path.write_bytes(b"this was a database" * 1000)
    answer = server.send("GET", "/readyz", to="management")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json() == {
        "title": "Service Unavailable", "status": 503,
        "detail": "the database is not one of SQLite's",
        "hint": "put the backup of the data folder back",
    }  # fmt: skip
    assert server.send("GET", "/v1/whoami", to="management", key=key).status_code == 503
    assert server.send("GET", "/healthz", to="management").status_code == 200
    assert server.send("GET", "/readyz").status_code == 200
    assert server.send("GET", "/v1/acme/config/main").content == before


def test_documents_that_cannot_be_loaded_leave_the_old_ones_served(start_server, caplog) -> None:
    server = start_server()
    before = server.send("GET", "/v1/acme/config/main").content
    announcement = Announcement(account="nobody", stream="main", root_version=1, version=1)
    server.services.bus.announce(announcement)
    deadline = time.monotonic() + _PATIENCE
    while "the documents of nobody could not be loaded" not in caplog.text:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert server.send("GET", "/v1/acme/config/main").content == before


def test_what_could_not_be_loaded_is_delivered_once_the_cause_has_gone(start_server) -> None:
    server = start_server()

    def run(statement: str) -> None:
        server.services.database.write(lambda each: each.exec_driver_sql(statement))

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def in_step() -> bool:
        return "livepin_in_step 1.0" in server.metrics.text().decode().splitlines()

    assert in_step()
    run("UPDATE configs SET issued = 'no time'")  # nothing that the database itself reports
    news = Announcement(account="acme", stream="main", root_version=1, version=2)
    server.services.bus.announce(news)
    wait(lambda: not in_step())
    run("UPDATE configs SET issued = 0, version = 2")
    wait(lambda: server.send("GET", "/v1/acme/config/main").headers["etag"] == '"1.2"')
    wait(in_step)


def test_overrides_that_cannot_be_loaded_are_in_no_configs_way(start_server, until, caplog) -> None:
    """Such as where a delivery node may not read that table yet."""
    server = start_server()

    def run(statement: str) -> None:
        server.services.database.write(lambda each: each.exec_driver_sql(statement))

    def in_step() -> bool:
        return "livepin_in_step 1.0" in server.metrics.text().decode().splitlines()

    run("ALTER TABLE overrides RENAME TO away")
    server.services.bus.announce(OverridesChanged(account="acme"))
    until(lambda: not in_step())
    server.services.publisher.republish("acme", "main", Intent(author="bob"))
    until(lambda: server.send("GET", "/v1/acme/config/main").headers["etag"] == '"1.2"')
    assert caplog.text.count("the overrides of acme could not be loaded") == 1
    run("ALTER TABLE away RENAME TO overrides")
    until(in_step)
    server.services.bus.announce(OverridesChanged(account="none"))
    server.services.bus.announce(OverridesChanged(account="acme"))
    assert in_step()


def test_overrides_are_told_of_once_they_expire_and_forgotten_after_a_month(
    opened, clock, intent, add_domain, caplog
) -> None:
    add_domain()
    services, told = opened.services, []
    domains = ["api.example.com"]
    new = NewOverride(installation="t" * 43, domains=domains, mode="off", lives=60)
    services.overrides.create("acme", new, intent, tested=False)
    watch = _watch(opened, Metrics()).run
    for _ in range(3):
        watch()
    assert caplog.text.count("an override unpins the installation") == 1
    services.bus.subscribe(told.append, OverridesChanged)
    job, last = _tell_expired(opened), _forget_overrides(opened)
    assert (job.seconds, last.seconds, last.first) == (60, 86400, 86400)
    clock.advance(minutes=1)
    job.run()
    assert told == [OverridesChanged(account="acme")]
    clock.advance(days=30)
    last.run()
    assert services.overrides.all("acme", tested=False)
    clock.advance(seconds=1)
    last.run()
    assert services.overrides.all("acme", tested=False) == []


def test_a_large_config_is_packed_beside_the_loop_that_answers(opened) -> None:
    threads = []

    class Watched(Snapshot):
        def replace(self, *arguments: Any) -> None:
            threads.append(threading.get_ident())
            super().replace(*arguments)

    async def main() -> None:
        metrics, snapshot = Metrics(), Watched()
        events = Events(snapshot, metrics, most=1, most_per_address=1)
        overrides = Overrides(metrics, clock=opened.clock)
        await _Loader(opened, snapshot, overrides, events, metrics).load_all()
        assert snapshot.get("/v1/acme/config/main") is not None

    asyncio.run(main())
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_a_config_that_cannot_be_signed_again_is_seen_in_log_status_and_metrics(
    opened, clock, caplog
) -> None:
    run = _watch(opened, metrics := Metrics()).run
    run()
    lines = metrics.text().decode().splitlines()
    expires = (clock() + timedelta(days=14)).timestamp()
    for line in (
        f'livepin_config_expires_timestamp_seconds{{account="acme",stream="main"}} {expires:.9g}',
        "livepin_root_expires_timestamp_seconds",
        "livepin_delivery_certificate_expires_timestamp_seconds",
    ):
        assert [each for each in lines if each.startswith(line)], line
    clock.advance(days=9)
    opened.services.database.write(lambda each: each.execute(delete(keys)))
    assert opened.services.publisher.resign_due() == []
    caplog.clear()
    run()
    run()
    text = "config 1 of acme/main was not signed again, the log says why; it expires on 2026-12-07"
    assert caplog.messages == [text]


def test_a_delivery_endpoint_whose_key_is_not_pinned_is_seen_in_the_log(opened, caplog) -> None:
    chain, metrics = make_chain("localhost"), Metrics()
    look, watch = _look(opened, metrics), _watch(opened, metrics)
    watch.run()
    with RecordingServer(chain) as server:
        url = f"https://localhost:{server.port}"
        moved = SetDelivery(wanted=DeliveryChange(urls=[url], ca=chain.authority.pem))
        agreed = Intent(author="bob", how=How(confirmed=True))
        opened.services.publisher.publish("acme", [moved], agreed)
        look.run()
    (text,) = metrics.attention.texts("acme")
    assert text.startswith(f"apps of acme are refused at {url}: none of the delivery pins")
    assert metrics.attention.texts("other") == []
    caplog.clear()
    watch.run()
    assert caplog.messages == [text]


def test_a_running_server_goes_on_looking_at_its_delivery_urls(
    data_folder, open_folder, run_server, monkeypatch
) -> None:
    monkeypatch.setattr(serving, "_LOOK_FIRST", 0.0)
    chain = make_chain("localhost")
    with RecordingServer(chain) as server:
        url = f"https://localhost:{server.port}"
        moved = SetDelivery(wanted=DeliveryChange(urls=[url], ca=chain.authority.pem))
        agreed = Intent(author="bob", how=How(confirmed=True))
        with open_folder(data_folder) as opened:
            opened.services.publisher.publish("acme", [moved], agreed)
        found = run_server(data_folder)
        deadline = time.monotonic() + _PATIENCE
        while not found.metrics.attention.texts("acme") and time.monotonic() < deadline:
            time.sleep(0.05)
        status = found.send("GET", "/v1/status", to="management", key=found.key()).json()
    assert [each for each in status["warnings"] if f"apps of acme are refused at {url}" in each]


def test_what_needs_attention_is_logged_once_also_where_delivery_is_served_alone(
    opened, caplog
) -> None:
    node = Node(**{each.name: getattr(opened, each.name) for each in dataclasses.fields(Node)})
    for served in (opened, node):
        metrics = Metrics()
        metrics.attention.add(lambda: [Note("look here", "acme")])
        caplog.clear()
        run = _watch(served, metrics).run
        for _ in range(3):
            run()
        assert caplog.messages == ["look here"]


def test_a_start_after_a_long_stop_warns_of_nothing_that_it_is_about_to_mend(
    opened, clock, caplog
) -> None:
    clock.advance(days=9)
    _watch(opened, Metrics()).run()
    assert caplog.messages == []


def test_the_lowest_rate_locks_nobody_out(start_server) -> None:
    server = start_server(requests_per_second="0.01")
    assert server.send("GET", "/v1/acme/config/main").status_code == 200
    body = {"host": "x", "chain": ["sha256/" + "A" * 43 + "="], "config_version": 1, "at": 0}
    assert server.send("POST", "/v1/acme/reports", json=body).status_code == 202
    assert server.send("GET", "/v1/whoami", to="management", key=server.key()).status_code == 200


def test_the_metrics_count_what_was_answered(start_server) -> None:
    server = start_server()
    key = server.key()
    server.send("GET", "/v1/acme/config/main")
    server.send("GET", "/v1/acme/config/main", headers={"if-none-match": '"1.1"'})
    server.send("GET", "/nothing")
    server.send("GET", "/v1/whoami", to="management", key=key)
    server.send("GET", "/v1/whoami", to="management")
    server.send("GET", "/v1/nothing", to="management", key=key)
    answer = server.send("GET", "/metrics", to="management", key=key)
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = answer.text.splitlines()
    for line in (
        'livepin_requests_total{front="delivery",status="200"} 1.0',
        'livepin_requests_total{front="delivery",status="304"} 1.0',
        'livepin_requests_total{front="delivery",status="404"} 1.0',
        'livepin_requests_total{front="management",status="200"} 1.0',
        'livepin_requests_total{front="management",status="401"} 1.0',
        'livepin_requests_total{front="management",status="404"} 1.0',
        'livepin_config_fetches_total{account="acme",held="none",stream="main"} 1.0',
        'livepin_config_fetches_total{account="acme",held="1",stream="main"} 1.0',
        'livepin_config_version{account="acme",stream="main"} 1.0',
        "livepin_event_streams 0.0",
    ):
        assert line in lines, answer.text
    assert key not in answer.text


def test_many_claimed_versions_are_few_metrics(start_server) -> None:
    server = start_server()
    for number in range(300):
        header = {"if-none-match": f'"1.{10**6 + number}"'}
        server.send("GET", "/v1/acme/config/main", headers=header)
    text = server.metrics.text().decode()
    assert text.count('livepin_config_fetches_total{account="acme"') == 1
    assert 'livepin_config_fetches_total{account="acme",held="other",stream="main"} 300.0' in text
