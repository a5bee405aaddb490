"""An app under load, as a process of its own: 50 requests a second by one HTTP library.

It prints a line when the first request has ended. When its standard input ends, it does too, and
prints when each request began and ended, on the monotonic clock, and whether it succeeded. The
library has its own defaults: pools, limits, time-outs.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp
import httpx
import requests
from livepin.adapters.aiohttp import PinnedConnector
from livepin.adapters.httpx import AsyncPinnedTransport, PinnedTransport
from livepin.adapters.requests import session
from livepin.client import Client

PER_SECOND = 50


_FAILURES = httpx.HTTPError, requests.RequestException, aiohttp.ClientError, TimeoutError


class _Found(list[tuple[float, float, bool]]):
    """What became of the requests."""

    def note(self, began: float, *, ok: bool) -> None:
        if not self:
            print(flush=True)
        self.append((began, time.monotonic(), ok))


def _requests(pins: Client, url: str, found: _Found, ended: threading.Event) -> None:
    with session(pins) as http:
        _in_threads(lambda: http.get(url).status_code == 200, found, ended)


def _httpx(pins: Client, url: str, found: _Found, ended: threading.Event) -> None:
    with httpx.Client(transport=PinnedTransport(pins)) as http:
        _in_threads(lambda: http.get(url).status_code == 200, found, ended)


def _in_threads(get: Callable[[], bool], found: _Found, ended: threading.Event) -> None:
    """Start requests at their times, whatever became of those before."""

    def one() -> None:
        began = time.monotonic()
        try:
            ok = get()
        except _FAILURES as exc:
            ok = False
            _say(exc)
        found.note(began, ok=ok)

    threads, at = [], time.monotonic()
    while not ended.wait(max(at - time.monotonic(), 0)):
        threads.append(threading.Thread(target=one))
        threads[-1].start()
        at += 1 / PER_SECOND
    for each in threads:
        each.join()


def _async_httpx(pins: Client, url: str, found: _Found, ended: threading.Event) -> None:
    async def everything() -> None:
        async with httpx.AsyncClient(transport=AsyncPinnedTransport(pins)) as http:

            async def get() -> bool:
                return (await http.get(url)).status_code == 200

            await _in_tasks(get, found, ended)

    asyncio.run(everything())


def _aiohttp(pins: Client, url: str, found: _Found, ended: threading.Event) -> None:
    async def everything() -> None:
        async with aiohttp.ClientSession(connector=PinnedConnector(pins)) as http:

            async def get() -> bool:
                async with http.get(url) as answer:
                    await answer.read()
                    return answer.status == 200

            await _in_tasks(get, found, ended)

    asyncio.run(everything())


async def _in_tasks(get: Callable[[], object], found: _Found, ended: threading.Event) -> None:
    async def one() -> None:
        began = time.monotonic()
        try:
            ok = await get()
        except _FAILURES as exc:
            ok = False
            _say(exc)
        found.note(began, ok=ok)

    at = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        while not ended.is_set():
            tasks.create_task(one())
            at += 1 / PER_SECOND
            await asyncio.sleep(max(at - time.monotonic(), 0))


_said: set[str] = set()


def _say(exc: Exception) -> None:
    """Print each kind of failure once; on standard error."""
    kind = f"{type(exc).__name__}: {exc}"[:120]
    if kind not in _said:
        _said.add(kind)
        print(sys.argv[1], kind, file=sys.stderr, flush=True)


LIBRARIES = {"httpx": _httpx, "httpx, async": _async_httpx, "requests": _requests,
             "aiohttp": _aiohttp}  # fmt: skip


def main(library: str, url: str, bootstrap: str, ca: str, push: str) -> None:
    """Call the API until standard input ends."""
    logging.disable()
    found = _Found()
    ended = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    with Client(bootstrap, ca=Path(ca).read_text(), push=push == "push") as pins:
        LIBRARIES[library](pins, url, found, ended)
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
