"""A delivery service gone mad, and attackers on its channels: the app goes on, and only upwards.

Two seconds in each run of the tests, minutes in `make torture`. Chance decides what the app does
next, and what each connection is answered: well, late, in part, wrongly, with what is old, not.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from livepin import Client, LivepinError, Pin, PinMismatchError
from livepin.client import HTTPFetcher
from livepin.jose import PrivateKey
from livepin.testing import (
    Authority,
    Chain,
    DeliverySimulator,
    RecordingServer,
    make_chain,
)

HOST = "localhost"
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer s3cret\r\n\r\n"
MOST_ROOTS = 24  # the app may be as far behind, and one update walks 32
PATIENCE = 60.0  # seconds, on a busy machine


class Chaos:
    """Handles each connection of the delivery service, or of a recovery URL, as chance has it."""

    def __init__(self, simulator: DeliverySimulator, chance: random.Random) -> None:
        self.simulator = simulator
        self.attacker = DeliverySimulator()  # the account of one who pins himself
        self.calm = False
        self.connections = 0
        self.old: list[bytes] = []  # documents that were good once
        self._chance = chance
        self.lock = threading.RLock()  # of the account and of chance

    def __call__(self, sock: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            data = sock.recv(65536)
            if not data:
                return
            head += data
        lines = head.decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        with self.lock:
            self.connections += 1
            chance = random.Random(self._chance.random())
            status, extra, body = self._good(lines[0].split(" ")[1], headers)
        ways = [self.well] * 5 + [
            self.nothing, self.in_part, self.dripping, self.garbage, self.mangled, self.outdated,
            self.forged, self.nothing_new, self.not_gzip, self.failing, self.late,
        ]  # fmt: skip
        way = self.well if self.calm else chance.choice(ways)
        way(sock, chance, status, extra, body)

    def _good(self, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        if not path.endswith("/events"):
            return self.simulator.respond(path, headers)
        members = {"stream": "main", "root_version": self.simulator.root_version}
        event = json.dumps(members | {"version": self.simulator.version})
        return 200, {"Content-Type": "text/event-stream"}, f"data: {event}\n\n".encode()

    def _text(self, status: int, extra: dict[str, str], body: bytes) -> bytes:
        fields = {"Content-Length": str(len(body)), **extra}
        text = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"HTTP/1.1 {status} X\r\n{text}\r\n".encode() + body

    def well(self, sock: Any, _: random.Random, *answer: Any) -> None:
        sock.sendall(self._text(*answer))

    def nothing(self, _sock: Any, _: random.Random, *_answer: Any) -> None:
        """Hang up."""

    def in_part(self, sock: Any, chance: random.Random, *answer: Any) -> None:
        text = self._text(*answer)
        sock.sendall(text[: chance.randrange(len(text))])

    def dripping(self, sock: Any, _: random.Random, *answer: Any) -> None:
        sock.settimeout(0.001)
        for byte in self._text(*answer):
            sock.sendall(bytes([byte]))
            with contextlib.suppress(TimeoutError):
                if not sock.recv(65536):
                    return

    def late(self, sock: Any, chance: random.Random, *answer: Any) -> None:
        sock.settimeout(chance.uniform(0.05, 0.6))
        with contextlib.suppress(TimeoutError):
            sock.recv(65536)  # nothing comes until who asked hangs up
        sock.sendall(self._text(*answer))

    def garbage(self, sock: Any, chance: random.Random, *_: Any) -> None:
        start = chance.choice([b"", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nX:"])
        sock.sendall(start + chance.randbytes(chance.randrange(4096)))

    def mangled(self, sock: Any, chance: random.Random, *answer: Any) -> None:
        status, extra, body = answer
        changed = bytearray(body or b"x")
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        sock.sendall(self._text(status, extra, bytes(changed)))

    def outdated(self, sock: Any, chance: random.Random, *_: Any) -> None:
        sock.sendall(self._text(200, {}, chance.choice(self.old)))

    def forged(self, sock: Any, *_: Any) -> None:
        """Answer with what would come next, but for the pins and the key."""
        ours = self.attacker
        with self.lock:
            newest = {"root_version": self.simulator.root_version, "version": 10**6}
        sock.sendall(self._text(200, {}, ours.sign(ours.document(**newest))))

    def nothing_new(self, sock: Any, *_: Any) -> None:
        sock.sendall(b"HTTP/1.1 304 Not Modified\r\n\r\n")

    def not_gzip(self, sock: Any, chance: random.Random, *answer: Any) -> None:
        packed = gzip.compress(answer[2])
        body = chance.choice([answer[2], packed[:-1], packed + b"x", packed[::-1]])
        sock.sendall(self._text(200, {"Content-Encoding": "gzip"}, body))

    def failing(self, sock: Any, chance: random.Random, *_: Any) -> None:
        status = chance.choice([301, 400, 404, 429, 500, 503, 999])
        sock.sendall(self._text(status, {"Location": "https://evil.example/"}, b"{}"))


class World:
    """An app with its store, the API that it is for, an attacker of that, and the chaos."""

    def __init__(self, chaos: Chaos, chance: random.Random, path: Path) -> None:
        self.chaos, self.simulator, self._chance, self._path = chaos, chaos.simulator, chance, path
        self.allowed: dict[tuple[int, int], frozenset[Pin]] = {}  # pins of the API by version
        self.refused = 0
        self.genuine: RecordingServer
        self.rogue: RecordingServer
        self.chains: list[Chain] = []
        self.pins: Client

    def started(self) -> None:
        """Publish for the first time, and start the app."""
        self.publish()
        self._bootstrap = self.simulator.bootstrap()
        self.chaos.attacker.pin(HOST, self.chains[-1].pin)
        self.chaos.old.append(self.simulator.config)
        self.run()

    def run(self) -> None:
        """Start the app."""
        self.pins = Client(
            self._bootstrap,
            store=self._path,
            ca=self.chains[0].authority.pem,
            clock=self.simulator.clock,
            fetcher=HTTPFetcher(),
        )

    @property
    def order(self) -> tuple[int, int, int]:
        """What must never go down: the newest root; root and version of the active config."""
        state = self.pins._trusted()
        return (state.root.version, *state.order)

    def publish(self) -> None:
        """Pin one key of the API, the other, or both."""
        pins = self._chance.choice([(0,), (1,), (0, 1), (0, 1)])
        found = [self.chains[each].pin for each in pins]
        with self.chaos.lock:
            order = self.simulator.root_version, self.simulator.version + 1
            self.allowed[order] = frozenset(found)
            self.chaos.old.append(self.simulator.config)
            self.simulator.pin(HOST, *found)

    def publish_root(self) -> None:
        """Change the online key, too."""
        if self.simulator.root_version == MOST_ROOTS:
            return
        with self.chaos.lock:
            self.simulator.keys["config"] = PrivateKey.generate()
            self.chaos.old += self.simulator.roots.values()
            self.simulator.publish_root()
            self.publish()

    def refresh(self) -> None:
        """Fetch within a time that may be too short."""
        try:
            self.pins.refresh(timeout=self._chance.uniform(0.05, 0.6))
        except LivepinError:
            self.refused += 1

    def call(self) -> None:
        """Send a secret to the API; pins that were in force meanwhile say whether it may leave."""
        chain = self._chance.choice(self.chains[:2])
        self.genuine.present(chain)
        before = self.order[1:]
        sent = self._reaches(self.genuine)
        meanwhile = [p for at, p in self.allowed.items() if before <= at <= self.order[1:]]
        assert sent in {chain.pin in each for each in meanwhile}

    def attack(self) -> None:
        """Let the attacker answer in place of the API."""
        assert not self._reaches(self.rogue)
        assert not self.rogue.received

    def restart(self) -> None:
        """End the app, and start it with what it has stored."""
        self.pins.close()
        self.run()

    def _reaches(self, server: RecordingServer) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as sock:
                with self.pins.context().wrap_socket(sock, server_hostname=HOST) as tls:
                    tls.sendall(REQUEST)
                    answer = tls.recv(65536)
        except PinMismatchError:
            return False
        # Empty: newer pins came meanwhile, and ended the open connection.
        assert answer == b"" or answer.startswith(b"HTTP/1.1 200")
        return answer != b""


@pytest.fixture
def world(
    torture: Any,
    odd_server: Callable[..., Any],
    delivery_chain: Chain,
    public_ca: Authority,
    quick_healing: None,
    tmp_path: Path,
) -> Iterator[World]:
    simulator = DeliverySimulator()
    chaos = Chaos(simulator, random.Random(torture.chance.random()))
    found = World(chaos, torture.chance, tmp_path / "state.json")
    simulator.urls = (odd_server(chaos, tls=True).url,)
    simulator.recovery_urls = (odd_server(chaos).url,)
    simulator.delivery_pins, simulator.ca = (delivery_chain.pin,), delivery_chain.authority.pem
    found.chains = [make_chain(HOST, authority=public_ca) for _ in range(3)]
    with RecordingServer(found.chains[0]) as found.genuine:
        with RecordingServer(found.chains[2]) as found.rogue:
            found.started()
            yield found
            found.pins.close()


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_whatever_is_answered_nothing_goes_down_and_nothing_unpinned_leaves(
    world: World, torture: Any
) -> None:
    steps = (
        [world.refresh] * 8
        + [world.call] * 6
        + [world.attack] * 2
        + [world.publish] * 3
        + [world.publish_root, world.restart]
    )
    end, done = time.monotonic() + torture.seconds, 0
    while time.monotonic() < end:
        before = world.order
        torture.chance.choice(steps)()
        assert world.order >= before
        done += 1
    world.chaos.calm = True
    newest = world.simulator.root_version, world.simulator.version
    while world.order[1:] != newest:
        assert time.monotonic() < end + PATIENCE
        with contextlib.suppress(LivepinError):  # of an update that began before the calm
            world.pins.refresh()
    world.call()
    world.attack()
    world.restart()
    assert world.order[1:] == newest
    assert world.pins.status().store_problem is None
    torture.count("steps", done)
    torture.count("answers", world.chaos.connections)
    torture.count("refreshes refused", world.refused)
