from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from livepin.client import installation
from livepin.client.installation import Installation, KeyFile
from livepin.jose import PrivateKey
from livepin.testing import DeliverySimulator
from livepin.tokens import installation_id

POSIX = pytest.mark.skipif(os.name != "posix", reason="there are no modes")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json.key"


def kid(path: Path) -> str:
    return Installation(KeyFile(path)).key().public.kid


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_key_is_made_when_it_is_needed_and_kept(path: Path) -> None:
    found = Installation(KeyFile(path))
    assert (found.thumbprint, path.exists()) == (None, False)
    first = found.key()
    assert found.key() is first
    assert found.thumbprint == first.public.kid == kid(path)
    assert found.problem is None
    assert [each.name for each in sorted(path.parent.iterdir())] == [
        "state.json.key",
        "state.json.key.lock",
    ]


def test_a_key_that_exists_is_found_and_none_is_made_for_that(path: Path) -> None:
    assert Installation(KeyFile(path)).existing() is None
    assert Installation(None).existing() is None
    assert not path.exists()
    first = kid(path)
    found = Installation(KeyFile(path))
    assert found.existing() == first == found.thumbprint
    path.unlink()
    assert found.existing() == first  # read once


@pytest.mark.parametrize("content", [b"", b"rubbish"])
def test_a_damaged_key_is_none_that_exists_and_stays_where_it_is(
    path: Path, content: bytes
) -> None:
    path.write_bytes(content)
    assert Installation(KeyFile(path)).existing() is None
    assert path.read_bytes() == content


def test_a_key_that_cannot_be_read_is_told_of_when_it_is_needed(path: Path) -> None:
    path.mkdir()
    found = Installation(KeyFile(path))
    assert found.existing() is None
    assert found.problem is None
    found.key()
    assert "cannot read" in (found.problem or "")


@POSIX
def test_nobody_else_can_read_it(path: Path) -> None:
    previous = os.umask(0)
    try:
        kid(path)
    finally:
        os.umask(previous)
    assert mode(path) == 0o600


def test_without_a_file_it_lives_as_long_as_the_process() -> None:
    found = Installation(None)
    assert found.key() is found.key()
    assert found.problem is None


def test_a_key_that_is_kept_elsewhere_is_used_as_it_is() -> None:
    key = PrivateKey.generate()
    assert Installation(key).key() is key


def test_a_client_keeps_it_beside_its_store(simulator: DeliverySimulator, tmp_path: Path) -> None:
    with simulator.client(store=tmp_path / "state.json") as pins:
        assert pins.status().installation_id is None
        first = pins.installation_id
        assert pins.status().installation_id == first
    assert first == installation_id("acme", kid(tmp_path / "state.json.key"))
    with simulator.client(installation=tmp_path / "state.json.key") as pins:
        assert pins.installation_id == first
    with simulator.client() as pins:
        assert pins.installation_id not in (first, simulator.client().installation_id)


# -- several at once -----------------------------------------------------------------------------

_PROCESS = """
import sys
from livepin.client import installation
from livepin.client.installation import Installation, KeyFile
found = Installation(KeyFile(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
print(found.key().public.kid, found.problem)
"""


def test_processes_that_start_at_once_have_one_key(path: Path) -> None:
    command = [sys.executable, "-c", _PROCESS, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, **pipes) for _ in range(4)]
    for each in running:
        assert each.stdout.readline() == "ready\n"
    for each in running:
        each.stdin.write("\n")
        each.stdin.flush()
    found = {each.communicate(timeout=30)[0] for each in running}
    assert found == {f"{kid(path)} None\n"}


def test_threads_that_start_at_once_have_one_key(path: Path) -> None:
    shared = Installation(None)
    with ThreadPoolExecutor(8) as pool:
        assert len({*pool.map(kid, [path] * 8)}) == 1
        assert len({*pool.map(lambda _: shared.key().public.kid, range(8))}) == 1


def test_a_forked_child_forgets_a_lock_that_another_thread_held() -> None:
    found = Installation(None)
    found._making.acquire()
    found.reset_lock()
    assert found.key() is not None


