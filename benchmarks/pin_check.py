"""What the pin check adds to a handshake: the same handshake in memory with and without, in pairs.

Both ends are in this process and no socket is involved, so that little else is measured. The
median of the paired differences is taken, in CPU time of this thread.
"""

from __future__ import annotations

import gc
import ssl
import statistics
import time
from typing import Any

from livepin.pins import Pin
from livepin.testing import Chain, DeliverySimulator, make_chain, server_context

BUDGET = "10 µs with the leaf pinned, 20 µs with the intermediate pinned"

_PAIRS = 1_500
_HOST = "api.example.com"


def run() -> dict[str, Any]:
    """Return, per case, the time of a plain handshake and what the check adds, in microseconds."""
    chain = make_chain(_HOST, intermediate=True)
    assert chain.intermediate is not None
    return {
        "leaf pinned": _measure(chain, chain.pin),
        "intermediate pinned": _measure(chain, chain.intermediate.pin),
    }


def _measure(chain: Chain, pin: Pin) -> dict[str, float]:
    delivery = DeliverySimulator()
    delivery.pin(_HOST, pin)
    server = server_context(chain)
    server.num_tickets = 0
    ca = chain.authority.pem
    plain = ssl.create_default_context(cadata=ca)
    with delivery.client(ca=ca) as pins:
        pinned = pins.context()
        return _paired(plain, pinned, server)


def _paired(
    plain: ssl.SSLContext, pinned: ssl.SSLContext, server: ssl.SSLContext
) -> dict[str, float]:
    for _ in range(50):
        _handshake(plain, server), _handshake(pinned, server)
    gc.disable()
    try:
        pairs = []
        for number in range(_PAIRS):
            # Whichever is first has the colder caches; so they take turns.
            first, second = (plain, pinned) if number % 2 else (pinned, plain)
            times = {first: _handshake(first, server), second: _handshake(second, server)}
            pairs.append((times[plain], times[pinned]))
    finally:
        gc.enable()
    return {
        "plain handshake µs": round(statistics.median(each for each, _ in pairs) * 1e6, 1),
        "added µs": round(statistics.median(b - a for a, b in pairs) * 1e6, 1),
    }


def _handshake(context: ssl.SSLContext, server: ssl.SSLContext) -> float:
    """Return the client's CPU time of one handshake, from wrapping to the end of the check."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    other = server.wrap_bio(to_server, to_client, server_side=True)
    spent = -time.thread_time()
    tls = context.wrap_bio(to_client, to_server, server_hostname=_HOST)
    spent += time.thread_time()
    done = False
    while not done:
        spent -= time.thread_time()
        done = _step(tls)
        spent += time.thread_time()
        _step(other)
    return spent


def _step(end: ssl.SSLObject) -> bool:
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True
