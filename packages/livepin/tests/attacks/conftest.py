"""A device that is attacked: an app with a file store, over real TLS, and who answers it."""

from __future__ import annotations

import contextlib
import datetime as dt
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from livepin import Bootstrap, Client, Pin, PinMismatchError, RollbackError, VerificationError
from livepin.client import HTTPFetcher, healing
from livepin.documents import Mode
from livepin.jose import b64url_encode
from livepin.jsontext import dump
from livepin.testing import Authority, Chain, RecordingServer, make_authority, make_chain

if TYPE_CHECKING:
    from conftest import Delivery, PlainServer

HOST = "localhost"
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer s3cret\r\n\r\n"
Answer = tuple[int, dict[str, str], bytes]


class Device:
    """An app on a device. Its delivery service is genuine until an attacker answers instead.

    The attacker owns the delivery service, or blocks it and sits on the unpinned recovery
    channel: `channel` says which. He may answer with any bytes.
    """

    def __init__(self, delivery: Delivery, recovery: PlainServer | None, folder: Path) -> None:
        self.simulator = delivery.simulator
        self.clock = delivery.simulator.clock
        self.path = folder / "state.json"
        self.ca: str | None = None
        self._answer: Callable[[str, dict[str, str]], Answer] | None = None
        self._by_recovery = recovery is not None
        self._client: Client | None = None
        delivery.answer = self._delivery
        if recovery is not None:
            delivery.simulator.recovery_urls = (recovery.url,)
        delivery.simulator.pin("api.example.com", Pin(b"\1" * 32))
        self.bootstrap = self.simulator.bootstrap()

    @property
    def pins(self) -> Client:
        """The running app."""
        return self._client or self.start()

    def start(self, bootstrap: Bootstrap | None = None) -> Client:
        """Start the app, or start it again; a bootstrap is an update from the app store."""
        self.stop()
        self.bootstrap = bootstrap or self.bootstrap
        self._client = Client(
            self.bootstrap,
            store=self.path,
            ca=self.ca,
            clock=self.clock,
            push=False,
            reports=False,
            fetcher=HTTPFetcher(),
        )
        return self._client

    def stop(self) -> None:
        """End the app; what it knows is in its file."""
        if self._client is not None:
            self._client.close()
        self._client = None

    def holds(self) -> tuple[Any, ...]:
        """Return what the app trusts, and what its file says."""
        status = self.pins.status()
        stored = self.path.read_bytes() if self.path.exists() else None
        return status.root_version, status.version, self.pins.pins(), stored

    @property
    def order(self) -> tuple[int, int]:
        """The versions of the newest root and of the active config."""
        status = self.pins.status()
        return status.root_version, status.version

    def update(self) -> None:
        """Fetch what the genuine service has, and see that it is active."""
        self._answer = None
        self.pins.refresh()
        assert self.order == (self.simulator.root_version, self.simulator.version)

    def offer(self, config: bytes, roots: dict[int, bytes] | None = None, **headers: str) -> None:
        """Let the attacker answer from now on."""
        base = f"/v1/{self.simulator.account}"
        answers = {f"{base}/root/{n}": raw for n, raw in (roots or {}).items()}
        answers[f"{base}/config/{self.simulator.stream}"] = config

        def answer(path: str, _: dict[str, str]) -> Answer:
            return (200, headers, answers[path]) if path in answers else (404, {}, b"{}")

        self._answer = answer

    def frozen(self, status: int = 304) -> None:
        """Let the attacker answer with nothing but a status."""
        self._answer = lambda _path, _headers: (status, {}, b"")

    def takes(self, config: bytes, roots: dict[int, bytes] | None = None) -> None:
        """Check that what the attacker answers is accepted, as it must be."""
        self.offer(config, roots)
        self.pins.refresh()

    def refuses(
        self, config: bytes, roots: dict[int, bytes] | None = None, *, rule: int
    ) -> VerificationError:
        """Check that a rule refuses what the attacker answers, and that it changes nothing.

        Not before a restart, and not after it.
        """
        before = self.holds()
        self.offer(config, roots)
        with pytest.raises(VerificationError) as caught:
            self.pins.refresh()
        assert caught.value.rule == rule, str(caught.value)
        assert isinstance(caught.value, RollbackError) is (rule == 7)
        assert self.pins.status().last_error_rule == rule
        assert self.holds() == before
        self.start()
        assert self.holds() == before
        assert self.pins.status().store_problem is None
        return caught.value

    def reaches(self, server: RecordingServer) -> bool:
        """Send a request with a secret; tell whether the pins allowed it.

        A refused server has not been sent a byte.
        """
        received = len(server.received)
        try:
            with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
                with self.pins.context().wrap_socket(sock, server_hostname=HOST) as tls:
                    tls.sendall(REQUEST)
                    assert tls.recv(65536).startswith(b"HTTP/1.1 200")
        except PinMismatchError:
            server.wait_closed()
            assert len(server.received) == received
            return False
        return True

    def _delivery(self, path: str, headers: dict[str, str]) -> Answer:
        if self._answer is None:
            return self.simulator.respond(path, headers)
        return (503, {}, b"") if self._by_recovery else self._answer(path, headers)

    def recover(self, path: str, headers: dict[str, str]) -> Answer:
        """Answer on the recovery channel."""
        answer = self._answer if self._answer is not None else self.simulator.respond
        return answer(path, headers)


