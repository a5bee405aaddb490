"""What a process trusts, and its store: it only moves up, whatever happens to either."""

from __future__ import annotations

import datetime as dt
import json
import random
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from livepin import PinMismatchError
from livepin.bootstrap import Bootstrap
from livepin.client import FileStore, MemoryStore
from livepin.client.store import Store
from livepin.client.trusted import Trusted
from livepin.documents import Mode
from livepin.errors import StoreError
from livepin.jose import PrivateKey
from livepin.pins import Pin
from livepin.testing import DeliverySimulator, RecordingServer, make_chain
from livepin.trust import MAX_STORED, TrustedState


@pytest.fixture
def simulator() -> DeliverySimulator:
    return DeliverySimulator()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def trusted(simulator: DeliverySimulator, store: Store, bootstrap: Bootstrap | None = None):
    return Trusted(
        bootstrap or simulator.bootstrap(), store, clock=simulator.clock, on_change=lambda: None
    )


def advanced(simulator: DeliverySimulator, bootstrap: Bootstrap) -> bytes:
    """Return the stored form of the simulator's newest config over a bootstrap."""
    return TrustedState.from_bootstrap(bootstrap).advance_config(simulator.config).dump()


# -- moving up ---------------------------------------------------------------------------------


def test_a_newer_state_is_adopted_stored_and_told(simulator: DeliverySimulator) -> None:
    told, store = [], MemoryStore()
    active = Trusted(
        simulator.bootstrap(), store, clock=simulator.clock, on_change=lambda: told.append(1)
    )
    state = active().advance_config(simulator.publish())
    assert active.adopt(state)
    assert active().order == (1, simulator.version)
    assert store.data == state.dump()
    assert told == [1]
    assert not active.adopt(state)  # the same is no news
    assert told == [1]


def test_whoever_waits_for_a_change_is_woken(simulator: DeliverySimulator) -> None:
    active = trusted(simulator, MemoryStore())
    state = active().advance_config(simulator.publish())
    with active.changed:
        thread = threading.Thread(target=active.adopt, args=(state,))
        thread.start()
        assert active.changed.wait_for(lambda: active().order == state.order, timeout=10)
    thread.join()


def test_an_older_state_changes_nothing(simulator: DeliverySimulator) -> None:
    store = MemoryStore()
    active = trusted(simulator, store)
    older = active().advance_config(simulator.publish())
    newer = active().advance_config(simulator.publish())
    active.adopt(newer)
    stored = store.data
    assert not active.adopt(older)
    assert active().order == newer.order
    assert store.data is stored


@pytest.mark.parametrize("root_first", [True, False])
@pytest.mark.parametrize("shared", [True, False], ids=["two-processes", "two-threads"])
def test_of_two_that_got_further_in_root_and_in_config_both_count(
    simulator: DeliverySimulator, path: Path, root_first: bool, shared: bool
) -> None:
    """A late root over an old config must not bring the old config back (rule 7)."""
    bootstrap = simulator.bootstrap()
    first = trusted(simulator, FileStore(path), bootstrap)
    second = trusted(simulator, FileStore(path), bootstrap) if shared else first
    with_config = first().advance_config(simulator.publish())
    with_root = second().advance_root(simulator.publish_root())
    if root_first:
        second.adopt(with_root)
        first.adopt(with_config)
    else:
        first.adopt(with_config)
        second.adopt(with_root)
    last = first if root_first else second
    for active in (last, trusted(simulator, FileStore(path), bootstrap)):
        assert (active().root.version, active().order) == (2, with_config.order)


def test_the_latest_time_of_issue_of_both_counts(simulator: DeliverySimulator) -> None:
    active = trusted(simulator, MemoryStore())
    simulator.clock.advance(hours=2)
    late = active().advance_config(simulator.publish())
    simulator.clock.advance(hours=-1)
    newer = active().advance_config(simulator.publish())
    active.adopt(late)
    active.adopt(newer)
    assert active().order == newer.order
    assert active().latest_issued == late.latest_issued


