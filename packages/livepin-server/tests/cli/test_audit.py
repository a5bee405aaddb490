"""livepin audit log and export."""

from __future__ import annotations

import json
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from livepin_server.cli.audit import _changes

PIN = "sha256/" + "A" * 43 + "="


@pytest.fixture
def changed(run, data) -> None:
    """A domain, its removal, and an API key."""
    assert run("domain", "add", "a.test", "--pin", PIN, "--reason", "the first").code == 0
    assert run("domain", "remove", "a.test").code == 0


def heads(out: str) -> list[str]:
    """Return the lines that begin an entry, without their times."""
    return [line.partition("UTC: ")[2] for line in out.splitlines() if line.startswith("entry ")]


def test_the_log_says_who_did_what_from_where_and_why(run, changed) -> None:
    done = run("audit", "log")
    newest, *_ = run("audit", "log", "--json").json
    assert newest["number"] == 4
    moment = newest["entry"]["moment"]
    assert done.out.splitlines() == [
        f"entry 4, {moment[:10]} {moment[11:19]} UTC: config.publish main by operator "
        "from 127.0.0.1",
        "  version: 2 -> 3",
        "  - domain a.test",
        done.out.splitlines()[3],
        "  the first",
        "  version: 1 -> 2",
        "  + domain a.test (enforce)",
        f"  + pin a.test {PIN}",
        *done.out.splitlines()[8:],
    ]
    assert heads(done.out) == [
        "config.publish main by operator from 127.0.0.1",
        "config.publish main by operator from 127.0.0.1",
        "config.publish main by livepin init",
        "account.create acme by livepin init",
    ]


def test_the_servers_own_log_is_another(run, changed) -> None:
    done = run("audit", "log", "--server")
    (name, prepared) = heads(done.out)
    assert name.startswith("api-key.create ")
    assert prepared == "account.prepare acme by livepin init"
    assert done.out.splitlines()[2:5] == ["  name: operator", "  role: admin", "  account: -"]


def test_the_log_is_searched(run, changed) -> None:
    assert len(heads(run("audit", "log", "--limit", "1").out)) == 1
    assert len(heads(run("audit", "log", "--action", "config").out)) == 3
    assert len(heads(run("audit", "log", "--author", "operator").out)) == 2
    assert run("audit", "log", "--author", "nobody").out == ""
    assert run("audit", "log", "--since", "2101-01-01").out == ""
    assert len(heads(run("audit", "log", "--since", "2026-01-01").out)) == 4


def test_a_search_goes_on_over_what_it_does_not_want(run, changed, monkeypatch) -> None:
    monkeypatch.setattr("livepin_server.services.audit.log._MOST_LOOKED_AT", 1)
    found = run("audit", "log", "--action", "account.create", "--json").json
    assert [each["number"] for each in found] == [1]


def test_long_entries_are_shown_in_part(run, data) -> None:
    pins = [f"sha256/{'A' * 41}{letter}A=" for letter in "ABCDEFGHIJKLMNOPQRST"]
    assert run("pinset", "add", "many", *pins, "--label", "x" * 100).code == 0
    lines = run("audit", "log", "--limit", "1").out.splitlines()
    assert lines[-1] == "  and 10 more, which --json shows"
    assert run("pinset", "update", "many", *pins[:2], "--yes").code == 0
    assert run("pinset", "add", "more", *pins, "--label", "x" * 300).code == 0
    lines = run("audit", "log", "--limit", "1").out.splitlines()
    assert lines[-1].startswith("  after is not whole: it had ")


def test_a_long_value_is_shown_in_part(run, data) -> None:
    before, after = {"a": 1, "b": "x" * 300, "same": 1}, {"a": {"n": 1}, "same": 1, "c": None}
    assert _changes(before, after) == ['a: 1 -> {"n":1}', f"b: {'x' * 200} ... -> -", "c: -"]


# -- export --------------------------------------------------------------------------------------


def test_an_export_is_a_line_an_entry(run, changed) -> None:
    lines = run("audit", "export").out.splitlines()
    assert [json.loads(line)["number"] for line in lines] == [1, 2, 3, 4]
    assert list(json.loads(lines[0])) == ["number", "previous", "digest", "entry"]
    assert json.loads(lines[2])["entry"]["reason"] == "the first"
    assert run("audit", "export", "--after", "3").out.splitlines() == lines[3:]
    assert run("audit", "export", "--since", "2026-01-01").out.splitlines() == lines
    assert run("audit", "export", "--after", "4").out == ""
    assert run("audit", "export", "--since", "2101-01-01").out == ""
    servers = run("audit", "export", "--server").out.splitlines()
    assert [json.loads(line)["entry"]["account"] for line in servers] == ["", ""]


def test_an_export_of_many_pages_is_one(run, changed, monkeypatch) -> None:
    lines = run("audit", "export").out
    monkeypatch.setattr("livepin_server.services.audit.log._MOST_BYTES", 1)
    assert run("audit", "export").out == lines


def test_an_export_into_a_file_is_whole_and_its_owners(run, changed, tmp_path) -> None:
    printed = run("audit", "export").out
    done = run("audit", "export", "--out", "acme.jsonl")
    assert done.out == "acme.jsonl holds 4 entries: 1 to 4\n"
    assert Path("acme.jsonl").read_text() == printed
    assert stat.S_IMODE(Path("acme.jsonl").stat().st_mode) == 0o600
    done = run("audit", "export", "--after", "3", "--out", "new.jsonl", "--json")
    assert done.json == {"file": "new.jsonl", "entries": 1, "last": 4}
    done = run("audit", "export", "--after", "4", "--out", "none.jsonl")
    assert done.out == "none.jsonl holds 0 entries: there is none after 4\n"
    assert Path("none.jsonl").read_bytes() == b""


def test_an_export_never_writes_over_a_file(run, changed) -> None:
    Path("acme.jsonl").write_text("evidence")
    done = run("audit", "export", "--out", "acme.jsonl")
    assert (done.code, done.err.splitlines()[0]) == (2, "error: acme.jsonl exists already")
    assert Path("acme.jsonl").read_text() == "evidence"


def test_an_export_that_fails_leaves_no_file(run, changed, tmp_path) -> None:
    done = run("audit", "export", "--after", "5", "--out", "acme.jsonl")
    assert (done.code, done.err) == (
        3,
        "error: there is no entry 5: the log ends at entry 4\n"
        "hint:  entries were cut off, or this is another server: livepin audit verify\n",
    )
    assert not list(tmp_path.glob("*acme.jsonl*"))
    done = run("audit", "export", "--out", "nowhere/acme.jsonl")
    assert (done.code, done.err) == (
        2, "error: cannot write nowhere/acme.jsonl: No such file or directory\n",
    )  # fmt: skip


def test_status_warns_of_a_log_that_was_cut_off(run, changed, data) -> None:
    assert "audit" not in run("status").err
    with closing(sqlite3.connect(data / "livepin.db")) as connection:
        connection.execute("DROP TRIGGER audit_delete")
        connection.execute("DELETE FROM audit WHERE account = 'acme' AND number = 4")
        connection.commit()
    done = run("status")
    assert done.code == 1
    assert "the newest config of acme carries a head that its audit log does not have" in done.err
