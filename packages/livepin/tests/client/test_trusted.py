"""What a process trusts, and its store: it only moves up, whatever happens to either."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from livepin import PinMismatchError
from livepin.bootstrap import Bootstrap
from livepin.client import FileStore, MemoryStore
from livepin.client.store import Store
from livepin.client.trusted import Trusted
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
