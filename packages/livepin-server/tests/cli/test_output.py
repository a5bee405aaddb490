"""Pipes, signals, full disks, colours, terminals, and what must never be printed."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from livepin.testing import RecordingServer
from livepin_server.cli.app import main
from livepin_server.cli.output import counted, plain, put, show_json, working

from .conftest import NOBODY

PIN = "sha256/" + "A" * 43 + "="
LIVEPIN = [sys.executable, "-m", "livepin"]


def on_a_terminal(*arguments: str, **environment: str) -> tuple[int, str]:
    """Return the exit code of a command on a terminal, and what it showed there."""
    here, there = pty.openpty()
    process = subprocess.Popen(
        [*LIVEPIN, *arguments],
        stdin=there,
        stdout=there,
        stderr=there,
        env={**os.environ, "TERM": "xterm-256color", **environment},
        start_new_session=True,
    )
    os.close(there)
    shown = b""
    while select.select([here], [], [], 60)[0]:
        try:
            shown += os.read(here, 65536)
        except OSError:  # it has ended
            break
    os.close(here)
    return process.wait(timeout=60), shown.decode()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("config", "log"), 0),
        (("config", "show", "--json"), 0),
        (("bootstrap",), 0),
        (("--help",), 0),
        (("domain", "add", "--help"), 0),
        (("domain", "add", "b.test", "--pin", PIN, "--mode", "report"), 0),
        (("domain", "check"), 4),
    ],
)
def test_a_reader_who_leaves_changes_neither_work_nor_exit_code(run, data, arguments, code) -> None:
    run("domain", "add", "nowhere.invalid", "--pin", PIN)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*LIVEPIN, *arguments],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(writer)
    assert done.returncode == code
    expected = (
        "warning: there is no recovery URL: if the delivery channel breaks, apps keep their pins\n"
    )
    assert done.stderr.replace(NOBODY, "") in ("", expected)
    if "b.test" in arguments:
        assert run("domain", "show", "b.test").code == 0


def test_an_error_that_nobody_reads_keeps_its_exit_code() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*LIVEPIN, "domain", "list"], stdout=writer, stderr=writer, timeout=60, check=False
    )
    os.close(writer)
    assert done.returncode == 2


@pytest.mark.parametrize("arguments", [("config", "log"), ("config", "log", "--json")])
def test_a_full_disk_is_said(data, arguments) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*LIVEPIN, *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: cannot write the output: No space left on device",
        "hint:  the command itself ran",
    ]


def test_ctrl_c_while_looking_ends_quietly_and_publishes_nothing(run, data) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = subprocess.Popen(
            [*LIVEPIN, "domain", "add", "localhost", "--port", str(silent.getsockname()[1])],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        silent.settimeout(60)
        sock, _ = silent.accept()  # now it waits for an answer
        with sock:
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, b"", b"")
    assert run("domain", "list", "--json").json == []


def test_colours_are_for_terminals(data) -> None:
    code, shown = on_a_terminal("domain", "show", "nowhere.test")
    assert code == 3
    assert "\x1b[1;31merror: \x1b[0m" in shown


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_can_be_turned_off(data, environment) -> None:
    code, shown = on_a_terminal("domain", "show", "nowhere.test", **environment)
    assert code == 3
    assert "there is no domain 'nowhere.test'" in shown
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", shown)


def test_json_holds_nothing_that_a_terminal_would_obey(capsys) -> None:
    value = {"a": "ü\x1b[2J\x9b\x7f\u202e\U000e0001 😀\n", "b\u2028": None}
    show_json(value)
    out = capsys.readouterr().out
    assert json.loads(out) == value
    assert "ü" in out
    assert [c for c in out if not c.isprintable() and c != "\n"] == []


def test_no_colours_and_no_control_characters_in_a_pipe(shell, data) -> None:
    for arguments in (("config", "log"), ("domain", "show", "nowhere.test"), ("--help",)):
        done = shell(*arguments)
        assert "\x1b" not in done.out + done.err


def test_a_person_sees_that_something_takes_its_time(data) -> None:
    _, shown = on_a_terminal("domain", "check", "nowhere.invalid")
    assert "no domain covers nowhere.invalid" in shown
    with socket.create_server(("127.0.0.1", 0)) as silent:
        here, there = pty.openpty()
        process = subprocess.Popen(
            [*LIVEPIN, "domain", "add", "localhost", "--port", str(silent.getsockname()[1])],
            stdin=there,
            stdout=there,
            stderr=there,
            env={**os.environ, "TERM": "xterm"},
            start_new_session=True,
        )
        os.close(there)
        shown = ""
        while "looking at localhost" not in shown:
            assert select.select([here], [], [], 60)[0], shown
            shown += os.read(here, 65536).decode()
        process.kill()
        process.wait(timeout=60)
        os.close(here)


def test_progress_is_for_people_alone(capsys) -> None:
    with working("counting"):
        assert capsys.readouterr() == ("", "")


SLOW = """
import sys, threading
from livepin_server.cli.output import say, working
shown = threading.Event()
write = sys.stderr.write
sys.stderr.write = lambda text: (write(text), "inner" in text and shown.set())[0]
with working("outer"):
    with working("inner"):
        assert shown.wait(60)