def test_a_thread_that_comes_second_takes_the_key_of_the_first() -> None:
    found, first = Installation(None), PrivateKey.generate()

    class Slow:
        def __enter__(self) -> None:
            found._held = first

        def __exit__(self, *_: object) -> None:
            """Nothing is held."""

    found._making = Slow()  # type: ignore[assignment]
    assert found.key() is first


# -- what is wrong with it -----------------------------------------------------------------------


@POSIX
def test_a_file_that_is_open_to_others_is_closed_with_notice(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = kid(path)
    path.chmod(0o644)
    found = Installation(KeyFile(path))
    assert found.key().public.kid == first
    assert mode(path) == 0o600
    assert found.problem is not None
    assert "could be read by others" in found.problem
    assert found.problem in caplog.text
    assert Installation(KeyFile(path)).problem is None


@POSIX
def test_a_file_of_another_user_is_not_used(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = kid(path)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    found = Installation(KeyFile(path))
    assert found.key().public.kid != first
    assert "belongs to another user" in caplog.text
    monkeypatch.undo()
    assert kid(path) == first


def _link(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(PrivateKey.generate().pkcs8())
    other.chmod(0o600)
    path.symlink_to(other)


@POSIX
@pytest.mark.parametrize("lay", [_link, os.mkfifo, Path.mkdir], ids=["link", "pipe", "folder"])
def test_what_is_no_file_is_neither_used_nor_touched(
    path: Path, lay: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    lay(path)
    before = path.lstat()
    found = Installation(KeyFile(path))
    assert found.key().public.kid != Installation(KeyFile(path)).key().public.kid
    assert path.lstat().st_ino == before.st_ino
    assert "cannot read" in str(found.problem)
    assert "another installation after each start" in caplog.text


@pytest.mark.parametrize("damage", [b"", b"x", b"x" * 5000, "cut"], ids=str)
def test_a_damaged_file_is_replaced_with_notice_and_kept_aside(
    path: Path, damage: bytes | str, caplog: pytest.LogCaptureFixture
) -> None:
    first = kid(path)
    data = path.read_bytes()[:-9] if isinstance(damage, str) else damage
    path.write_bytes(data)
    found = Installation(KeyFile(path))
    assert found.key().public.kid not in (first,)
    assert found.key().public.kid == kid(path)
    assert path.with_name("state.json.key.corrupt").read_bytes() == data
    assert "was damaged" in str(found.problem)
    assert "another installation from now on" in caplog.text


def test_a_lost_file_is_replaced_with_notice(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = kid(path)
    assert caplog.text == ""
    path.unlink()
    found = Installation(KeyFile(path))
    assert found.key().public.kid == kid(path) != first
    assert f"was lost, with the key {first}" in str(found.problem)
    assert "was lost" in caplog.text


def test_where_nothing_can_be_stored_the_key_is_in_memory(
    simulator: DeliverySimulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with simulator.client(installation=tmp_path / "absent" / "key") as pins:
        assert pins.installation_id == pins.installation_id
        assert "cannot lock" in str(pins.status().installation_problem)
    assert "cannot lock" in caplog.text


def test_where_there_are_no_modes_nothing_is_said_of_them(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kid(path)
    path.chmod(0o644)
    monkeypatch.setattr(installation, "_HAS_MODES", False)
    found = Installation(KeyFile(path))
    assert found.key().public.kid == kid(path)
    assert found.problem is None


def test_a_notice_is_logged_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = Installation(KeyFile(path))
    found._notice("something")
    found._notice("something")
    assert caplog.text.count("something") == 1


def test_a_thumbprint_that_cannot_be_noted_costs_a_notice_only(path: Path) -> None:
    file = KeyFile(path)
    path.with_name(f"{path.name}.lock").mkdir()
    file.remember("thumbprint")
    assert file.last == ""


def test_it_never_prints_itself(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    found = Installation(KeyFile(path))
    secret = found.key().key.private_numbers().private_value  # type: ignore[attr-defined]
    assert repr(found) == f"Installation({found.thumbprint})"
    for text in (repr(found), repr(found.key()), caplog.text, repr(vars(found))):
        assert f"{secret}" not in text
        assert f"{secret:x}" not in text


@pytest.fixture
def simulator() -> DeliverySimulator:
    return DeliverySimulator()
