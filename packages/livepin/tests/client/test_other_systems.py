"""Systems that are written for and not at hand: what they lack is taken away before the import.

It stands in for no run on macOS or Windows; it shows that nothing asks for what is not there.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# Everything of others that livepin imports comes first: that is made for the system it runs on.
LACKING = """
import asyncio, http.client, importlib.util, os, pathlib, socket, ssl, subprocess, sys, tempfile
import urllib.request, weakref
import cryptography.x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
for name in ("requests", "urllib3", "httpx", "aiohttp", "websockets", "grpc"):
    if importlib.util.find_spec(name):
        importlib.import_module(name)
"""
TAKEN_AWAY = {
    "no forks": "del os.fork, os.register_at_fork",
    "Windows": """
del os.fork, os.register_at_fork, os.chmod, os.fchmod, os.O_CLOEXEC, socket.AF_UNIX
sys.modules["fcntl"] = None
sys.platform = "win32"
ssl.enum_certificates = lambda store: []  # its store of authorities
""",
}
APP = """
import livepin
from livepin.client import FileStore
from livepin.testing import DeliverySimulator, RecordingServer, make_authority, make_chain

def connect(pins, server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        with pins.context().wrap_socket(sock, server_hostname="localhost") as tls:
            tls.sendall(b"GET / HTTP/1.1\\r\\n\\r\\n")
            return tls.recv(100)[9:12].decode()

authority = make_authority()
chain, other = (make_chain("localhost", authority=authority) for _ in range(2))
simulator, path = DeliverySimulator(), sys.argv[1]
old = simulator.bootstrap()
simulator.pin("localhost", chain.pin)
with livepin.Client(old, store=path, fetcher=simulator, clock=simulator.clock, push=False) as pins:
    pins.refresh()
simulator.reachable = False
livepin.client.healing.DEADLINE = 0.1
with livepin.Client(
    old, store=FileStore(path), fetcher=simulator, clock=simulator.clock, push=False,
    ca=authority.pem,
) as pins, RecordingServer(chain) as good, RecordingServer(other) as evil:
    print(pins.status().version == simulator.version, connect(pins, good))
    try:
        connect(pins, evil)
    except livepin.PinMismatchError:
        evil.wait_closed()
        print(bytes(evil.received))
    for name in ("stdlib", "requests", "urllib3", "httpx", "aiohttp", "websockets", "grpc"):
        if name == "stdlib" or name in sys.modules:
            adapter = importlib.import_module(f"livepin.adapters.{name}")
    with livepin.inject(pins):
        pass
    if "grpc" in sys.modules and not hasattr(socket, "AF_UNIX"):
        try:
            adapter.PinnedChannel(pins, "localhost:443")
        except livepin.LivepinError as error:
            assert "Unix sockets" in str(error)
        else:
            sys.exit("a channel was made")
"""


@pytest.mark.parametrize("system", TAKEN_AWAY)
def test_a_system_that_lacks_what_it_may_lack_pins_and_stores(system: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LACKING + TAKEN_AWAY[system] + APP, str(tmp_path / "state.json")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("True 200\nb''\n", 0), done.stderr
    assert {each.name for each in tmp_path.iterdir()} >= {"state.json"}
    assert not list(tmp_path.glob("*.corrupt"))