def test_a_config_of_a_chain_that_parted_is_not_taken_over(simulator: DeliverySimulator) -> None:
    """Two second roots, each well signed: whoever did that, the active chain stays whole."""
    bootstrap = simulator.bootstrap()
    base = TrustedState.from_bootstrap(bootstrap)
    ours = base.advance_root(simulator.publish_root())
    simulator.keys["config"] = PrivateKey.generate()
    del simulator.roots[2]
    theirs = base.advance_root(simulator.publish_root())
    theirs = theirs.advance_config(simulator.publish())
    longer = ours.advance_root(simulator.publish_root())
    assert theirs.order > longer.order
    assert longer.newest(theirs) is longer
    assert theirs.newest(longer) is longer


def test_many_threads_leave_the_newest(simulator: DeliverySimulator, path: Path) -> None:
    active = trusted(simulator, FileStore(path))
    states = [active().advance_config(simulator.publish()) for _ in range(16)]
    random.Random(7).shuffle(states)
    threads = [threading.Thread(target=active.adopt, args=(state,)) for state in states]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert active().config.version == simulator.version
    assert trusted(simulator, FileStore(path))().config.version == simulator.version


def test_what_another_process_stored_meanwhile_is_taken(simulator: DeliverySimulator) -> None:
    bootstrap, store = simulator.bootstrap(), MemoryStore()
    slow, quick = (trusted(simulator, store, bootstrap) for _ in range(2))
    state = slow().advance_config(simulator.publish())
    quick.adopt(quick().advance_config(simulator.publish()))
    stored = store.data
    assert slow.adopt(state)
    assert slow().config.version == simulator.version
    assert store.data == stored


# -- the store at the start --------------------------------------------------------------------


def test_a_stored_state_is_newer_than_the_bootstrap(simulator: DeliverySimulator) -> None:
    bootstrap = simulator.bootstrap()
    simulator.publish()
    active = trusted(simulator, MemoryStore(advanced(simulator, bootstrap)), bootstrap)
    assert active().config.version == simulator.version
    assert active.problem is None


def test_an_app_update_with_a_newer_bootstrap_wins(simulator: DeliverySimulator) -> None:
    old = simulator.bootstrap()
    simulator.publish()
    stored = MemoryStore(advanced(simulator, old))
    simulator.publish_root()
    simulator.publish()
    stored.data = (
        TrustedState.load(stored.data or b"", old, now=simulator.clock())
        .advance_root(simulator.roots[2])
        .dump()
    )
    active = trusted(simulator, stored, simulator.bootstrap())
    assert (active().root.version, active().order) == (2, (2, simulator.version))
    assert active.problem is None


def test_an_app_update_with_an_unrelated_root_replaces_the_store(
    simulator: DeliverySimulator,
) -> None:
    """So an app release cures a stolen root key."""
    old = simulator.bootstrap()
    simulator.publish()
    store = MemoryStore(advanced(simulator, old))
    cured = DeliverySimulator()
    active = trusted(cured, store)
    assert active().root == TrustedState.from_bootstrap(cured.bootstrap()).root
    assert "rule 10" in (active.problem or "")
    assert (store.data, store.corrupt) == (None, advanced(simulator, old))


