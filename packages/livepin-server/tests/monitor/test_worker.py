"""A worker of its own: it looks from its vantage, has no key, and is refused on SQLite."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest
from livepin.errors import ConfigurationError
from livepin.testing import make_authority, make_chain, server_context
from livepin_server import folder, layout, main
from livepin_server.lock import holding
from livepin_server.monitor.running import worker_name
from livepin_server.services.model import NewDomain, NewPin

HOST = "api.example.com"
WORKER = "from livepin_server.cli.app import main; raise SystemExit(main())"


@pytest.fixture
def api():
    """Give the address, pin and CA of a TLS server."""
    chain = make_chain(HOST, authority=make_authority())
    context = server_context(chain)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                with sock, contextlib.suppress(OSError):
                    sock.settimeout(10)
                    context.wrap_socket(sock, server_side=True).close()

    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=serve)
    thread.start()
    yield f"127.0.0.1:{listener.getsockname()[1]}", chain.pin, chain.authority.pem
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(30)


@pytest.fixture
def worker():
    """Start `livepin monitor worker` on a data folder."""
    with contextlib.ExitStack() as stack:

        def start(data, vantage="eu-west"):
            arguments = ["monitor", "worker", "--vantage", vantage, "--data", str(data)]
            process = subprocess.Popen(
                [sys.executable, "-c", WORKER, *arguments],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
            stack.callback(process.stdout.close)
            stack.callback(process.wait, 30)
            stack.callback(process.kill)
            return process

        yield start


def test_a_worker_looks_from_its_vantage_without_any_key(
    postgres_folder, worker, api, until, intent, tmp_path
):
    connect, pin, ca = api
    with folder.opened(
        postgres_folder, {}, clock=main.clock, look=lambda t: {e: [] for e in t}
    ) as (opened):
        services = opened.services
        new = NewDomain(pattern=HOST, pins=[NewPin(sha256=str(pin))], connect=connect, ca=ca)
        services.domains.add("acme", new, intent)
        bare = tmp_path / "bare"
        bare.mkdir()
        (bare / "livepin.toml").write_bytes((postgres_folder / "livepin.toml").read_bytes())
        process = worker(bare)

        def seen():
            return [each for each in services.watching.endpoints() if each.looked is not None]

        services.endpoints.sync()
        until(lambda: [each.vantage for each in services.beats.all()] == ["eu-west"])
        services.schedule.look_now("acme")
        until(seen)
        (found,) = seen()
        assert (found.host, found.vantage, found.pins_match) == (HOST, "eu-west", True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, process.stdout.read()


def test_a_worker_needs_no_lock_of_the_folder(postgres_folder):
    with holding(postgres_folder), folder.looking(postgres_folder, {}, clock=main.clock) as found:
        assert found.monitoring.beats.all() == []


def test_a_worker_is_refused_on_sqlite_and_touches_nothing(data_folder, monkeypatch):
    (data_folder / "livepin.db").unlink()
    with pytest.raises(ConfigurationError, match="a worker needs PostgreSQL") as found:
        main.run_worker(data_folder, vantage="eu-west")
    assert "livepin serve" in found.value.hint
    assert not (data_folder / "livepin.db").exists()
    assert (data_folder / layout.MASTER_KEY).exists()


def test_the_name_of_a_worker_says_where_it_is_and_has_room():
    assert worker_name().endswith(f"-{os.getpid()}")
    assert len(worker_name()) <= 63


def test_what_probes_gives_way_to_what_delivers(until):
    command = [sys.executable, "-m", "livepin_server.probing", "looks", "ecdsa"]
    own = os.getpriority(os.PRIO_PROCESS, 0)
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        wanted = min(own + 10, 19)
        until(lambda: os.getpriority(os.PRIO_PROCESS, process.pid) == wanted)
        process.stdin.close()
        assert process.wait(30) == 0
