"""The store on real files: atomic, private, shared by processes, and honest about what fails."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import stat
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import pytest
from livepin.client import FileStore, MemoryStore
from livepin.client import store as store_module
from livepin.errors import StoreError
from livepin.trust import MAX_STORED


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


@pytest.fixture
def store(path: Path) -> FileStore:
    return FileStore(path)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("kind", [str, Path])
def test_what_was_saved_is_loaded(path: Path, kind: type) -> None:
    store = FileStore(kind(path))
    assert store.load() is None
    for data in (b"first", b"", b"second" * 100_000):
        store.save(data)
        assert store.load() == data
        assert FileStore(path).load() == data
    assert [each.name for each in path.parent.iterdir()] == ["state.json"]


def test_only_the_owner_may_read_it_whatever_the_umask(store: FileStore, path: Path) -> None:
    before = os.umask(0)
    try:
        with store.locked():
            store.save(b"data")
    finally:
        os.umask(before)
    assert mode_of(path) == 0o600
    assert mode_of(path.with_name("state.json.lock")) == 0o600


def test_a_reader_sees_the_old_or_the_new_and_nothing_between(store: FileStore) -> None:
    values = {bytes([number]) * 300_000 for number in range(20)}
    store.save(b"\0" * 300_000)
    seen, ended = set(), threading.Event()

    def read() -> None:
        while not ended.is_set():
            seen.add(store.load())

    thread = threading.Thread(target=read)
    thread.start()
    for value in sorted(values):
        store.save(value)
    ended.set()
    thread.join()
    assert seen
    assert seen <= values


def test_bytes_are_on_the_disk_before_the_name_is_and_the_name_before_it_returns(
    store: FileStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut cannot be tried here; the order that survives one can be seen."""
    order = []

    def sync(descriptor: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        order.append((kind, path.exists()))

    monkeypatch.setattr(os, "fsync", sync)
    store.save(b"data")
    assert order == [("file", False), ("folder", True)]


def test_what_a_crash_left_beside_is_replaced(store: FileStore, path: Path) -> None:
    beside = path.with_name("state.json.tmp")
    beside.write_bytes(b"half of a st")
    beside.chmod(0o666)
    store.save(b"data")
    assert store.load() == b"data"
    assert mode_of(path) == 0o600
    assert not beside.exists()


def test_a_link_laid_beside_is_not_followed(store: FileStore, path: Path) -> None:
    victim = path.with_name("victim")
    victim.write_bytes(b"precious")
    path.with_name("state.json.tmp").symlink_to(victim)
    store.save(b"data")
    assert victim.read_bytes() == b"precious"
    assert store.load() == b"data"


def test_damage_is_kept_beside_the_newest_only(store: FileStore, path: Path) -> None:
    store.set_aside()  # nothing there is no error
    for data in (b"bad", b"worse"):
        store.save(data)
        store.set_aside()
        assert store.load() is None
        assert path.with_name("state.json.corrupt").read_bytes() == data


def test_more_than_fits_is_loaded_as_damage(store: FileStore, path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MAX_STORED + 10)
    assert len(store.load() or b"") == MAX_STORED + 1


def test_what_is_small_takes_little_memory(store: FileStore) -> None:
    store.save(b"data")
    tracemalloc.start()
    try:
        assert store.load() == b"data"
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


# -- what fails --------------------------------------------------------------------------------


def blocked(tmp_path: Path, how: str) -> Path:
    """Return a path at which nothing can be saved."""
    if how == "missing folder":
        return tmp_path / "missing" / "state.json"
    if how == "folder is a file":
        (tmp_path / "file").touch()
        return tmp_path / "file" / "state.json"
    if how == "is a folder":
        (tmp_path / "state.json" / "x").mkdir(parents=True)
        return tmp_path / "state.json"
    return tmp_path / ("x" * 300)


PLACES = ["missing folder", "folder is a file", "is a folder", "name too long"]


@pytest.mark.parametrize("how", PLACES)
def test_what_cannot_be_saved_is_a_store_error(tmp_path: Path, how: str) -> None:
    path = blocked(tmp_path, how)
    with pytest.raises(StoreError, match="cannot write") as caught:
        FileStore(path).save(b"data")
    assert str(path) in str(caught.value)
    assert "goes on" in (caught.value.hint or "")
    assert list(tmp_path.glob("*.tmp")) == []


@pytest.mark.parametrize("how", PLACES[1:])
def test_what_cannot_be_read_is_a_store_error(tmp_path: Path, how: str) -> None:
    with pytest.raises(StoreError, match="cannot read"):
        FileStore(blocked(tmp_path, how)).load()


def test_what_cannot_be_locked_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot lock"), FileStore(tmp_path / "a" / "b").locked():
        pytest.fail("nothing was locked")


def test_what_cannot_be_set_aside_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "state.json.corrupt" / "x").mkdir(parents=True)
    store = FileStore(tmp_path / "state.json")
    store.save(b"damage")
    with pytest.raises(StoreError, match="cannot set aside"):
        store.set_aside()


def test_a_name_that_is_too_long_only_beside_is_a_store_error(tmp_path: Path) -> None:
    store = FileStore(tmp_path / ("x" * 253))
    with pytest.raises(StoreError, match="cannot write"):
        store.save(b"data")


