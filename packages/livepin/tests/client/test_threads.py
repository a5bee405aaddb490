"""The end of a process that closes nothing: no crash inside OpenSSL, and no wait for a network."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from livepin.client import Client, fetcher, threads
from livepin.errors import FetchError
from livepin.testing import DeliverySimulator, make_authority

PATIENCE = 60.0  # seconds; whoever waits for what does not come fails by it

# C runs these in turn, last first: when OpenSSL was torn down it tells of it, and waits for a line.
APP = """
import ctypes, sys
libc = ctypes.CDLL(None)
libc.__cxa_atexit(libc.getchar, None, None)
libc.__cxa_atexit(libc.perror, b"torn down", None)
import atexit, os, pathlib, ssl
from livepin import Client
folder = pathlib.Path(sys.argv[1])
pins = Client(folder / "bootstrap.json", ca=(folder / "ca.pem").read_text())
pins.context().wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost")
os.read(0, 1)
atexit.register(print, "ending", flush=True)
"""

FORKED = """
import os, threading
from livepin.client import threads
with threads._end._lock:  # as another thread of the parent may
    child = os.fork()
if child == 0:
    ran = threading.Event()
    threads.Background(ran.set, name="livepin-test").start()
    assert ran.wait(10)
else:
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.fixture
def end(monkeypatch: pytest.MonkeyPatch) -> threads._End:
    """An end of the process that can come before it."""
    found = threads._End()
    monkeypatch.setattr(threads, "_end", found)
    monkeypatch.setattr(threads, "_PATIENCE", PATIENCE)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="by what OpenSSL reads, and glibc runs last")
def test_a_process_that_ends_while_openssl_loads_certificates_does_not_crash(
    tmp_path: Path, closed_port: int
) -> None:
    ours = DeliverySimulator(urls=(f"https://localhost:{closed_port}",))
    ours.publish()
    (tmp_path / "bootstrap.json").write_bytes(ours.bootstrap().to_json())
    pem = make_authority().pem
    (tmp_path / "ca.pem").write_text(pem)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    environment = {**os.environ, "SSL_CERT_FILE": str(pipe)}
    with subprocess.Popen(
        [sys.executable, "-c", APP, str(tmp_path)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as app:
        assert app.stdin is not None
        assert app.stdout is not None
        with pipe.open("w") as certificates:  # that is when OpenSSL has opened it to read
            app.stdin.write(b"x")
            app.stdin.flush()
            assert app.stdout.readline() == b"ending\n"
            too_early = select.select([app.stderr], [], [], 0.5)[0]
            certificates.write(pem * 50)  # no more than a pipe holds
        try:
            app.communicate(b"\n", timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            app.kill()
            raise
    assert (app.returncode, too_early) == (0, [])


def test_a_thread_that_waits_for_the_network_is_left_alone_and_ends_when_it_wakes_up(
    end: threads._End,
) -> None:
    waiting, answer, went_on = threading.Event(), threading.Event(), threading.Event()

    def wait() -> None:
        with threads.resting():
            waiting.set()
            answer.wait()
        went_on.set()

    thread = threads.Background(wait, name="livepin-test")
    thread.start()
    assert waiting.wait(10)
    started = time.monotonic()
    end.begin()
    assert time.monotonic() - started < PATIENCE
    assert thread.is_alive()
    answer.set()
    thread.join(10)
    assert not thread.is_alive()
    assert not went_on.is_set()


def test_a_thread_that_is_busy_is_waited_for_and_begins_no_wait(end: threads._End) -> None:
    done: list[str] = []

    def work() -> None:
        while not threads.is_ending():
            pass
        done.append("worked")
        with threads.resting():
            done.append("rested")

    threads.Background(work, name="livepin-test").start()
    end.begin()
    assert done == ["worked"]


def test_what_never_ends_holds_the_process_up_for_a_bounded_time(
    end: threads._End, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_PATIENCE", 0.01)
    release = threading.Event()
    busy = [threads.Background(release.wait, name="livepin-test") for _ in range(2)]
    for thread in busy:
        thread.start()
    end.begin()
    assert all(thread.is_alive() for thread in busy)
    release.set()
    for thread in busy:
        thread.join(10)


def test_an_answer_that_does_not_come_is_cut_and_nothing_is_said(
    delivery, odd_server, end: threads._End, caplog: pytest.LogCaptureFixture
) -> None:
    came = threading.Event()

    def silent(sock: socket.socket) -> None:
        came.set()
        with contextlib.suppress(OSError):
            sock.recv(65536)
            sock.recv(65536)  # until the other side is gone

    server = odd_server(silent, tls=True)
    delivery.publish(urls=(server.url,))
    pins = delivery.client(push=True)
    wanted(pins)
    assert came.wait(10)
    ours = list(end._threads)  # not those of clients that other tests have left open
    end.begin()
    fetching = [each for each in ours if each.name in ("livepin-fetch", "livepin-push")]
    assert fetching
    assert not any(each.is_alive() for each in fetching)
    assert caplog.messages == []
    pins.close()


def test_a_connection_that_is_reached_too_late_is_closed(
    odd_server, end: threads._End, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached: list[socket.socket] = []
    server = odd_server(lambda sock: sock.recv(1), tls=False)

    def reach(*arguments: Any) -> socket.socket:
        reached.append(found := socket.create_connection(("127.0.0.1", server.port)))
        end.began = True
        return found

    monkeypatch.setattr(fetcher, "_reach", reach)
    dialling = threads.Background(
        lambda: fetcher._dial("localhost", server.port, 0), name="livepin-test"
    )
    dialling.start()
    dialling.join(10)
    assert [each.fileno() for each in reached] == [-1]


def test_a_client_that_is_used_later_pins_and_starts_nothing(
    simulator: DeliverySimulator, end: threads._End, caplog: pytest.LogCaptureFixture
) -> None:
    end.begin()
    with caplog.at_level(logging.INFO), simulator.client(push=True) as pins:
        wanted(pins)
        with pytest.raises(FetchError, match="the process is ending"):
            pins.refresh()
    assert pins._worker is None
    assert caplog.messages == []


def test_what_is_to_be_cut_later_is_cut_at_once(end: threads._End) -> None:
    class Wait(threading.Event):
        def cut(self) -> None:
            self.set()

    before, after = Wait(), Wait()
    threads.cut_at_end(before)
    assert not before.is_set()
    end.begin()
    threads.cut_at_end(after)
    assert before.is_set()
    assert after.is_set()


def test_a_thread_of_the_app_waits_as_ever(end: threads._End) -> None:
    end.begin()
    with threads.resting():
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_has_an_end_of_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def wanted(pins: Client) -> None:
    """Want a connection, which starts the client's threads."""
    pins.context().wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost")
