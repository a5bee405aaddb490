"""livepin override: created, listed, ended; and what an operator sees elsewhere."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest
from livepin import tokens
from livepin_server import folder
from livepin_server.services.model import Intent, NewDomain, NewPin
from livepin_server.services.tokens.recording import Seen

HOST = "api.example.com"
PIN = f"sha256/{'A' * 43}="
THUMBPRINT = "-" + "t" * 42
ID = tokens.installation_id("acme", THUMBPRINT)
OTHER = "n" * 43


@pytest.fixture
def known(data):
    """An account with a domain, and an installation that asked for a token."""
    with folder.opened(data, {}, clock=lambda: datetime.now(timezone.utc)) as found:
        services = found.services
        pins, intent = [NewPin(sha256=PIN)], Intent(author="bob")
        services.domains.add("acme", NewDomain(pattern=HOST, pins=pins), intent)
        services.recording.note(
            Seen(
                account="acme", id=ID, thumbprint=THUMBPRINT, app="app", stream="main",
                config_version=1, moment=services.clock(),
            )
        )  # fmt: skip
    return data


def create(run, *arguments, installation="latest"):
    where = ("--domain", HOST, "--reason", "CHG-1234")
    return run("override", "create", installation, *where, *arguments)


def test_there_is_none_at_first(run, data) -> None:
    assert run("override", "list").out == "There is no override.\n"
    assert run("override", "list", "--json").json == []


def test_one_is_created_listed_and_ended(run, known) -> None:
    done = create(run, "--mode", "off", "--for", "2h")
    assert done.code == 0, done.err
    first, _, last = done.out.splitlines()
    assert first.startswith(f"{ID} is unpinned at {HOST} until 20")
    assert last == "To end it before: livepin override end 3"
    head, line = run("override", "list").out.splitlines()
    assert head.split() == ["override", "installation", "domains", "mode", "state", "by", "reason"]
    assert line.split()[:5] == ["3", ID, HOST, "off", "until"]
    assert line.endswith("UTC  operator  CHG-1234")
    done = run("override", "end", "3", "--reason", "done")
    assert done.out == f"The override 3 of {ID} has ended.\n"
    assert "UTC by operator  operator  CHG-1234" in run("override", "list").out
    assert (run("override", "end", "3").code, run("override", "end", "99").code) == (3, 3)
    actions = [each["entry"]["action"] for each in run("audit", "log", "--json").json]
    assert actions[:2] == ["override.end", "override.create"]


def test_what_it_does_is_said_in_words(run, known) -> None:
    assert (
        "connects whatever it is shown, and reports it, at" in create(run, "--mode", "report").out
    )
    assert f"takes these pins and no others at {HOST}" in create(run, "--pins", PIN).out
    found = create(run, "--pins", PIN, "--mode", "report", "--json").json
    assert (found["mode"], found["pins"], found["reason"]) == ("report", [PIN], "CHG-1234")


def test_an_installation_is_named_by_its_thumbprint_too(run, known) -> None:
    assert create(run, "--mode", "off", installation=THUMBPRINT).out.startswith(ID)
    found = create(run, "--mode", "off", "--json", installation=OTHER).json
    assert (found["thumbprint"], found["domains"]) == (OTHER, [HOST])
    assert [each["installation"] for each in run("override", "list", ID, "--json").json] == [ID]
    assert len(run("override", "list", "--json").json) == 2
    assert len(run("override", "list", "--limit", "1", "--json").json) == 1
    assert run("override", "end", THUMBPRINT, "--json").json["installation"] == ID
    assert run("installation", "tag", OTHER, "test").code == 0


def test_who_looks_at_the_installation_and_at_the_server_sees_it(run, known) -> None:
    create(run, "--mode", "off")
    shown = run("installation", "show", ID).out
    assert f"  override    3: off at {HOST} until 20" in shown
    status = run("status")
    assert f"warning: an override unpins the installation {ID} of acme at {HOST}" in status.err
    assert status.code == 1
    run("override", "end", ID)
    assert "override" not in run("installation", "show", ID).out
    assert "an override" not in run("status").err


def test_one_that_has_expired_says_so(run, known) -> None:
    create(run, "--mode", "off", "--for", "1m")
    with folder.opened(known, {}, clock=lambda: datetime.now(timezone.utc)) as found:
        found.services.database.write(
            lambda each: each.exec_driver_sql("UPDATE overrides SET expires = issued")
        )
    (line,) = run("override", "list").out.splitlines()[1:]
    assert line.split()[4] == "expired"


def test_what_cannot_be_is_refused_in_words(run, known) -> None:
    for arguments, text in (
        ((), "expected what is to change there"),
        (("--mode", "enforce"), "Invalid value"),
        (("--mode", "off", "--for", "8d"), "at most 7d"),
        (("--mode", "off", "--for", "0"), "at most 7d"),
        (("--mode", "off", "--for", "soon"), "expected a length of time"),
        (("--mode", "off", "--domain", "https://x.example"), "expected a host name"),
        (("--mode", "off", "--domain", "x.example"), "does not list x.example"),
        (("--pins", "x"), "sha256/BASE64"),
        (("--mode", "off", "--pins", PIN), "with the mode off no pins"),
    ):
        done = create(run, *arguments)
        assert (done.code, text in done.err) == (2, True), done.err
    done = run("override", "create", "latest", "--domain", HOST, "--mode", "off")
    assert (done.code, done.err.splitlines()[0]) == (2, "error: expected --reason TEXT")


def test_what_names_no_installation_is_refused(run, known) -> None:
    for command in (("list", "x"), ("end", "x"), ("end", "1" * 17)):
        done = run("override", *command)
        assert (done.code, "expected an id of 22 characters" in done.err) == (2, True)
    assert "expected an id" in create(run, "--mode", "off", installation="x").err
    assert json.loads(run("override", "list", "--json").out) == []
