"""The app of the demonstration: a process of its own that calls two APIs, five times a second.

It prints one JSON line a request, and ends when its standard input does.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import threading
import time
from pathlib import Path

import httpx
import livepin
from livepin.adapters.httpx import PinnedTransport
from livepin.client.judge import ConfigJudge

_PAUSE = 0.2  # seconds between requests


def main() -> None:
    """Call the APIs in turn until standard input ends."""
    parser = argparse.ArgumentParser()
    for name in ("bootstrap", "store", "ca"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--url", required=True, action="append")
    parser.add_argument("--tampered", action="store_true")
    options = parser.parse_args()
    ended = threading.Event()
    threading.Thread(target=_wait_for_end, args=(ended,), daemon=True).start()
    ca = Path(options.ca).read_text()
    with livepin.Client(options.bootstrap, store=options.store, ca=ca) as pins:
        if options.tampered:
            _tamper()
        with httpx.Client(transport=PinnedTransport(pins), timeout=15) as http:
            for url in itertools.cycle(options.url):
                _report(pins, url, *_one(http, url))
                if ended.wait(_PAUSE):
                    break


def _tamper() -> None:
    """Switch the pin check off, as a tool does that gets into the process of an app."""
    ConfigJudge.check = lambda *_: None  # type: ignore[method-assign]


def _one(http: httpx.Client, url: str) -> tuple[bool, str, float]:
    started = time.monotonic()
    try:
        response = http.get(url, headers={"Authorization": "Bearer the-users-secret"})
        return response.status_code == 200, str(response.status_code), time.monotonic() - started
    except httpx.HTTPError as exc:
        found = livepin.find(exc)
        name = type(found or exc).__name__
        return False, name, time.monotonic() - started


def _report(pins: livepin.Client, url: str, ok: bool, outcome: str, seconds: float) -> None:
    status = pins.status()
    line = {
        "url": url,
        "ok": ok,
        "outcome": outcome,
        "seconds": round(seconds, 3),
        "version": status.version,
        "rule": status.last_error_rule,
        "error": status.last_error,
        "push": status.push,
        "installation": status.installation_id,
    }
    print(json.dumps(line), flush=True)


def _wait_for_end(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


if __name__ == "__main__":
    main()
