"""Failed requests when a certificate changes, and when the first one succeeds again.

Apps make 50 requests a second each, with one HTTP library and its own defaults, over its pool of
kept connections. Each is a process; all call one API, which is 200 ms away, there and back, as
delivery is, a real server. From the change on the API presents the new certificate and ends each
kept connection after its next answer, as a graceful restart does.

Planned: the next key is pinned five seconds before the change. In an emergency the certificate
changes first, and the pin is published 3 s or 60 s later. A request waits up to five seconds for
newer pins, so most of those made more than five seconds too early fail, and what counts then is how
soon after the publish a request succeeds. A dash says that none did in 42 seconds.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from livepin.testing import make_authority, make_chain

from .api import Api
from .app import LIBRARIES
from .network import FarAway
from .server import Server

BUDGET = "no failed request when planned, and with the pin 3 s late"

_HOST = "127.0.0.1"
_BEFORE, _AFTER = 3.0, 6.0  # seconds of requests around what happens
_PLANNED = -5.0  # seconds by which the pin is late
_CASES = {
    "planned": (_PLANNED, "push"),
    "3 s late": (3.0, "push"),
    "3 s late, no push": (3.0, "no push"),
    "60 s late": (60.0, "push"),
    "60 s late, no push": (60.0, "no push"),
}
# By then the pause between two looks is as long, and without push nothing else finds the pin.
_AFTER_WITHOUT_PUSH = 42.0

_Request = tuple[float, float, bool]  # began, ended, succeeded


def run() -> dict[str, Any]:
    """Return, per case and library, how many requests failed, and for how long."""
    return {
        f"{name}: {library}": figures
        for name, case in _CASES.items()
        for library, figures in _measure(*case).items()
    }


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
        url = f"https://{_HOST}:{api_line.port}/"
        arguments = [url, str(server.bootstrap()), str(folder / "ca.pem"), push]
        apps = {each: stack.enter_context(_app(each, *arguments)) for each in LIBRARIES}
        for app in apps.values():
            app.stdout.readline()
        time.sleep(_BEFORE)
        if late > 0:
            api.present(new)
            time.sleep(late)
        published = time.monotonic()
        server.pin(_HOST, new.pin)
        if late < 0:
            time.sleep(-late)
            api.present(new)
        time.sleep(_AFTER_WITHOUT_PUSH if late > 5 and push == "no push" else _AFTER)
        for app in apps.values():
            app.stdin.close()
        return {
            name: _figures(json.load(app.stdout), published, planned=late < 0)
            for name, app in apps.items()
        }


def _app(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.app", *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _figures(requests: list[_Request], published: float, *, planned: bool) -> dict[str, Any]:
    failed = [ended for _, ended, ok in requests if not ok]
    after = [ended - published for _, ended, ok in requests if ok and ended > published]
    return {
        "requests": len(requests),
        "failed": len(failed),
        "of them after the publish": sum(ended > published for ended in failed),
        "longest s": round(max(ended - began for began, ended, _ in requests), 1),
        "first success after the publish s": None if planned or not after else round(min(after), 2),
    }
