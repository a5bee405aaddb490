"""A thousand apps that meet a changed certificate at the same moment, and what delivery sees of it.

Each app is a real client, `livepin.Client`, of its own, and makes one request over a fresh
connection at the moment of the change, then others until one succeeds. All of them live on this
machine, in four processes, and share its cores with the API and the server: a thousand devices
would each have their own, so times are too long here, and a request may fail for that alone. What
counts is how many configs are fetched. API and delivery are 200 ms away.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from livepin.adapters.stdlib import https_connection
from livepin.client import Client
from livepin.testing import make_authority, make_chain

from .api import Api
from .machine import cpu_seconds, may_open
from .network import FarAway
from .server import Server

BUDGET = "none of its own"

CLIENTS = 1_000
_PROCESSES = 25
_HOST = "127.0.0.1"
_PATIENCE = 120.0  # seconds
_TIMEOUT = 60.0  # seconds for a request
_CASES = {
    "planned": (-5.0, "push"),
    "3 s late": (3.0, "push"),
    "3 s late, no push": (3.0, "no push"),
}


def run() -> dict[str, Any]:
    """Return, per case, what the apps and what delivery saw."""
    may_open(20 * CLIENTS)
    return {name: _measure(*case) for name, case in _CASES.items()}


def _measure(late: float, push: str) -> dict[str, Any]:
    authority = make_authority()
    old, new = (make_chain(_HOST, authority=authority) for _ in range(2))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        delivery_line = stack.enter_context(FarAway())
        server = stack.enter_context(Server(folder, line=delivery_line.port))
        delivery_line.to = server.port
        api = stack.enter_context(Api(folder, old))
        api_line = stack.enter_context(FarAway(api.ports["https"]))
        server.add(_HOST, old.pin)
        (folder / "ca.pem").write_text(authority.pem)
        arguments = [str(api_line.port), str(server.bootstrap()), str(folder / "ca.pem"), push]
        crowds = [stack.enter_context(_crowd(*arguments)) for _ in range(_PROCESSES)]
        for each in crowds:
            each.stdout.readline()
        before, cpu = _fetches(server), cpu_seconds(server.pids)
        fetched_before = 0
        if late < 0:
            server.pin(_HOST, new.pin)
            time.sleep(-late)
        api.present(new)
        together = time.monotonic()  # since when the certificate and its pin are both there
        for each in crowds:
            each.stdin.close()
        if late > 0:
            time.sleep(late)
            fetched_before, together = _fetches(server) - before, time.monotonic()
            server.pin(_HOST, new.pin)
        found = [app for each in crowds for app in json.load(each.stdout)]
        return {
            "apps": len(found),
            "whose first request failed": sum(failed > 0 for failed, _ in found),
            "pin and certificate there to the last success s": round(
                max(at for _, at in found) - together, 1
            ),
            "configs fetched before the publish": fetched_before,
            "in all": _fetches(server) - before,
            "server CPU s": round(cpu_seconds(server.pids) - cpu, 1),
        }


def _fetches(server: Server) -> int:
    lines = server.metrics().splitlines()
    found = (each for each in lines if each.startswith("livepin_config_fetches_total"))
    return round(sum(float(each.rpartition(" ")[2]) for each in found))


def _crowd(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.crowd", *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


# -- the process of a crowd --------------------------------------------------------------------


def _main(port: str, bootstrap: str, ca: str, push: str) -> None:
    """Start the apps; when standard input ends, have them call the API, and print what became."""
    logging.disable()
    with contextlib.ExitStack() as stack:
        authorities, by_push = Path(ca).read_text(), push == "push"
        clients = [
            stack.enter_context(Client(bootstrap, ca=authorities, push=by_push))
            for _ in range(CLIENTS // _PROCESSES)
        ]
        _at_once(lambda each: _succeeds(each, int(port)), clients)
        deadline = time.monotonic() + _PATIENCE
        while by_push and not all(each.status().push for each in clients):
            if time.monotonic() > deadline:
                raise TimeoutError("the apps do not all listen")
            time.sleep(0.05)
        print(flush=True)
        sys.stdin.read()
        found: list[tuple[int, float]] = []
        _at_once(lambda each: _call(each, int(port), found), clients)
        print(json.dumps(found), flush=True)


def _at_once(call: Callable[[Client], object], clients: list[Client]) -> None:
    calling = [threading.Thread(target=call, args=(each,)) for each in clients]
    for each in calling:
        each.start()
    for each in calling:
        each.join()


def _call(pins: Client, port: int, found: list[tuple[int, float]]) -> None:
    """Call until a call succeeds; note how many failed, and when the good one ended."""
    failed, deadline = 0, time.monotonic() + _PATIENCE
    while not _succeeds(pins, port) and time.monotonic() < deadline:
        failed += 1
        time.sleep(1)  # as people do who try again
    found.append((failed, time.monotonic()))


def _succeeds(pins: Client, port: int) -> bool:
    connection = https_connection(pins, _HOST, port, timeout=_TIMEOUT)
    try:
        connection.request("GET", "/", headers={"Connection": "close"})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    _main(*sys.argv[1:])
