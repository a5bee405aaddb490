"""livepin export envoy: Envoy itself takes the configuration, and refuses what it does not pin."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from livepin.testing import make_authority, make_chain, pin_of
from livepin_server.exports.formats.envoy import CA_FILE

_PATIENCE = 60.0  # seconds, on a busy machine
_LISTENER = Path("envoy.sock")
_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def bootstrap(exported: str, port: int) -> dict[str, Any]:
    """Return a configuration of Envoy: what a socket is sent goes to one server, as exported."""
    proxy = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "api",
        "cluster": "api",
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {
        "static_resources": {
            "listeners": [
                {
                    "address": {"pipe": {"path": str(_LISTENER)}},
                    "filter_chains": [{"filters": [{"name": "tcp", "typed_config": proxy}]}],
                }
            ],
            "clusters": [
                {
                    "name": "api",
                    "load_assignment": {
                        "cluster_name": "api",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
                    },
                    **yaml.safe_load(exported),
                }
            ],
        }
    }


def fetch() -> int | None:
    """Send a request through Envoy; return the status, None where Envoy connects to nobody."""
    with connection() as there:
        answer = HTTPResponse(there)
        try:
            there.sendall(_REQUEST)
            answer.begin()
        except ConnectionError:  # the end of the stream is one as well
            return None
        return answer.status


def connection() -> socket.socket:
    """Connect to Envoy, once it listens."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        there = socket.socket(socket.AF_UNIX)
        there.settimeout(_PATIENCE)
        try:
            there.connect(str(_LISTENER))
        except OSError:
            there.close()
            assert time.monotonic() < deadline, "Envoy does not listen"
            time.sleep(0.02)
        else:
            return there


@pytest.fixture
def envoy(counterpart, ca) -> Callable[[str, int], AbstractContextManager[None]]:
    """Run Envoy for a while, with an exported file, before a server on a port."""
    program = counterpart("envoy")

    @contextmanager
    def one(exported: str, port: int) -> Iterator[None]:
        file = Path("envoy.yaml")
        file.write_text(yaml.safe_dump(bootstrap(exported.replace(CA_FILE, str(ca)), port)))
        command = [program, "-c", str(file), "--use-dynamic-base-id", "--concurrency", "1"]
        done = subprocess.run(
            [*command, "--mode", "validate"], capture_output=True, text=True, timeout=_PATIENCE
        )
        assert done.returncode == 0, done.stderr
        with Path("envoy.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=_PATIENCE)

    return one


def test_envoy_connects_by_the_exported_pins_and_refuses_another_key(
    run, data, api, ca, authority, envoy
) -> None:
    run("domain", "add", "localhost", "--port", api.port, "--ca", ca)
    run("pin", "new-backup", "localhost", "--out", "b.key")
    backup = load_pem_private_key(Path("b.key").read_bytes(), None)
    refused = {
        "another key": make_chain("localhost", authority=authority),
        "a CA that nobody trusts": make_chain("localhost", authority=make_authority(), key=backup),
        "another name": make_chain("other.test", authority=authority, key=backup),
    }
    with envoy(run("export", "envoy").out, api.port):
        assert fetch() == 200
        seen = api.requests
        for what, chain in refused.items():
            api.present(chain)
            assert fetch() is None, what
        assert api.requests == seen, "a request was sent to the wrong server"
        api.present(make_chain("localhost", authority=authority, key=backup))
        assert fetch() == 200, "the backup key after the change"


def test_envoy_matches_the_leaf_alone_and_addresses_too(run, data, api, ca, chain, envoy) -> None:
    run("domain", "add", "127.0.0.1", "--port", api.port, "--ca", ca)
    exported = run("export", "envoy").out
    with envoy(exported, api.port):
        assert fetch() == 200
    leaf, issuer = (str(pin_of(each)).removeprefix("sha256/") for each in chain.presented)
    with envoy(exported.replace(leaf, issuer), api.port):
        assert fetch() is None, "the export could say the keys of CAs"
