"""The examples whose servers are of other kinds: WebSockets, gRPC; and aiohttp beside them."""

from __future__ import annotations

import datetime as dt
import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from livepin.testing import Authority, Chain, DeliverySimulator, server_context

pytestmark = pytest.mark.no_cover  # processes, each of which would be measured for nothing

EXAMPLES = Path(__file__).parents[4] / "examples"
HOST = "localhost"
Start = Callable[[Chain], int]


def now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc).replace(microsecond=0)


@pytest.fixture
def http(serve: Any) -> Start:
    return lambda chain: serve(chain).port


@pytest.fixture
def echo(request: pytest.FixtureRequest) -> Start:
    def start(chain: Chain) -> int:
        from websockets.sync.server import serve

        def answer(websocket: Any) -> None:
            for message in websocket:
                websocket.send(message)

        server = serve(answer, "127.0.0.1", 0, ssl=server_context(chain))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        request.addfinalizer(lambda: (server.shutdown(), thread.join(10)))
        return int(server.socket.getsockname()[1])

    return start


@pytest.fixture
def health(serve: Any) -> Start:
    def start(chain: Chain) -> int:
        path = Path(__file__).parent / "drivers" / "grpc.py"
        spec = importlib.util.spec_from_file_location("livepin_driver_of_grpc", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return int(serve(chain, kind=module.Server).port)

    return start


@pytest.mark.parametrize(
    ("library", "example", "server", "address", "printed"),
    [
        ("aiohttp", "aiohttp_session.py", "http", "https://localhost:{}/", "200"),
        ("websockets", "websockets_sync.py", "echo", "wss://localhost:{}/", "hello"),
        ("websockets", "websockets_async.py", "echo", "wss://localhost:{}/", "hello"),
        ("grpc", "grpc_sync.py", "health", "localhost:{}", "serving"),
        ("grpc", "grpc_async.py", "health", "localhost:{}", "serving"),
    ],
)
@pytest.mark.parametrize("changed", [False, True], ids=["as built", "after an emergency change"])
def test_an_example_runs(
    authority: Authority,
    chain: Chain,
    other: Chain,
    serve: Any,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    library: str,
    example: str,
    server: str,
    address: str,
    printed: str,
    changed: bool,
) -> None:
    pytest.importorskip(library, reason=f"the livepin wheel alone brings no {library}")
    simulator = DeliverySimulator(clock=now)
    delivery = serve(chain, respond=simulator.respond)
    simulator.urls = (f"https://{HOST}:{delivery.port}",)
    simulator.delivery_pins, simulator.ca = (chain.pin,), authority.pem
    simulator.pin(HOST, chain.pin)
    (tmp_path / "bootstrap.json").write_bytes(simulator.bootstrap().to_json())
    (tmp_path / "ca.pem").write_text(authority.pem)
    if changed:
        simulator.pin(HOST, other.pin)
    port = request.getfixturevalue(server)(other if changed else chain)
    done = subprocess.run(
        [sys.executable, EXAMPLES / example, "bootstrap.json", address.format(port)],
        cwd=tmp_path,
        env={**os.environ, "SSL_CERT_FILE": str(tmp_path / "ca.pem")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.returncode) == (f"{printed}\n", 0), done.stderr
