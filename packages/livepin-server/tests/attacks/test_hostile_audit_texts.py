"""Texts that are meant to break the audit log, the terminal of who reads it, or its disk."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
from livepin_server.cli.app import main
from livepin_server.services.audit import entry_of
from livepin_server.services.model import Intent
from livepin_server.web.auth import FAILURES_AT_ONCE

HOSTILE = [
    "\x1b[2J\x1b]0;owned\x07\x9b31m",  # clears the screen, renames the window
    "line\nentry 99, 2026-11-23 12:00:00 UTC: nothing\r\nhappened",
    'quote"}\\u0022,"author":"alice","x":{"',
    "\u202etxet desrever\u2028\u2029\ufeff\x7f\x00",
    "\ud800 half a pair \udfff",
    "\U0001f600" * 500,
    "{}" * 250,
    "x" * 100_000,
]


@pytest.fixture(params=["sqlite", "postgresql"])
def data(request):
    """The data folder, on each database in turn."""
    name = "postgres_folder" if request.param == "postgresql" else "data_folder"
    return request.getfixturevalue(name)


def test_a_hostile_reason_breaks_neither_the_log_nor_the_terminal(data, open_folder, capsys):
    with open_folder(data) as opened:
        audit = opened.services.audit
        for each in HOSTILE:
            who = Intent(author=each, reason=each, key_id=each, origin=each)
            entry = entry_of(
                who, account="acme", action="probe", now=opened.services.clock(), target=each,
                before={each: each}, after={"changed": [each], each: [each]},
            )  # fmt: skip
            audit.record(entry)
    assert main(["audit", "verify", "--data", str(data)]) == 0
    capsys.readouterr()
    for command in (["log"], ["log", "--json"], ["export"]):
        assert main(["audit", *command, "--data", str(data)]) == 0
        out = capsys.readouterr().out
        assert "\x1b" not in out
        assert not [c for c in out if c != "\n" and not c.isprintable()]
    lines = out.splitlines()
    assert len(lines) == len(HOSTILE) + 3
    for line, text in zip(lines[3:], HOSTILE, strict=True):
        assert line.isascii()
        assert len(line) < 32 * 1024
        reason = json.loads(line)["entry"]["reason"]
        assert reason == text.encode("utf-8", "backslashreplace").decode()[:500]


def test_a_hostile_reason_over_the_api_is_kept_or_refused_and_the_log_holds(start_server):
    server = start_server()
    key = server.key()
    path = "/v1/accounts/acme/pin-sets"
    kept = 0
    for number, text in enumerate(HOSTILE):
        body = {"name": f"s{number}", "pins": [{"sha256": "sha256/" + "A" * 43 + "="}]}
        content = json.dumps(body | {"reason": text}).encode()
        headers = {"content-type": "application/json"}
        answer = server.send(
            "POST", path, to="management", key=key, content=content, headers=headers
        )
        assert answer.status_code in (201, 400), answer.text
        kept += answer.status_code == 201
    assert kept > 3
    lines = server.services.audit.export("acme").splitlines()
    assert len(lines) == 3 + kept


def test_a_flood_of_wrong_keys_does_not_flood_the_log(start_server):
    server = start_server(requests_per_second="1000000")

    def told():
        return [
            json.loads(line)["entry"]
            for line in server.services.audit.export("").splitlines()
            if b"login.blocked" in line
        ]

    statuses = [
        server.send("GET", "/v1/whoami", to="management", key=f"wrong {number}").status_code
        for number in range(int(FAILURES_AT_ONCE) + 200)
    ]
    assert statuses.count(429) >= 199
    (entry,) = told()
    assert (entry["action"], entry["origin"]) == ("login.blocked", "127.0.0.1")
    assert entry["reason"] == "too many wrong API keys"
    assert "wrong 1" not in json.dumps(entry)


def test_guessing_goes_on_being_refused_where_the_log_cannot_be_written(start_server, data_folder):
    server = start_server(requests_per_second="1000000")
    with closing(sqlite3.connect(data_folder / "livepin.db")) as connection:
        connection.execute("ALTER TABLE audit RENAME TO gone")
        connection.commit()
    statuses = {
        server.send("GET", "/v1/whoami", to="management", key="wrong").status_code
        for _ in range(int(FAILURES_AT_ONCE) + 5)
    }
    assert statuses == {401, 429}