LIMITED = """
import resource, signal, sys
from livepin.client import FileStore
from livepin.errors import StoreError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
try:
    FileStore(sys.argv[1]).save(b"new" * 100_000)
except StoreError as exc:
    print(exc)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


def test_a_write_that_ends_early_leaves_the_old_state(store: FileStore, path: Path) -> None:
    store.save(b"old")
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)], check=True, capture_output=True, text=True
    )
    assert "cannot write" in done.stdout
    assert "File too large" in done.stdout
    assert store.load() == b"old"
    assert [each.name for each in path.parent.iterdir()] == ["state.json"]


@contextlib.contextmanager
def small_disk(folder: Path, options: str = "size=64k"):
    """Mount a file system of 64 KiB, where this process may."""
    libc = ctypes.CDLL(None, use_errno=True)
    folder.mkdir()
    if not sys.platform.startswith("linux") or libc.mount(
        b"livepin-test", str(folder).encode(), b"tmpfs", 0, options.encode()
    ):
        pytest.skip("mounting a small file system needs Linux and root")
    try:
        yield libc
    finally:
        assert libc.umount(str(folder).encode()) == 0


def test_a_full_disk_leaves_the_old_state(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk"):
        store = FileStore(tmp_path / "disk" / "state.json")
        store.save(b"old")
        with pytest.raises(StoreError, match="No space left"):
            store.save(b"new" * 100_000)
        assert store.load() == b"old"
        store.save(b"new")  # nothing of the failed one is left to fill the disk
        assert store.load() == b"new"


def test_a_read_only_disk_can_be_read(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as libc:
        store = FileStore(tmp_path / "disk" / "state.json")
        store.save(b"old")
        remount_read_only = 32 | 1
        assert not libc.mount(
            b"livepin-test", str(tmp_path / "disk").encode(), b"tmpfs", remount_read_only, None
        )
        for attempt in (lambda: store.save(b"new"), store.set_aside, store.locked().__enter__):
            with pytest.raises(StoreError, match="Read-only file system"):
                attempt()
        assert store.load() == b"old"


def test_no_file_descriptor_left_is_a_store_error(store: FileStore) -> None:
    store.save(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(StoreError, match="Too many open files"):
            store.load()
        with pytest.raises(StoreError, match="Too many open files"), store.locked():
            pytest.fail("nothing was locked")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert store.load() == b"old"


# -- shared ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [True, False], ids=["one-store", "two-stores"])
def test_the_lock_holds_off_other_threads(path: Path, shared: bool) -> None:
    first = FileStore(path)
    second = first if shared else FileStore(path)
    entered, inside = threading.Event(), []

    def wait() -> None:
        with second.locked():
            inside.append(True)
            entered.set()

    with first.locked():
        thread = threading.Thread(target=wait)
        thread.start()
        assert not entered.wait(0.1)
    thread.join(timeout=5)
    assert inside == [True]


HOLDING = """
import sys
from livepin.client import FileStore
with FileStore(sys.argv[1]).locked():
    print("locked", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def holder(path: Path):
    """Run a process that holds the lock."""
    arguments = [sys.executable, "-c", HOLDING, str(path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"locked\n"
        yield child
        if child.stdin is not None:
            child.stdin.close()


def test_a_process_that_never_lets_go_does_not_hold_up_others(
    store: FileStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_LOCK_WAIT", 0.1)
    with holder(path):
        with pytest.raises(StoreError, match="cannot lock"), store.locked():
            pytest.fail("two hold the lock")
    with store.locked():
        pass  # it is free again


def test_a_killed_process_lets_go(store: FileStore, path: Path) -> None:
    with holder(path) as child:
        child.kill()
        child.wait()
        with store.locked():
            pass


FORKING = """
import os, sys
from livepin.client import FileStore
store = FileStore(sys.argv[1])
with store.locked():
    child = os.fork()
    if not child:
        sys.stdin.read()  # lives on, with the lock's descriptor open
        os._exit(0)
with store.locked():
    print("locked again", flush=True)
os.waitpid(child, 0)
"""


def test_a_child_forked_meanwhile_does_not_keep_the_lock(path: Path) -> None:
    arguments = [sys.executable, "-c", FORKING, str(path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"locked again\n"
        process.stdin.close()
        assert process.wait(timeout=10) == 0


def test_a_file_system_without_locks_is_a_store_error(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(_lock: int, _operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(store_module.fcntl, "flock", unsupported)
    with pytest.raises(StoreError, match="not supported"), store.locked():
        pytest.fail("nothing was locked")


def test_an_error_under_the_lock_is_passed_on_and_lets_go(store: FileStore) -> None:
    with pytest.raises(OSError, match="my own"), store.locked():
        raise OSError("my own")
    with store.locked():
        pass


# -- in memory ---------------------------------------------------------------------------------


def test_memory_keeps_a_value_and_damage() -> None:
    store = MemoryStore(b"first")
    assert store.load() == b"first"
    with store.locked():
        store.save(b"second")
    store.set_aside()
    assert (store.load(), store.corrupt) == (None, b"second")


FORKING_MEMORY = """
import os
from livepin.client import MemoryStore
store = MemoryStore()
with store.locked():
    child = os.fork()
    if not child:
        with store.locked():
            os._exit(0)
    raise SystemExit(os.waitpid(child, 0)[1])
"""


def test_a_child_forked_under_the_lock_of_memory_can_lock_its_own() -> None:
    subprocess.run([sys.executable, "-c", FORKING_MEMORY], check=True, timeout=20)