say("done")
"""


def in_python(script: str) -> str:
    """Return what a script shows on a terminal."""
    here, there = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=there,
        stdout=there,
        stderr=there,
        env={**os.environ, "TERM": "xterm-256color"},
    )
    os.close(there)
    shown = b""
    while select.select([here], [], [], 60)[0]:
        try:
            shown += os.read(here, 65536)
        except OSError:  # it has ended
            break
    os.close(here)
    assert process.wait(timeout=60) == 0, shown.decode()
    return shown.decode()


def test_what_takes_its_time_says_what_it_does_and_leaves_nothing_behind() -> None:
    shown = in_python(SLOW)
    assert "inner" in shown
    assert shown.endswith("\x1b[2Kdone\r\n")


def test_what_is_quick_does_not_flicker() -> None:
    script = """
from livepin_server.cli.output import say, working
with working("outer"):
    with working("inner"):
        say("done")
"""
    assert in_python(script) == "done\r\n"


def test_a_command_that_waits_for_its_server_says_so(terminal, monkeypatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("LIVEPIN_URL", url)
        monkeypatch.setenv("LIVEPIN_API_KEY", "lpk_x")
        person = terminal("account", "list")
        person.until(f"waiting for {url}")
        person.process.send_signal(signal.SIGINT)
        assert person.end() == 130
    assert "Traceback" not in person.text


def test_no_secret_is_in_any_json(run, data) -> None:
    run("domain", "add", "a.test", "--pin", PIN)
    secrets = [
        (data / "operator.key").read_text().strip().split("_", 2)[2],
        (data / "master.key").read_text().strip(),
        *("".join((data / "tls" / n).read_text().splitlines()[1:-1]) for n in
          ("server.key", "next.key")),
    ]  # fmt: skip
    for arguments in (
        ("status",), ("account", "list"), ("domain", "list"), ("domain", "show", "a.test"),
        ("config", "show"), ("config", "log"), ("delivery", "show"), ("bootstrap",),
    ):  # fmt: skip
        done = run(*arguments, "--json")
        assert done.json is not None
        for secret in secrets:
            assert secret[:32] not in done.out + done.err
        assert "lpk_" not in done.out


def test_an_unexpected_fault_is_one_line_unless_debugging(run, data, monkeypatch) -> None:
    import sqlite3

    connection = sqlite3.connect(data / "livepin.db")
    connection.execute("UPDATE configs SET changed = 'no JSON'")
    connection.commit()
    connection.close()
    done = run("config", "log")
    assert done.code == 70
    assert done.err.splitlines() == [
        "error: unexpected: a fault in the management API",
        "hint:  with LIVEPIN_DEBUG=1 it shows where",
    ]


def test_a_fault_of_a_command_is_one_line_unless_debugging(run, monkeypatch, chain, ca) -> None:
    with RecordingServer(chain, respond=lambda *_: (200, {}, b"[1]")) as stranger:
        monkeypatch.setenv("LIVEPIN_URL", f"https://127.0.0.1:{stranger.port}")
        monkeypatch.setenv("LIVEPIN_CA", str(ca))
        monkeypatch.setenv("LIVEPIN_API_KEY", "lpk_x")
        done = run("account", "list")
        assert done.code == 70
        assert done.err.startswith("error: unexpected: TypeError: ")
        assert done.err.endswith("\nhint:  with LIVEPIN_DEBUG=1 it shows where\n")
        monkeypatch.setenv("LIVEPIN_DEBUG", "1")
        with pytest.raises(TypeError):
            main(["account", "list"])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 漢", "plain é 漢"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("two\nlines\ttab", "two\\nlines\\ttab"),
        ("right\u202eleft", "right\\u202eleft"),
        ("\x9b31m", "\\x9b31m"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
    ],
)
def test_what_a_terminal_would_obey_is_made_visible(text, shown) -> None:
    assert plain(text) == shown


def test_things_are_counted_in_words() -> None:
    assert [counted(n, "day") for n in (0, 1, 2)] == ["0 days", "1 day", "2 days"]


def test_what_cannot_be_written_leaves_nothing_beside_it(tmp_path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(OSError, match="there"):
        put(tmp_path / "there", "text")
    assert [each.name for each in tmp_path.iterdir()] == ["there"]


def test_a_file_is_written_over_no_other_one(run, data) -> None:
    run("domain", "add", "a.test", "--pin", PIN)
    Path(".pins.json.new").write_text("mine")
    assert run("export", "json", "--out", "pins.json").code == 0
    assert sorted(each.name for each in Path().glob("*pins*")) == [".pins.json.new", "pins.json"]
    assert Path(".pins.json.new").read_text() == "mine"
