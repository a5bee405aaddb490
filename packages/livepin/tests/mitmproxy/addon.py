"""What mitmproxy runs: it tells the tests what happens, and takes every host for loopback."""

import json
import os
from pathlib import Path
from typing import Any

from mitmproxy import ctx

TARGET = Path(os.environ["LIVEPIN_TARGET"])  # holds the port of the API behind the reverse proxy


def tell(what: str, about: Any) -> None:
    """Write a line that the tests can tell from mitmproxy's own log."""
    print("livepin", json.dumps([what, about]), flush=True)


def running() -> None:
    servers = ctx.master.addons.get("proxyserver").servers
    bound = [
        (each.mode.type_name, *address[:2]) for each in servers for address in each.listen_addrs
    ]
    tell("running", {mode: port for mode, host, port in bound if host == "127.0.0.1"})


def client_connected(client: Any) -> None:
    tell("connected", client.peername[1])


def client_disconnected(client: Any) -> None:
    tell("disconnected", client.peername[1])


def server_connect(data: Any) -> None:
    reverse = data.client.proxy_mode.type_name == "reverse"
    port = int(TARGET.read_text()) if reverse else data.server.address[1]
    data.server.address = "127.0.0.1", port


def requestheaders(flow: Any) -> None:
    tell("head", [flow.request.method, flow.request.path, dict(flow.request.headers)])


def request(flow: Any) -> None:
    tell("body", flow.request.get_text())


def websocket_message(flow: Any) -> None:
    tell("message", flow.websocket.messages[-1].content.decode("latin-1"))
