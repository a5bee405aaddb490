"""A certificate is replaced by one that nobody pinned: found, told once, mended by the mail itself.

All of it is real but the time of day: `serve` with its listeners, children that probe, the TLS
server, the SMTP server, the command that the mail names, and the app.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import socket
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import livepin
import pytest
from livepin.testing import make_authority, make_chain, server_context
from livepin_server.bus.memory import MonitorWanted
from livepin_server.lock import holding
from livepin_server.services.delivery_settings import DeliveryChange
from livepin_server.services.model import NewDomain, NewPin
from livepin_server.services.monitoring.channel_kinds import Email, NewChannel
from livepin_server.services.monitoring.model import HERE
from mailing import smtp_server

HOST = "api.example.com"
LATEST = timedelta(minutes=16)  # until it is found, and told


class Api:
    """A TLS server whose certificate is replaced while it runs."""

    def __init__(self, chain):
        self.present(chain)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="api")
        self._thread.start()

    def present(self, chain):
        self._context = server_context(chain)

    def stop(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(30)

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                self._answer(self._listener.accept()[0])

    def _answer(self, sock):
        with sock:
            sock.settimeout(10)
            with contextlib.suppress(OSError), self._context.wrap_socket(sock, True) as tls:
                if tls.recv(4096):
                    tls.sendall(b"welcome")


class Mail:
    """An SMTP server in a loop of its own."""

    def __init__(self):
        self._started, self._ended = threading.Event(), None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="smtp")
        self._thread.start()
        assert self._started.wait(30)

    async def _serve(self):
        async with smtp_server("cleartext") as self.box:
            self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
            self._started.set()
            await self._ended.wait()

    def stop(self):
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(30)

    def texts(self):
        return [each.get_body(("plain",)).get_content() for each in self.box.mails]

    def subjects(self):
        return [each["Subject"] for each in self.box.mails]


@pytest.fixture(scope="module")
def authority():
    return make_authority()


@pytest.fixture
def api(authority):
    found = Api(make_chain(HOST, authority=authority))
    yield found
    found.stop()


@pytest.fixture
def mail():
    found = Mail()
    yield found
    found.stop()


@pytest.fixture
def watched(data_folder, serving, mail, clock):
    """A running server that looks, and mails to ops@example.com what it finds."""
    environment = {
        "LIVEPIN_MONITORING": "true",
        "LIVEPIN_SMTP": f"smtp+cleartext://127.0.0.1:{mail.box.port}",
        "LIVEPIN_SMTP_FROM": "livepin@example.com",
    }
    with holding(data_folder), serving(data_folder, clock=clock, **environment) as server:
        yield server


@pytest.fixture
def protected(watched, api, authority, intent):
    """The chain that the API serves, pinned with a backup; and a channel that tells of it."""
    services = watched.services
    url = f"https://127.0.0.1:{watched.ports['delivery']}"
    services.publisher.set_delivery_of_all(DeliveryChange(urls=[url]), intent)
    ops = NewChannel(name="ops", settings=Email(to=["ops@example.com"]))
    services.channels.add("acme", ops, intent)
    chain, spare = (make_chain(HOST, authority=authority) for _ in range(2))
    api.present(chain)
    pins = [NewPin(sha256=str(chain.pin)), NewPin(sha256=str(spare.pin), backup=True)]
    connect = f"127.0.0.1:{api.port}"
    new = NewDomain(pattern=HOST, pins=pins, connect=connect, ca=authority.pem)
    services.domains.add("acme", new, intent)
    return chain


@pytest.fixture
def look(watched, clock, until):
    """Let the time come at which something is due, and wait until it was looked at."""
    schedule, watching = watched.services.schedule, watched.services.watching

    def looked():
        return [each.looked for each in watching.endpoints()]

    def one():
        until(lambda: schedule.next_due(HERE))
        clock.now = max(clock(), schedule.next_due(HERE))
        now = clock()
        watched.services.bus.announce(MonitorWanted(account="acme"))
        until(lambda: looked() == [now])
        return watching.endpoints()[0]

    return one


@pytest.fixture
def app(watched, protected, authority, clock):
    """An app: connect as it does, and return what is answered."""
    bootstrap = watched.services.published.bootstrap("acme", "main")
    with livepin.Client(bootstrap, ca=authority.pem, push=False, clock=clock) as pins:

        def one(api):
            with (
                socket.create_connection(("127.0.0.1", api.port), timeout=30) as sock,
                pins.context().wrap_socket(sock, server_hostname=HOST) as tls,
            ):
                tls.sendall(b"hello")
                return tls.recv(100)

        yield one


def run(command, data):
    """Run a command of a mail, as it stands, in a shell."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command, shell=True, capture_output=True, text=True, check=False, timeout=120,
        env={"PATH": path, "LIVEPIN_DATA": str(data), "HOME": str(data.parent)},
    )  # fmt: skip


def test_a_certificate_that_nobody_pinned_is_found_told_and_mended(
    watched, api, protected, mail, look, app, authority, clock, until
):
    seen = look()
    assert (seen.host, seen.state, seen.pins_match) == (HOST, "ok", True)
    seen = look()  # by the cheap look, that finds it as it was
    assert (seen.state, seen.pins_match, mail.box.mails) == ("ok", True, [])
    assert app(api) == b"welcome"

    replaced = clock()
    fresh = make_chain(HOST, authority=authority)
    api.present(fresh)
    assert look().state == "suspect"
    assert mail.box.mails == []  # nobody is woken before a second look
    assert look().state == "firing"
    assert clock() - replaced <= LATEST
    until(lambda: len(mail.box.mails) == 1)
    text = mail.texts()[0]
    for each in (HOST, "127.0.0.1", str(fresh.pin), str(protected.pin)):
        assert each in text

    command = next(line for line in text.splitlines() if line.startswith("livepin "))
    assert shlex.split(command)[:4] == ["livepin", "pin", "add", HOST]
    done = run(command, watched.folder.data)
    assert done.returncode == 0, done.stdout + done.stderr
    assert app(api) == b"welcome"  # at its first attempt: it asks for news before it refuses
    until(lambda: look().state == "ok")
    until(lambda: len(mail.box.mails) == 2)
    assert "resolved" in mail.subjects()[1]
    assert [each.resolved is None for each in incidents_of(watched)] == [False]


def incidents_of(server):
    return server.services.incidents.all("acme", resolved=True)


def test_what_was_seen_is_in_the_metrics(watched, protected, look):
    look()
    text = watched.send("GET", "/metrics", to="management", key=watched.key("viewer")).text
    labels = f'account="acme",domain="{HOST}",host="{HOST}",port="443",vantage="here"'
    assert f"livepin_endpoint_pin_match{{{labels}}} 1.0" in text
    assert 'livepin_endpoints{account="acme",vantage="here"} 1.0' in text
    assert 'livepin_notices_waiting{account="acme"} 0.0' in text
    assert 'livepin_monitor_heartbeat_timestamp_seconds{vantage="here"}' in text


def test_a_server_that_is_not_to_look_leaves_it_to_others(data_folder, serving, clock, api):
    with serving(data_folder, clock=clock, LIVEPIN_MONITORING="false") as server:
        assert server.services.beats.all() == []
        key = server.key("viewer")
        text = server.send("GET", "/metrics", to="management", key=key).text
        assert 'livepin_notices_dead{account="acme"} 0.0' in text
