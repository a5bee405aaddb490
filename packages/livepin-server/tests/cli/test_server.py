"""livepin init, serve, upgrade, status and account."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import stat
import sys
from pathlib import Path

import pytest
from livepin_server.custody.root_file import read_root_key
from livepin_server.storage import schema_version

from .conftest import NOBODY

PASSPHRASE = "correct horse battery staple"
URL = "https://pins.example.com:8443"
INIT = ("init", "new", "--account", "acme", "--url", URL)


@pytest.fixture
def passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    """The passphrase, in the environment."""
    monkeypatch.setenv("LIVEPIN_ROOT_PASSPHRASE", PASSPHRASE)


# -- init --------------------------------------------------------------------------------------


def test_init_makes_a_folder_and_says_what_comes_next(run, passphrase) -> None:
    done = run(*INIT, "--root-key", "root.key")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        f"new is ready: account acme, delivery at {URL}",
        "The root key is in root.key, encrypted. Move it off this machine, to two safe",
        "places: it is needed to replace the server's keys, and cannot be made again.",
        "Next:",
        "  livepin serve --data new",
        "  livepin domain add api.example.com --data new",
        "  livepin channel add email ops --to ops@example.com --data new",
        "  livepin bootstrap --out bootstrap.json --data new",
    ]
    assert stat.S_IMODE(Path("new").stat().st_mode) == 0o700
    assert stat.S_IMODE(Path("root.key").stat().st_mode) == 0o600
    account, _ = read_root_key(Path("root.key"), passphrase=PASSPHRASE)
    assert account == "acme"


def test_init_takes_the_folder_of_livepin_data(run, monkeypatch) -> None:
    monkeypatch.setenv("LIVEPIN_DATA", "there")
    arguments = ("init", "--account", "acme", "--url", URL, "--online-root")
    assert "  livepin serve\n" in run(*arguments).out
    assert Path("there", "livepin.toml").exists()
    monkeypatch.delenv("LIVEPIN_DATA")
    assert run(*arguments, "--json").json["data"] == "livepin-data"


def test_an_online_root_is_flagged_in_init_and_in_status(run) -> None:
    done = run(*INIT, "--online-root")
    assert "warning: the root key is on the server" in done.err
    status = run("status", "--data", "new")
    assert status.code == 1
    assert status.err == f"warning: the root key of acme is on the server\n{NOBODY}"


def test_a_port_that_is_not_that_of_the_url_is_said(run) -> None:
    done = run(
        "init", "new", "--account", "a", "--url", "https://pins.example.com", "--online-root"
    )
    assert done.code == 0
    assert (
        "warning: apps go to https://pins.example.com, delivery will listen on port 8443: "
        "forward it\n"
    ) in done.err


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (("init",), "expected --account NAME", "livepin init --help"),
        (("init", "--account", "acme"), "expected --url URL", "livepin init --help"),
        (
            INIT,
            "expected --root-key FILE or --online-root",
            "--root-key keeps the root key off the server; --online-root is for trials",
        ),
        (
            (*INIT, "--online-root", "--root-key", "root.key"),
            "expected --root-key FILE or --online-root",
            "--root-key keeps the root key off the server; --online-root is for trials",
        ),
        (
            ("init", "new", "--account", "ACME", "--url", URL, "--online-root"),
            "expected an account name of a-z, 0-9 and hyphens, at most 63, found 'ACME'",
            "such as acme",
        ),
        (
            ("init", "new", "--account", "acme", "--url", "pins.example.com", "--online-root"),
            "--url: expected an https URL, found 'pins.example.com'",
            "such as https://pins.example.com:8443",
        ),
        (
            (*INIT, "--online-root", "--recovery-url", "ftp://x"),
            "--recovery-url: expected an https or http URL, found 'ftp://x'",
            "such as https://cdn.example.net/livepin",
        ),
        (
            (*INIT, "--online-root", "--port", "70000"),
            'Invalid value "70000" for --port. Must be <= 65535.',
            "livepin init --help",
        ),
        (
            (*INIT, "--online-root", "--management-port", "8443"),
            "delivery and management cannot both listen on port 8443",
            "--management-port PORT",
        ),
        (
            (*INIT, "--root-key", "root.key"),
            "expected a passphrase for the root key",
            "--passphrase-file FILE, or the variable LIVEPIN_ROOT_PASSPHRASE",
        ),
        (
            (*INIT, "--root-key", "root.key", "--passphrase-file", "short"),
            "expected a passphrase of at least 12 characters",
            "six random words are long enough, and can be remembered",
        ),
        (
            (*INIT, "--root-key", "root.key", "--passphrase-file", "nowhere"),
            "cannot read nowhere: No such file or directory",
            "is it the right file?",
        ),
        (
            (*INIT, "--root-key", "short", "--passphrase-file", "long"),
            "short exists already",
            "name a new file",
        ),
        (
            (*INIT, "--root-key", "nowhere/root.key", "--passphrase-file", "long"),
            "nowhere is not a folder",
            "make it first",
        ),
        (
            ("init", "full", "--account", "acme", "--url", URL, "--online-root"),
            "full exists already",
            "name a new folder",
        ),
        (
            (*INIT, "--online-root", "--data", "other"),
            "expected one folder, found new and --data other",
            "name it once",
        ),
    ],
)
def test_a_mistake_gets_one_line_and_leaves_nothing_behind(
    run, tmp_path, monkeypatch, arguments, error, hint
) -> None:
    Path("short").write_text("short\n")
    Path("long").write_text(PASSPHRASE)
    Path("full").mkdir()
    Path("full", "file").touch()
    with Path(os.devnull).open() as nobody:
        monkeypatch.setattr(sys, "stdin", nobody)
        done = run(*arguments)
    expected = [f"error: {error}", *([] if hint is None else [f"hint:  {hint}"])]
    assert (done.code, done.out, done.err.splitlines()) == (2, "", expected)
    assert {each.name for each in tmp_path.iterdir()} == {"short", "long", "full"}


@pytest.mark.parametrize("there", [True, False])
def test_the_root_key_must_not_be_in_the_data_folder(run, passphrase, there) -> None:
    if there:
        Path("new").mkdir()
    done = run(*INIT, "--root-key", "new/root.key")
    assert done.code == 2
    assert done.err.splitlines() == [
        "error: the root key must not be in the data folder new",
        "hint:  who steals the server would have it; name a file elsewhere",
    ]
    assert not Path("new", "root.key").exists()


def test_a_passphrase_is_asked_for_twice_and_not_shown(terminal) -> None:
    person = terminal(*INIT, "--root-key", "root.key")
    person.until("Passphrase for the root key (at least 12): ")
    person.type(PASSPHRASE + "\n")
    person.until("The same again: ")
    person.type(PASSPHRASE + "\n")
    assert person.end() == 0
    assert PASSPHRASE not in person.text
    assert read_root_key(Path("root.key"), passphrase=PASSPHRASE)[0] == "acme"


@pytest.mark.parametrize(
    ("first", "second", "error"),
    [
        ("correct horse battery", "another horse battery", "the two passphrases differ"),
        ("short", "short", "expected a passphrase of at least 12 characters"),
        (None, "", "expected a passphrase for the root key"),
    ],
)
def test_what_is_no_passphrase_is_refused(terminal, first, second, error) -> None:
    person = terminal(*INIT, "--root-key", "root.key")
    person.until("12): ")
    if first is None:
        person.type("\x04")  # the end of the input
    else:
        person.type(first + "\n")
        person.until("again: ")
        person.type(second + "\n")
    assert person.end() == 2
    assert "error: " in person.text
    assert error in person.text
    assert not Path("new").exists()
    assert not Path("root.key").exists()


def test_ctrl_c_at_the_question_ends_quietly(terminal) -> None:
    person = terminal(*INIT, "--root-key", "root.key")
    person.until("12): ")
    person.process.send_signal(signal.SIGINT)
    assert person.end() == 130
    assert "Traceback" not in person.text
    assert not Path("new").exists()


# -- serve -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_person_sees_where_it_listens_and_stops_it(terminal, data, monkeypatch, number) -> None:
    monkeypatch.setenv("LIVEPIN_DELIVERY_HOST", "127.0.0.1")
    person = terminal("serve")
    person.until("Ctrl-C stops.")
    management = json.loads((data / "run" / "management.json").read_text())["port"]
    assert f"management listens on 127.0.0.1, port {management}\r\n" in person.text
    assert "delivery   listens on 127.0.0.1, port " in person.text
    person.process.send_signal(number)
    assert person.end() == 0
    assert not (data / "run" / "management.json").exists()


def test_a_port_that_is_taken_is_named(shell, data) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = shell("serve", LIVEPIN_DELIVERY_HOST="127.0.0.1", LIVEPIN_DELIVERY_PORT=port)
    assert done.code == 2
    assert done.err.splitlines() == [
        f"error: cannot listen on 127.0.0.1:{port}: Address already in use",
        "hint:  is another server running? choose another port in livepin.toml",
    ]


@pytest.mark.parametrize("command", [("serve",), ("upgrade",), ("delivery", "renew-keys")])
def test_what_needs_the_folder_alone_refuses_beside_a_server(run, served, command) -> None:
    done = run(*command, "--data", served.data)
    assert done.code == 4
    assert done.err.splitlines() == [
        f"error: another process works on {served.data}",
        "hint:  is livepin serve running?",
    ]


# -- upgrade -----------------------------------------------------------------------------------


def test_a_database_of_this_version_needs_no_upgrade(run, data) -> None:
    assert run("upgrade").out == f"the database has the schema {schema_version.head()}\n"
    assert run("upgrade", "--json").json == {"schema": schema_version.head(), "backup": None}


def revision(data: Path, text: str | None) -> None:
    connection = sqlite3.connect(data / "livepin.db")
    with connection:
        if text is None:
            connection.execute("DELETE FROM alembic_version")
        else:
            connection.execute("UPDATE alembic_version SET version_num = ?", (text,))
    connection.close()


def test_a_database_of_a_newer_version_is_left_alone(run, data) -> None:
    revision(data, "9999")
    for command in (("upgrade",), ("domain", "list")):
        done = run(*command)
        assert done.code == 2
        assert done.err.splitlines() == [
            "error: the database has the schema 9999, which this version does not know",
            "hint:  it was made by a newer version of livepin-server: install that one",
        ]
    assert not [*data.glob("*.backup")]


def test_an_older_database_is_named_and_upgraded(run, data) -> None:
    (data / "livepin.db").unlink()
    sqlite3.connect(data / "livepin.db").close()
    done = run("domain", "list")
    assert done.code == 2
    assert done.err.splitlines() == [
        "error: the database has the schema of no version, "
        f"this version needs {schema_version.head()}",
        "hint:  run: livepin upgrade",
    ]
    assert run("upgrade").code == 0
    assert run("account", "list").err.startswith("error: the server does not take this API key\n")


# -- status and accounts -----------------------------------------------------------------------


def test_status_says_whether_a_server_runs(run, served, data) -> None:
    done = run("status", "--data", served.data)
    assert (done.code, done.err) == (1, NOBODY)
    assert done.out == f"livepin-server 0.1.0 runs, management at {served.url}; 1 account\n"
    assert run("status").out == "livepin-server 0.1.0 does not run; 1 account\n"
    found = run("status", "--json").json
    assert (found["running"], len(found["warnings"])) == (False, 1)
    assert [each["name"] for each in found["items"]] == ["acme"]


def test_an_account_is_made_with_a_root_key_of_its_own(run, data, passphrase) -> None:
    done = run("account", "add", "beta", "--root-key", "beta.key")
    assert done.out == "the account beta is ready; its root key is in beta.key, encrypted\n"
    assert read_root_key(Path("beta.key"), passphrase=PASSPHRASE)[0] == "beta"
    assert run("account", "add", "gamma", "--root-key", "gamma.key", "--json").json
    lines = run("account", "list").out.splitlines()
    assert lines[0] == "account  root  root expires  root key  streams  created"
    assert [line.split()[0] for line in lines[1:]] == ["acme", "beta", "gamma"]
    assert "offline" in lines[1]
    assert run("domain", "list", "--account", "beta", "--json").json == []
    done = run("domain", "list")
    assert done.code == 2
    assert done.err.splitlines() == [
        "error: expected the name of an account, there are 3",
        "hint:  --account with one of: acme, beta, gamma",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (("add",), 2, "expected NAME"),
        (("add", "beta"), 2, "expected --root-key FILE or --root-public FILE.pub"),
        (
            ("add", "Beta", "--root-key", "b.key"),
            2,
            "expected an account name of a-z, 0-9 and hyphens, at most 63, found 'Beta'",
        ),
        (("add", "acme", "--root-key", "b.key"), 3, "the account acme exists already"),
    ],
)
def test_a_mistake_makes_no_account_and_no_key(
    run, data, passphrase, arguments, code, error
) -> None:
    done = run("account", *arguments)
    assert (done.code, done.err.splitlines()[0]) == (code, f"error: {error}")
    assert not Path("b.key").exists()
