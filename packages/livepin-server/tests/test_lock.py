"""The lock of a data folder: one process at a time, free again however that one ends."""

import contextlib
import stat
import subprocess
import sys

import pytest
from livepin.errors import ConfigurationError
from livepin_server.lock import DataFolderBusyError, holding

HOLDER = """
import pathlib, sys
from livepin_server.lock import holding
with holding(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def another_process_holds(data):
    command = [sys.executable, "-c", HOLDER, str(data)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"held\n"
            yield process
        finally:
            process.kill()


def test_a_second_process_is_refused_by_the_name_of_the_folder(tmp_path):
    with another_process_holds(tmp_path):
        with pytest.raises(DataFolderBusyError) as caught, holding(tmp_path):
            pass
    assert str(caught.value) == f"another process works on {tmp_path}"
    assert caught.value.hint == "is livepin serve running?"


def test_a_process_that_was_killed_holds_nothing(tmp_path):
    with another_process_holds(tmp_path) as process:
        process.kill()  # SIGKILL: it can release nothing itself
        process.wait()
        with holding(tmp_path):
            pass


def test_other_folders_stay_free(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with another_process_holds(tmp_path / "one"), holding(tmp_path / "two"):
        pass


def test_the_same_process_cannot_hold_it_twice(tmp_path):
    with holding(tmp_path), pytest.raises(DataFolderBusyError), holding(tmp_path):
        pass


def test_an_error_inside_releases_it(tmp_path):
    with pytest.raises(ZeroDivisionError), holding(tmp_path):
        raise ZeroDivisionError
    with holding(tmp_path):
        pass


def test_a_child_does_not_inherit_it(tmp_path):
    command = [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "close_fds": False}
    with contextlib.ExitStack() as stack:
        with holding(tmp_path):
            child = stack.enter_context(subprocess.Popen(command, **pipes))
            stack.callback(child.kill)
            assert child.stdout.readline() == b"up\n"
        with holding(tmp_path):
            assert child.poll() is None


def test_only_the_owner_may_read_the_lock(tmp_path):
    with holding(tmp_path):
        assert stat.S_IMODE((tmp_path / "livepin.lock").stat().st_mode) == 0o600


def test_a_folder_that_is_not_there_is_named_with_what_makes_one(tmp_path):
    with pytest.raises(ConfigurationError, match="No such file or directory") as caught:
        with holding(tmp_path / "gone"):
            pass
    assert not isinstance(caught.value, DataFolderBusyError)
    assert caught.value.hint == f"make one with: livepin init {tmp_path / 'gone'}"