@pytest.fixture
def device(
    request: pytest.FixtureRequest,
    delivery: Delivery,
    plain_server: Callable[..., PlainServer],
    tmp_path: Path,
) -> Iterator[Device]:
    """A device with an attacker at one of two places; see `pytest_generate_tests`."""
    found: Device
    recovery = None
    if getattr(request, "param", "delivery") == "recovery":
        recovery = plain_server(lambda path, headers: found.recover(path, headers))
    found = Device(delivery, recovery, tmp_path)
    yield found
    found.stop()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Play an attack on documents at both places where an attacker may answer."""
    if "device" in metafunc.fixturenames:
        metafunc.parametrize("device", ["delivery", "recovery"], indirect=True)


@pytest.fixture
def quick_healing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a refused handshake wait for newer pins for less than five seconds."""
    monkeypatch.setattr(healing, "DEADLINE", 0.2)


@pytest.fixture(scope="session")
def public_ca() -> Authority:
    """A CA that the device trusts, and that certified the attacker too."""
    return make_authority("Public CA")


@pytest.fixture(scope="session")
def genuine_chain(public_ca: Authority) -> Chain:
    """The chain of the API that the app is for."""
    return make_chain(HOST, authority=public_ca)


@pytest.fixture(scope="session")
def rogue_chain(public_ca: Authority) -> Chain:
    """The attacker's chain for the same host."""
    return make_chain(HOST, authority=public_ca)


@pytest.fixture
def servers(
    device: Device, genuine_chain: Chain, rogue_chain: Chain, quick_healing: None
) -> Iterator[tuple[RecordingServer, RecordingServer]]:
    """The API that the app is for, and the attacker's; the device pins the first."""
    device.ca = genuine_chain.authority.pem
    device.simulator.pin(HOST, genuine_chain.pin)
    device.bootstrap = device.simulator.bootstrap()
    with contextlib.ExitStack() as stack:
        yield tuple(
            stack.enter_context(RecordingServer(chain)) for chain in (genuine_chain, rogue_chain)
        )


