"""Each address of each of many endpoints, several at once: what `probe` sees of one of them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue

from msgspec import structs

from .probe import Observation, Target, probe, short

AT_ONCE = 32
MOST_ADDRESSES = 16  # of an endpoint
_PATIENCE = 5.0  # seconds for an address

_Task = tuple[int, Target, str | None]  # an address to look at, or None to resolve it


def resolved(target: Target) -> list[str]:
    """Return the addresses of an endpoint as HOST:PORT, IPv4 and IPv6; none if it has none."""
    host, port = target.address()
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    # Without the scope that only this machine knows, which is no part of an address.
    addresses = dict.fromkeys(str(each[4][0]).partition("%")[0] for each in found)
    kept = [*addresses][:MOST_ADDRESSES]
    return [f"[{each}]:{port}" if ":" in each else f"{each}:{port}" for each in kept]


def look_at_each(
    targets: Sequence[Target],
    *,
    seconds: float,
    resolve: Callable[[Target], list[str]] = resolved,
) -> Iterator[tuple[int, Observation]]:
    """Give what is seen as it comes, each with the index of its target; end when time is up.

    It waits for nobody then: name servers and endpoints may hang, and their threads end later.
    """
    deadline = time.monotonic() + seconds
    todo: SimpleQueue[_Task | None] = SimpleQueue()
    done: SimpleQueue[tuple[int, Observation | list[str]]] = SimpleQueue()
    for at, target in enumerate(targets):
        todo.put((at, target, None))
    threads = min(AT_ONCE, len(targets) * MOST_ADDRESSES)
    for _ in range(threads):
        threading.Thread(target=_work, args=(todo, done, resolve, deadline), daemon=True).start()
    missing = len(targets)
    try:
        while missing:
            at, found = done.get(timeout=max(deadline - time.monotonic(), 0))
            if isinstance(found, Observation):
                missing -= 1
                yield at, found
                continue
            missing += len(found) - 1
            for address in found:
                todo.put((at, targets[at], address))
            if not found:
                yield at, _unresolved(targets[at])
    except Empty:
        return
    finally:
        for _ in range(threads):
            todo.put(None)


def _work(
    todo: SimpleQueue[_Task | None],
    done: SimpleQueue[tuple[int, Observation | list[str]]],
    resolve: Callable[[Target], list[str]],
    deadline: float,
) -> None:
    while (task := todo.get()) is not None:
        at, target, address = task
        if address is None:
            done.put((at, resolve(target)))
        else:
            done.put((at, _seen(target, address, deadline)))


def _seen(target: Target, address: str, deadline: float) -> Observation:
    timeout = min(_PATIENCE, max(deadline - time.monotonic(), 0.1))
    found = probe(structs.replace(target, connect=address), timeout=timeout)
    chain = [short(each) for each in found.chain]
    refused = [] if found.verified else [short(each) for each in found.presented[:1]]
    where = found.address or address.rpartition(":")[0].strip("[]")
    return structs.replace(found, address=where, chain=chain, presented=refused)


def _unresolved(target: Target) -> Observation:
    error = f"{target.address()[0]} does not resolve to an address"
    return Observation(host=target.host, port=target.port, error=error)
