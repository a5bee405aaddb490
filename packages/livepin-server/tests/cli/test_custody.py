"""livepin custody rekey: another master key, for a server that runs or not."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

ASKED = "backups made before now will open with the master key of now only"


@pytest.mark.parametrize("served_now", [True, False])
def test_the_master_key_changes_while_the_server_runs_and_while_not(
    run, start, data, served_now
) -> None:
    server = start(data) if served_now else None
    before = (data / "master.key").read_text()
    done = run("custody", "rekey", "--yes", "--reason", "an administrator has left")
    assert done.code == 0
    assert done.out == "2 keys sealed under a new master key.\n"
    assert done.err == (
        "warning: backups made before this need the old master key: it is not kept here\n"
    )
    after = (data / "master.key").read_text()
    assert before != after
    assert len(base64.b64decode(after)) == 32
    assert after.strip() not in done.out + done.err
    assert not (data / "master.key.new").exists()
    url = ("delivery", "set", "--url", "https://other.example.com:8443", "--yes")
    assert run(*url).code == 0  # the keys open
    if server is not None:
        assert server.end() == 0
    assert run(*url, "--recovery-url", "https://cdn.example.net/x").code == 0


def test_it_asks_first(terminal, run, data) -> None:
    before = (data / "master.key").read_text()
    person = terminal("custody", "rekey")
    person.until(f"{ASKED}. Type yes to go on:")
    person.type("no\n")
    assert person.end() == 2
    assert (data / "master.key").read_text() == before


def test_programs_get_what_is_left_to_do_and_no_key(run, data) -> None:
    found = run("custody", "rekey", "--yes", "--json").json
    assert set(found) == {"keys", "next"}
    assert not re.search(r"[A-Za-z0-9+/]{43}=", str(found))


def test_an_account_admin_may_not(run, remote, key_of, monkeypatch) -> None:
    monkeypatch.setenv("LIVEPIN_API_KEY", key_of("admin", "acme"))
    done = run("custody", "rekey", "--yes")
    assert (done.code, done.err.splitlines()[0]) == (
        3, "error: expected an API key for the whole server",
    )  # fmt: skip


def test_a_master_key_that_is_not_that_of_the_database_is_said(run, data) -> None:
    (data / "master.key").write_bytes(base64.b64encode(bytes(32)))
    status = run("status")
    assert status.code == 1
    assert re.search(
        r"warning: the (config|override) key .* of acme does not open; is ", status.err
    )
    done = run("custody", "rekey", "--yes")
    assert done.code == 4
    assert re.match(r"error: the (config|override) key .* of acme does not open\n", done.err)
    assert f"is {data / 'master.key'} the master key in force?" in done.err
    assert Path(data / "master.key").read_bytes() == base64.b64encode(bytes(32))