def damaged(simulator: DeliverySimulator, how: str) -> bytes:
    whole = advanced(simulator, simulator.bootstrap())
    members = json.loads(whole)
    if how == "half":
        return whole[: len(whole) // 2]
    if how == "zeros":
        return bytes(len(whole))  # what some file systems leave after a power cut
    if how == "one byte":
        middle = whole.index(b'"config":"') + 400
        return whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    if how == "another account":
        other = DeliverySimulator(account="other")
        return advanced(other, other.bootstrap())
    if how == "another format":
        return json.dumps(members | {"format": "livepin-state/2"}).encode()
    if how == "member of a wrong type":
        return json.dumps(members | {"roots": 7}).encode()
    if how == "no roots":
        return json.dumps(members | {"roots": []}).encode()
    return {"empty": b"", "garbage": b"\xff\xfe garbage", "nested": b"[" * 100_000}[how]


DAMAGE = [
    "empty", "garbage", "nested", "half", "zeros", "one byte", "another account", "another format",
    "member of a wrong type", "no roots",
]  # fmt: skip


@pytest.mark.parametrize("how", DAMAGE)
def test_damage_falls_back_to_the_bootstrap_and_is_kept(
    simulator: DeliverySimulator, path: Path, how: str
) -> None:
    data = damaged(simulator, how)
    path.write_bytes(data)
    active = trusted(simulator, FileStore(path))
    assert active().dump() == TrustedState.from_bootstrap(simulator.bootstrap()).dump()
    assert "the stored state was not used: rule" in (active.problem or "")
    assert path.with_name("state.json.corrupt").read_bytes() == data
    assert not path.exists()

    assert active.adopt(active().advance_config(simulator.publish()))
    assert active.problem is None  # it is stored again
    assert trusted(simulator, FileStore(path))().config.version == simulator.version


@pytest.mark.parametrize("how", DAMAGE)
def test_damage_that_comes_later_is_kept_and_written_over(
    simulator: DeliverySimulator, path: Path, how: str
) -> None:
    active = trusted(simulator, FileStore(path))
    path.write_bytes(data := damaged(simulator, how))
    assert active.adopt(active().advance_config(simulator.publish()))
    assert active.problem is None
    assert path.with_name("state.json.corrupt").read_bytes() == data
    assert trusted(simulator, FileStore(path))().config.version == simulator.version


def test_more_than_fits_is_damage(simulator: DeliverySimulator, path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MAX_STORED + 1)
    active = trusted(simulator, FileStore(path))
    assert "rule 1" in (active.problem or "")
    assert path.with_name("state.json.corrupt").exists()


def test_the_app_goes_on_pinned_when_its_store_is_damaged(path: Path) -> None:
    path.write_bytes(b"half of a st")
    chain, simulator = make_chain("localhost"), DeliverySimulator(reachable=False)
    simulator.pin("localhost", make_chain("localhost").pin)
    with (
        RecordingServer(chain) as server,
        simulator.client(store=path, ca=chain.authority.pem) as pins,
    ):
        pins.context()._healer = None
        with pytest.raises(PinMismatchError):
            connect(pins, server.port)
        assert "not used" in (pins.status().store_problem or "")
        assert bytes(server.received) == b""


def connect(pins, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        with pins.context().wrap_socket(sock, server_hostname="localhost") as tls:
            tls.sendall(b"GET / HTTP/1.1\r\n\r\n")


class Replaced(MemoryStore):
    """A store that another process repairs right after this one has read damage."""

    def __init__(self, good: bytes) -> None:
        super().__init__(b"damage")
        self.good = good

    def load(self) -> bytes | None:
        data, self.data = self.data, self.good
        return data


def test_a_good_state_stored_meanwhile_is_not_set_aside(simulator: DeliverySimulator) -> None:
    good = advanced(simulator, simulator.bootstrap())
    store = Replaced(good)
    trusted(simulator, store)
    assert store.data == good
    assert store.corrupt is None


@pytest.mark.parametrize("place", ["missing/state.json", "file/state.json", "folder"])
def test_without_a_usable_store_the_state_moves_up_in_memory(
    simulator: DeliverySimulator, tmp_path: Path, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder" / "x").mkdir(parents=True)
    active = trusted(simulator, FileStore(tmp_path / place))
    for _ in range(3):
        assert active.adopt(active().advance_config(simulator.publish()))
    assert active().config.version == simulator.version
    assert str(tmp_path / place) in (active.problem or "")
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == len(set(warnings))  # the same problem is told once


def test_damage_that_cannot_be_set_aside_is_reported(
    simulator: DeliverySimulator, path: Path
) -> None:
    path.write_bytes(b"damage")
    (path.parent / "state.json.corrupt" / "x").mkdir(parents=True)
    active = trusted(simulator, FileStore(path))
    assert "cannot set aside" in (active.problem or "")
    assert active.adopt(active().advance_config(simulator.publish()))


def test_a_store_of_the_apps_own_that_fails_does_not_stop_anything(
    simulator: DeliverySimulator,
) -> None:
    class Failing(MemoryStore):
        def load(self) -> bytes | None:
            raise StoreError("the key chain is locked")

    active = trusted(simulator, Failing())
    assert active.problem == "the key chain is locked"
    assert active.adopt(active().advance_config(simulator.publish()))


# -- processes ---------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from livepin.bootstrap import Bootstrap
from livepin.client import FileStore
from livepin.client.trusted import Trusted
from livepin.errors import RollbackError
from livepin.testing import FakeClock
folder, store, start, step = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
bootstrap = Bootstrap.parse((folder / "bootstrap.json").read_bytes())
trusted = Trusted(bootstrap, FileStore(store), clock=FakeClock(), on_change=lambda: None)
print(trusted().config.version, trusted.problem, flush=True)
for name in sorted(folder.glob("*.config"))[start::step]:
    try:
        trusted.adopt(trusted().advance_config(name.read_bytes()))
    except RollbackError:
        continue
    print(trusted().config.version, trusted.problem, flush=True)
"""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DeliverySimulator]:
    """A folder with a bootstrap and the 150 configs that were published after it."""
    folder, simulator = tmp_path_factory.mktemp("published"), DeliverySimulator()
    simulator.pin("api.example.com", *(Pin(bytes([n]) * 32) for n in range(100)))
    (folder / "bootstrap.json").write_bytes(simulator.bootstrap().to_json())
    for _ in range(150):
        raw = simulator.publish()
        (folder / f"{simulator.version:05}.config").write_bytes(raw)
    return folder, simulator


def writer(folder: Path, store: Path, start: int = 0, step: int = 1) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", WRITER, str(folder), str(store), str(start), str(step)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def loaded(folder: Path, store: Path, simulator: DeliverySimulator) -> Trusted:
    bootstrap = Bootstrap.parse((folder / "bootstrap.json").read_bytes())
    return trusted(simulator, FileStore(store), bootstrap)


@pytest.mark.no_cover
def test_a_process_killed_while_it_writes_never_lowers_the_store(
    published: tuple[Path, DeliverySimulator], path: Path
) -> None:
    folder, simulator = published
    chance, held = random.Random(20261123), 0
    for _ in range(12):
        with writer(folder, path) as child:
            assert child.stdout is not None
            for _ in range(chance.randint(1, 12)):
                line = child.stdout.readline()
                if not line:
                    break  # all are stored
                version, problem = line.split(" ", 1)
                assert int(version) >= held
                assert problem == "None\n"
                held = int(version)
            spin = threading.Event()
            spin.wait(chance.uniform(0, 0.004))  # somewhere within a write or two
            child.kill()
        found = loaded(folder, path, simulator)
        assert found.problem is None
        assert found().config.version >= held
        held = found().config.version
    assert held > simulator.version - 150
    assert {each.name for each in path.parent.iterdir()} <= {
        "state.json", "state.json.lock", "state.json.tmp",
    }  # fmt: skip


def test_two_processes_that_share_a_store_never_lower_it(
    published: tuple[Path, DeliverySimulator], path: Path
) -> None:
    folder, simulator = published
    held = 0
    with writer(folder, path, 0, 6) as first, writer(folder, path, 3, 6) as second:
        while first.poll() is None or second.poll() is None:
            found = loaded(folder, path, simulator)
            assert found.problem is None
            assert found().config.version >= held
            held = found().config.version
    assert (first.returncode, second.returncode) == (0, 0)
    highest = max(range(0, 150, 3))
    assert loaded(folder, path, simulator)().config.version == simulator.version - 149 + highest


FORKED = """
import os, sys, threading
from livepin.testing import DeliverySimulator
simulator = DeliverySimulator()
client = simulator.client()
if "closed" in sys.argv:
    client.close()  # its connections stay pinned, and go on looking for newer pins
inside, over = threading.Event(), threading.Event()
def hold():
    with client._trusted.changed:
        inside.set()
        over.wait()
thread = threading.Thread(target=hold)
thread.start()
inside.wait()
child = os.fork()  # while another thread holds the lock of the state
if not child:
    for _ in range(3):  # a new thread may get the identity of the one that holds the lock
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    simulator.publish()
    client.refresh()
    os._exit(0 if client.status().version == simulator.version else 3)
over.set()
thread.join()
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize("client", ["open", "closed"])
def test_a_forked_child_goes_on_by_itself(client: str) -> None:
    subprocess.run([sys.executable, "-c", FORKED, client], check=True, timeout=60)


# -- overrides, and the run time that they have used up ----------------------------------------

OURS = "i" * 43
HOST = "api.example.com"
DAY = dt.timedelta(days=1)


class Device:
    """A device with an override for a day, that may start the app, and kill it."""

    def __init__(self, simulator: DeliverySimulator, ticks: Any) -> None:
        self.simulator = simulator
        self.ticks = ticks
        self.store = MemoryStore()
        self.told = self.ended = 0
        simulator.pin(HOST, Pin(b"\1" * 32))
        self.bootstrap = simulator.bootstrap()

    def start(self, store: Store | None = None) -> Trusted:
        """Return what a process trusts that starts now; one that ran before is killed."""
        return Trusted(
            self.bootstrap,
            store or self.store,
            clock=self.simulator.clock,
            on_change=self._tell,
            thumbprint=lambda: OURS,
            on_end=self._end,
            ticks=self.ticks,
        )

    def overridden(self, lifetime: dt.timedelta = DAY) -> Trusted:
        """Return what a process trusts that has just taken an override."""
        active = self.start()
        self.take(active, self.simulator.override(OURS, HOST, mode=Mode.OFF, lifetime=lifetime))
        return active

    def take(self, active: Trusted, raw: bytes) -> bool:
        """Adopt an override."""
        now = self.simulator.clock()
        return active.adopt(active().advance_override(raw, thumbprint=OURS, now=now))

    @property
    def stored(self) -> int | None:
        """The run time that is stored, in seconds; None without an override."""
        found = json.loads(self.store.data or b"{}")
        return found["override_used"] if found.get("override") else None

    def _tell(self) -> None:
        self.told += 1

    def _end(self) -> None:
        self.ended += 1


@pytest.fixture
def device(simulator: DeliverySimulator, ticks: Any) -> Device:
    return Device(simulator, ticks)


def in_force(active: Trusted) -> bool:
    return active().trusted_override is not None


def test_an_override_is_adopted_stored_and_there_after_a_restart(device: Device) -> None:
    active = device.overridden()
    assert in_force(active)
    assert device.told == 1
    assert in_force(device.start())
    assert not device.take(active, device.simulator.overrides[OURS])  # the same is no news
    assert device.told == 1


def test_it_ends_by_run_time_though_the_clock_stands_still(device: Device) -> None:
    active = device.overridden()
    device.ticks.advance(24 * 3600 - 1)
    assert in_force(active)
    device.ticks.advance(1)
    assert device.ended == 0
    assert not in_force(active)
    assert not in_force(active)
    assert device.ended == 1
    assert active.override_end() is None
    assert active.until_count() == 0
    active.count()
    assert (device.told, device.stored, active.until_count()) == (2, None, float("inf"))


@pytest.mark.parametrize("seconds", [0, 0.5])
def test_run_time_is_stored_before_it_is_used(device: Device, seconds: float) -> None:
    """An app that is killed again and again gains nothing, however early."""
    device.overridden(dt.timedelta(seconds=5))
    starts = 0
    while in_force(device.start()):
        device.ticks.advance(seconds)
        starts += 1
    assert starts < 5


def test_what_is_stored_in_advance_grows_to_a_minute(device: Device) -> None:
    active = device.overridden()
    found = []
    for _ in range(9):
        found.append(device.stored)
        device.ticks.advance(active.until_count())
        active.count()
    assert found == [1, 2, 4, 8, 16, 32, 64, 124, 184]
    assert device.told == 1


def test_a_crash_costs_no_more_than_the_process_has_run(device: Device) -> None:
    active = device.overridden()
    device.ticks.advance(10)
    active.count()
    assert device.stored == 20
    again = device.start()
    assert again.override_end() == device.simulator.clock() + DAY - dt.timedelta(seconds=20)


def test_nothing_is_stored_until_it_is_due(device: Device) -> None:
    active = device.overridden()
    before = device.store.data
    device.ticks.advance(0.9)
    active.count()
    assert device.store.data is before


def test_its_last_minute_is_not_taken_from_a_process_that_goes_on(device: Device) -> None:
    active = device.overridden(dt.timedelta(seconds=10))
    device.ticks.advance(6)
    active.count()
    assert device.stored is None  # used up in advance
    active.adopt(active().advance_config(device.simulator.publish()))
    assert in_force(active)
    assert active.until_count() == 4
    device.ticks.advance(4)
    assert not in_force(active)


@pytest.mark.parametrize("noticed", [True, False])
def test_a_clock_that_was_forward_for_a_moment_has_ended_it_for_good(
    device: Device, noticed: bool
) -> None:
    active = device.overridden()
    device.simulator.clock.advance(days=2)
    assert not in_force(active)
    if noticed:
        active.count()
    device.simulator.clock.advance(days=-2)
    assert not in_force(active)
    active.count()
    assert device.stored is None
    assert not in_force(device.start())


def test_a_clock_that_is_set_back_gives_no_time(device: Device) -> None:
    active = device.overridden()
    device.simulator.clock.advance(days=-300)
    device.ticks.advance(12 * 3600)
    active.count()
    again = device.start()
    device.ticks.advance(12 * 3600)
    assert not in_force(active)
    assert not in_force(again)


def test_it_ends_when_the_clock_says_so(device: Device) -> None:
    active = device.overridden()
    device.simulator.clock.advance(hours=23, minutes=59, seconds=59.5)
    assert active.until_count() == 0.5
    device.simulator.clock.advance(seconds=0.5)
    assert not in_force(active)


def test_two_processes_count_for_themselves(device: Device) -> None:
    """What one stores in advance is not taken from the other."""
    first = device.overridden()
    second = device.start()
    for _ in range(60):
        device.ticks.advance(60)
        first.count()
        second.count()
    ends = [active.override_end() for active in (first, second)]
    used = [device.simulator.clock() + DAY - end for end in ends if end is not None]
    assert used == [dt.timedelta(hours=1), dt.timedelta(hours=1, seconds=1)]


def test_what_another_process_has_taken_or_ended_is_so_here_too(device: Device) -> None:
    first, second = device.overridden(), device.start()
    device.take(second, device.simulator.end_override(OURS))
    device.ticks.advance(1)
    first.count()
    assert first().lookup(HOST).mode is Mode.ENFORCE
    assert first().override_floor == 2
    assert device.told == 3


def test_a_newer_one_begins_anew(device: Device) -> None:
    active = device.overridden()
    device.ticks.advance(23 * 3600)
    device.take(active, device.simulator.override(OURS, HOST, mode=Mode.REPORT))
    assert active.override_end() == device.simulator.clock() + DAY
    assert device.stored == 1


def test_one_that_has_ended_when_it_arrives_uses_up_its_version(device: Device) -> None:
    active = device.start()
    raw = device.simulator.override(OURS, HOST, lifetime=dt.timedelta())
    assert device.take(active, raw)
    assert not in_force(active)
    assert active().override_floor == device.start()().override_floor == 1


def test_a_store_that_fails_is_tried_again_after_a_minute(device: Device) -> None:
    class Full(MemoryStore):
        def save(self, data: bytes) -> None:
            raise StoreError("cannot write: no space")

    active = device.start(Full())
    device.take(active, device.simulator.override(OURS, HOST, mode=Mode.OFF))
    assert in_force(active)
    assert active.until_count() == 60


def test_who_has_no_key_drops_a_stored_one(device: Device) -> None:
    device.overridden()
    active = trusted(device.simulator, device.store, device.bootstrap)
    assert not in_force(active)
    assert active().override_floor == 1