class Pentest:
    """An account with a tester's device and others, each with a key and a store of its own.

    `rogue` is the proxy of the tester, which presents a certificate that each device trusts;
    `genuine` is the API. The service gives a device what `serve` laid there for it.
    """

    def __init__(
        self, delivery: Delivery, folder: Path, genuine: RecordingServer, rogue: RecordingServer
    ) -> None:
        self.simulator = delivery.simulator
        self.clock = delivery.simulator.clock
        self.genuine, self.rogue = genuine, rogue
        self.ca: str | None = None
        self._delivery = delivery
        self._folder = folder
        self._running: dict[str, Client] = {}

    def start(self, name: str = "tester") -> Client:
        """Start the app on a device; if it runs there, it is killed: nobody closes it."""
        self._running[name] = self._delivery.client(store=self._folder / name, ca=self.ca)
        return self._running[name]

    def unpin(self, pins: Client, **options: Any) -> None:
        """Unpin the API on one device, and see that it has heard of it."""
        self.simulator.override(pins.installation_thumbprint, HOST, mode=Mode.OFF, **options)
        assert any(self.reaches(pins, self.rogue) for _ in range(10))  # healing is short here

    def serve(self, pins: Client, raw: bytes) -> None:
        """Give a device any bytes for its override."""
        self.simulator.overrides[pins.installation_thumbprint] = raw

    def reaches(self, pins: Client, server: RecordingServer) -> bool:
        """Send a request with a secret; tell whether it was sent. A refused server has no byte."""
        received = len(server.received)
        try:
            with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
                with pins.context().wrap_socket(sock, server_hostname=HOST) as tls:
                    tls.sendall(REQUEST)
                    assert tls.recv(65536).startswith(b"HTTP/1.1 200")
        except PinMismatchError:
            server.wait_closed()
            assert len(server.received) == received
            return False
        return True

    def refuses(self, pins: Client, raw: bytes, *, rule: int) -> None:
        """Check that a rule refuses an override, and that the device stays as it was."""
        before = pins.status().override
        self.serve(pins, raw)
        for _ in range(10):
            assert not self.reaches(pins, self.rogue)
            if pins.status().override_problem:
                break
        assert (pins.status().override_problem or "").startswith(f"rule {rule}: ")
        assert pins.status().override == before
        assert self.reaches(pins, self.genuine)

    def ignores(self, pins: Client, raw: bytes) -> None:
        """Check that an override which has ended on a device does nothing there, and is no news."""
        self.serve(pins, raw)
        for _ in range(3):
            assert not self.reaches(pins, self.rogue)
        assert pins.status().override_problem is None
        assert pins.status().override is None
        assert self.reaches(pins, self.genuine)

    def close(self) -> None:
        """End all apps."""
        for each in self._running.values():
            each.close()


@pytest.fixture
def pentest(
    delivery: Delivery,
    genuine_chain: Chain,
    rogue_chain: Chain,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Pentest]:
    """Devices, one of which is to be tested; see `Pentest`."""
    monkeypatch.setattr(healing, "DEADLINE", 0.3)
    monkeypatch.setattr(healing, "_PAUSE", 0.05)
    monkeypatch.setattr(healing, "_FIRST_BACKOFF", 0.0)
    monkeypatch.setattr(healing, "_LONGEST_BACKOFF", 0.0)
    # Not by the name of the API: no override covers a delivery host.
    delivery.publish(urls=(f"https://127.0.0.1:{delivery.server.port}",))
    delivery.simulator.pin(HOST, genuine_chain.pin)
    with RecordingServer(genuine_chain) as genuine, RecordingServer(rogue_chain) as rogue:
        found = Pentest(delivery, tmp_path, genuine, rogue)
        found.ca = genuine_chain.authority.pem
        yield found
        found.close()


@pytest.fixture(scope="session")
def compact() -> Callable[[dict[str, Any], bytes, Callable[[bytes], bytes]], bytes]:
    """Make a compact JWS of any header, signed by any function."""

    def make(header: dict[str, Any], payload: bytes, sign: Callable[[bytes], bytes]) -> bytes:
        signing_input = b64url_encode(dump(header)) + b"." + b64url_encode(payload)
        return signing_input + b"." + b64url_encode(sign(signing_input))

    return make


@pytest.fixture(scope="session")
def refused() -> Callable[..., VerificationError]:
    """Check that a step is refused by a rule: `refused(rule, step, *arguments)`."""

    def check(rule: int, step: Callable[..., Any], *args: Any, **options: Any) -> VerificationError:
        with pytest.raises(VerificationError) as caught:
            step(*args, **options)
        assert caught.value.rule == rule, str(caught.value)
        return caught.value

    return check


@pytest.fixture
def ago(device: Device) -> Callable[..., contextlib.AbstractContextManager[None]]:
    """Set the account's clock back for a while: `with ago(days=3)`."""

    @contextlib.contextmanager
    def travel(**delta: float) -> Iterator[None]:
        back = dt.timedelta(**delta)
        device.clock.now -= back
        yield
        device.clock.now += back

    return travel
