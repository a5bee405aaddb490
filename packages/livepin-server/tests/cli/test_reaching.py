"""How commands find the server: in process, on the data folder, at LIVEPIN_URL, or not at all."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from livepin.testing import RecordingServer, make_chain
from livepin_server.lock import holding

from .conftest import NOBODY, no_backup

PIN = "sha256/" + "A" * 43 + "="


def test_a_running_server_is_found_by_its_data_folder(run, served) -> None:
    done = run("domain", "add", "found.test", "--pin", PIN, "--data", served.data)
    assert done.code == 0
    assert run("domain", "remove", "found.test", "--data", served.data).code == 0


@pytest.mark.parametrize("host", ["127.0.0.2", "::1", "0.0.0.0"])
def test_a_running_server_is_found_wherever_management_listens(
    run, data, start, monkeypatch, host
) -> None:
    monkeypatch.setenv("LIVEPIN_MANAGEMENT_HOST", host)
    start(data)
    assert run("status", "--json").json["running"] is True


def test_a_server_elsewhere_is_found_by_its_url(run, remote) -> None:
    done = run("status", "--json")
    assert (done.code, done.json["running"]) == (1, True)


def test_the_same_answer_comes_from_a_process_of_its_own(shell, remote) -> None:
    done = shell("account", "list", "--json")
    assert (done.code, done.err) == (0, "")
    assert [each["name"] for each in done.json] == ["acme"]


def test_a_data_folder_that_is_named_wins_over_the_url(run, remote, template) -> None:
    assert run("status", "--json", "--data", template).json["running"] is False


@pytest.mark.parametrize(
    ("role", "account", "arguments", "error"),
    [
        ("viewer", None, ("domain", "add", "v.test", "--pin", PIN), "operator, found viewer"),
        ("viewer", "acme", ("pinset", "add", "v", PIN), "operator, found viewer"),
        ("operator", None, ("delivery", "set", "--no-recovery"), "admin, found operator"),
        ("pentest", None, ("domain", "list", "--account", "acme"), "viewer, found pentest"),
    ],
)
def test_a_key_without_the_right_is_refused(
    run, remote, key_of, monkeypatch, role, account, arguments, error
) -> None:
    monkeypatch.setenv("LIVEPIN_API_KEY", key_of(role, account))
    done = run(*arguments)
    assert (done.code, done.out) == (3, "")
    assert done.err.splitlines() == [
        f"error: expected the role {error}",
        "hint:  it needs an API key with more rights: LIVEPIN_API_KEY",
    ]


def test_a_viewer_may_look(run, remote, key_of, monkeypatch) -> None:
    monkeypatch.setenv("LIVEPIN_API_KEY", key_of("viewer", "acme"))
    assert run("domain", "list", "--json").json == []


def test_a_pentester_unpins_his_device_and_looks_at_nothing_else(
    run, remote, key_of, monkeypatch
) -> None:
    run("domain", "add", "unpinned.test", "--pin", PIN)
    his, other = "-" + "h" * 42, "o" * 43
    assert run("installation", "tag", his, "test").code == 0
    monkeypatch.setenv("LIVEPIN_API_KEY", key_of("pentest", "acme"))
    what = ("--domain", "unpinned.test", "--mode", "off", "--reason", "CHG-1234")
    made = run("override", "create", his, *what, "--json").json
    assert run("override", "list", "--json").json == [made]
    refused = run("override", "create", other, *what)
    assert (refused.code, "an installation with the tag test" in refused.err) == (3, True)
    assert "hint:  an admin gives it: livepin installation tag " in refused.err
    assert run("override", "end", his).code == 0
    assert run("installation", "list").code == 3


def test_a_viewer_does_not_make_the_server_look_around(
    run, remote, key_of, monkeypatch, api, ca
) -> None:
    monkeypatch.setenv("LIVEPIN_API_KEY", key_of("viewer"))
    done = run("domain", "add", "localhost", "--port", api.port, "--ca", ca)
    assert done.code == 3
    assert api.connections == 1  # from here alone


def test_domain_add_works_through_a_running_server(run, remote, api, ca) -> None:
    done = run("domain", "add", "localhost", "--port", api.port, "--ca", ca)
    assert (done.code, done.err) == (0, no_backup("localhost") + NOBODY)
    assert api.connections == 3  # from here, and from the server: to compare, and to publish
    assert run("domain", "remove", "localhost").code == 0


@pytest.mark.parametrize(
    ("name", "value", "code", "error", "hint"),
    [
        (
            "LIVEPIN_API_KEY",
            "",
            2,
            "LIVEPIN_URL is set, LIVEPIN_API_KEY is not",
            "it takes a key, such as lpk_...",
        ),
        (
            "LIVEPIN_API_KEY",
            "schlüssel",
            2,
            "LIVEPIN_API_KEY is not an API key",
            "a key looks like lpk_...",
        ),
        (
            "LIVEPIN_API_KEY",
            "lpk_000000000000_" + "A" * 43,
            3,
            "the server does not take this API key",
            "is LIVEPIN_API_KEY right, and neither expired nor revoked?",
        ),
        ("LIVEPIN_CA", "nowhere.pem", 2, "cannot read the CA file nowhere.pem: No such file or "
         "directory", "it is the file tls/ca.pem of the server's data folder"),
        ("LIVEPIN_CA", "empty.pem", 2, "cannot read the CA file empty.pem: no PEM certificates",
         "it is the file tls/ca.pem of the server's data folder"),
        ("LIVEPIN_URL", "https://nowhere.invalid:8444", 4,
         "the server at https://nowhere.invalid:8444 does not answer: "
         "[Errno -2] Name or service not known",
         "the name does not resolve to an address; is LIVEPIN_URL right?"),
        *[
            (
                "LIVEPIN_URL",
                url,
                2,
                f"expected LIVEPIN_URL to be an https URL, found {url!r}",
                "such as https://127.0.0.1:8444",
            )
            for url in ("http://127.0.0.1:8444", "127.0.0.1:8444", "https://127.0.0.1:x", "https://")
        ],
        (
            "LIVEPIN_URL",
            "https://admin:secret@127.0.0.1:8444",
            2,
            "expected LIVEPIN_URL to be an https URL, found one with a password",
            "such as https://127.0.0.1:8444",
        ),
    ],
)  # fmt: skip
def test_a_mistake_in_a_variable_names_it(
    run, remote, monkeypatch, name, value, code, error, hint
) -> None:
    Path("empty.pem").write_text("")
    monkeypatch.setenv(name, value)
    done = run("account", "list")
    expected = [f"error: {error}", *([] if hint is None else [f"hint:  {hint}"])]
    assert (done.code, done.out, done.err.splitlines()) == (code, "", expected)


def test_a_server_that_does_not_answer_is_named(run, remote, monkeypatch) -> None:
    monkeypatch.setenv("LIVEPIN_URL", "https://127.0.0.1:1")
    done = run("account", "list")
    assert done.code == 4
    assert done.err.startswith("error: the server at https://127.0.0.1:1 does not answer: ")
    assert done.err.endswith("\nhint:  is it running? start it with: livepin serve\n")


def test_a_server_under_another_ca_gets_no_key(run, remote, monkeypatch, endpoint) -> None:
    stranger = endpoint(make_chain("127.0.0.1"))
    monkeypatch.setenv("LIVEPIN_URL", f"https://127.0.0.1:{stranger.port}")
    done = run("account", "list")
    assert done.code == 4
    assert done.err.endswith("hint:  is LIVEPIN_CA the file tls/ca.pem of its data folder?\n")
    assert stranger.received == b""


@pytest.mark.parametrize("status", [200, 404])
def test_a_server_that_is_not_livepin_is_named(run, remote, monkeypatch, chain, ca, status) -> None:
    with RecordingServer(chain, respond=lambda *_: (status, {}, b"<html>")) as stranger:
        url = f"https://127.0.0.1:{stranger.port}"
        monkeypatch.setenv("LIVEPIN_URL", url)
        monkeypatch.setenv("LIVEPIN_CA", str(ca))
        done = run("account", "list")
    what = "" if status == 200 else f" ({status})"
    assert done.code == 4
    assert done.err.splitlines() == [
        f"error: {url} answers{what}, but not as a Livepin server",
        "hint:  is LIVEPIN_URL the address of management?",
    ]


# -- the data folder ---------------------------------------------------------------------------


def test_what_a_killed_server_left_behind_does_not_matter(run, data, start) -> None:
    server = start(data)
    server.end(signal.SIGKILL)
    assert (data / "run" / "management.json").exists()
    done = run("status", "--json")
    assert (done.code, done.json["running"]) == (1, False)
    assert run("domain", "add", "a.test", "--pin", PIN).code == 0


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"host": "127.0.0.1", "port": 1, "pid": 1}', '{"port": "x"}']
)
def test_a_run_file_without_a_server_does_not_matter(run, data, text) -> None:
    (data / "run").mkdir()
    (data / "run" / "management.json").write_text(text)
    assert run("account", "list").code == 0


def test_a_command_waits_for_another_one_on_the_same_folder(run, data) -> None:
    """Two commands of a script, or a server that is starting, follow each other."""
    with holding(data):
        ended = []
        thread = threading.Thread(target=lambda: ended.append(run("account", "list", "--json")))
        thread.start()
        thread.join(0.5)
        assert not ended
    thread.join(30)
    assert [each.code for each in ended] == [0]


def test_a_folder_that_is_none_is_left_alone(run) -> None:
    Path("photos").mkdir()
    for command in (("domain", "list"), ("serve",), ("upgrade",), ("delivery", "renew-keys")):
        done = run(*command, "--data", "photos")
        assert (done.code, done.out) == (2, "")
        assert done.err.splitlines() == [
            "error: photos is not a Livepin data folder",
            "hint:  --data FOLDER or LIVEPIN_DATA names one; livepin init makes one",
        ]
    assert [*Path("photos").iterdir()] == []
    assert "livepin-data is not" in run("domain", "list").err


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("livepin.db", b"no database", "the database is not one of SQLite's"),
        ("livepin.toml", b"\xff\xfe", "livepin.toml: "),
        ("livepin.toml", b"delivery_urls = [", "livepin.toml: "),
        ("livepin.toml", b"delivery_urls = []\nport = 1", "livepin.toml: there is no setting "
         "'port'"),
        ("livepin.toml", b'delivery_urls = ["https://a.test"]\ndatabase = "nosuch://x"',
         "the setting database is not the URL of a database that can be used here"),
        ("livepin.toml", b'delivery_urls = ["https://a.test"]\n'
         b'database = "mysql+mysqldb://u:secret@h/d"',
         "the setting database is not the URL of a database that can be used here"),
        ("operator.key", None, "cannot use data: No such file or directory"),
        ("master.key", None, "cannot read data/master.key: No such file or directory"),
        ("tls/ca.pem", None, "cannot read data/tls/ca.pem: No such file or directory"),
        ("operator.key", b"lpk_x\n", "the server does not take this API key"),
    ],
)  # fmt: skip
def test_a_damaged_data_folder_gets_one_line(run, data, name, content, error) -> None:
    path = data / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    done = run("account", "list", "--data", "data")
    assert done.code in (2, 3, 4)
    assert done.err.startswith(f"error: {error}")
    assert "Traceback" not in done.err
    assert "secret" not in done.err


def test_keys_that_others_can_read_are_refused(run, data) -> None:
    (data / "master.key").chmod(0o644)
    done = run("account", "list")
    assert done.code == 2
    assert done.err.splitlines() == [
        f"error: {data}/master.key can be read by others",
        f"hint:  chmod 600 {data}/master.key",
    ]


# -- answers that are lost ---------------------------------------------------------------------


@pytest.fixture
def unreliable(monkeypatch, chain, ca) -> Iterator[list[str]]:
    """A management API that takes a change and dies, or refuses it, before it has answered."""
    endings: list[str] = []

    def respond(path: str, _headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        if path.endswith("/prepare"):
            return 200, {}, b'{"payload": "e30"}'
        if "/pins" not in path and not path.endswith("/root"):
            return 200, {}, b'{"shared": false}'
        if endings[0] == "lost":
            raise ConnectionResetError
        return 409, {}, b'{"title": "Conflict", "status": 409, "detail": "not now"}'

    with RecordingServer(chain, respond=respond) as server:
        monkeypatch.setenv("LIVEPIN_URL", f"https://127.0.0.1:{server.port}")
        monkeypatch.setenv("LIVEPIN_CA", str(ca))
        monkeypatch.setenv("LIVEPIN_API_KEY", "lpk_x")
        monkeypatch.setenv("LIVEPIN_ROOT_PASSPHRASE", "correct horse battery staple")
        yield endings


@pytest.mark.parametrize(
    "command",
    [
        ("pin", "new-backup", "a.test", "--out", "new.key", "--account", "acme"),
        ("account", "add", "beta", "--root-key", "new.key"),
    ],
)
@pytest.mark.parametrize(("ending", "code"), [("lost", 4), ("refused", 3)])
def test_a_private_key_is_kept_unless_the_change_was_surely_refused(
    run, unreliable, command, ending, code
) -> None:
    """The change may have been made: then losing the key would lose the pin, or the account."""
    unreliable.append(ending)
    done = run(*command)
    assert done.code == code
    assert Path("new.key").exists() == (ending == "lost")
