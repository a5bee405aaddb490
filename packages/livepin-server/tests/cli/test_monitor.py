"""livepin monitor: a look at once, status, settings, history; what is refused, and how."""

from __future__ import annotations

import signal
from contextlib import nullcontext
from datetime import datetime, timezone
from types import SimpleNamespace

import pytest
from livepin.testing import make_chain
from livepin_server.cli import monitor
from livepin_server.cli.monitor_watch import _drawn as drawn

HOST = "localhost"
PIN = f"sha256/{'A' * 43}="


@pytest.fixture
def watched(run, data, api, ca):
    """A domain whose endpoint is real; return that."""
    done = run("domain", "add", HOST, "--ca", ca, "--connect", f"127.0.0.1:{api.port}")
    assert done.code == 0, done.err
    return api


def test_without_a_server_the_command_looks_itself(run, watched) -> None:
    assert "Nothing was looked at yet" in run("monitor", "status").out
    done = run("monitor", "run")
    assert (done.code, done.err) == (0, "")
    head, line, *_ = done.out.splitlines()
    assert head.split()[:5] == ["domain", "endpoint", "vantage", "state", "pins"]
    assert line.split()[:3] == [HOST, f"{HOST}:443", "here"]
    assert " match " in line
    found = run("monitor", "status", "--json").json
    assert [each["pins_match"] for each in found["endpoints"]] == [True]


def test_a_key_that_is_not_pinned_ends_with_1_and_says_what_mends_it(
    run, watched, authority
) -> None:
    run("monitor", "run")
    watched.present(make_chain(HOST, authority=authority))
    done = run("monitor", "run", HOST)
    assert done.code == 1, done.err
    assert "no match" in done.out
    assert f"\n  livepin pin add {HOST} sha256/" in done.out
    status = run("monitor", "status")
    assert (status.code, "no match" in status.out) == (1, True)
    assert "nobody will be told" in status.err
    listed = run("incident", "list", "--json").json
    assert listed[0]["kind"] == "pin_mismatch"
    lines = run("monitor", "history", HOST).out.splitlines()[1:]
    assert len(lines) == 2
    assert "  no  " in lines[0]


def test_what_mends_an_incident_over_two_domains_is_two_commands(
    run, watched, authority, ca
) -> None:
    other = "www.example.test"
    run("domain", "add", other, "--ca", ca, "--connect", f"127.0.0.1:{watched.port}")
    run("monitor", "run")
    watched.present(make_chain(HOST, other, authority=authority))
    run("monitor", "run")
    listed = run("incident", "list", "--json").json
    (found,) = [each for each in listed if each["kind"] == "pin_mismatch"]
    commands = found["notice"]["command"].split("\n")
    assert [each.split()[:4] for each in commands] == [
        ["livepin", "pin", "add", HOST], ["livepin", "pin", "add", other],
    ]  # fmt: skip
    said = "".join(f"\n  {each}" for each in commands) + "\n"
    for shown in (("monitor", "status"), ("incident", "show", str(found["number"]))):
        assert said in run(*shown).out
    seen = {"count": 0, "warnings": [], "endpoints": [], "incidents": [found]}
    place = SimpleNamespace(account="acme", served="here")
    lines = [str(each) for each in drawn(place, seen, "", datetime.now(timezone.utc))]
    assert said.strip("\n").split("\n") == [each for each in lines if "livepin pin add" in each]


def test_an_endpoint_that_does_not_answer_ends_with_4(run, watched) -> None:
    watched.close()
    assert run("monitor", "run").code == 4


class _Large:
    """An account with more endpoints than are listed: the others are looked at last."""

    base = "/v1/accounts/acme"

    def __init__(self, **found) -> None:
        self.found = {"mismatched": 0, "unknown": 0, **found}
        self.asked: list[str] = []

    def call(self, method, path, *, limit, since):
        self.asked.append(since)
        late = {} if len(self.asked) > 2 else {"eu-west": 3000, "here": 1000}
        return {"endpoints": [], "count": 5000, "incidents": [], "late": late, **self.found}


NOON = {"endpoints": 5000, "moment": "2027-01-01T12:00:00Z"}


def test_endpoints_beyond_those_that_are_listed_are_waited_for_and_count() -> None:
    for members, code in (({}, None), ({"mismatched": 1}, 1), ({"unknown": 1}, 4)):
        large = _Large(**members)
        found = monitor._followed(large, NOON, None, 60)
        assert large.asked == [NOON["moment"]] * 3
        with pytest.raises(SystemExit) if code else nullcontext() as ended:
            monitor._end(found)
        assert code is None or ended.value.code == code


def test_endpoints_beyond_those_that_are_listed_that_nobody_looks_at_end_with_4(capsys) -> None:
    late = _Large(late={"eu-west": 3000, "here": 1000})
    found = monitor._followed(late, NOON, None, 0)
    with pytest.raises(SystemExit, match="4"):
        monitor._end(found)
    said = " ".join(capsys.readouterr().err.split())
    assert "4000 endpoints not looked at in time, from eu-west, here;" in said


def test_a_running_server_looks_for_the_command(run, served, api, ca, monkeypatch) -> None:
    monkeypatch.setenv("LIVEPIN_DATA", str(served.data))
    run("domain", "add", HOST, "--ca", ca, "--connect", f"127.0.0.1:{api.port}")
    done = run("monitor", "run", "--json")
    assert done.code == 0, done.err
    assert [each["pins_match"] for each in done.json["endpoints"]] == [True]


def test_it_is_live_in_a_terminal_until_ctrl_c(run, served, terminal) -> None:
    shown = terminal("monitor", "watch", "--every", "1", "--data", str(served.data))
    shown.until("Ctrl-C ends.")
    shown.process.send_signal(signal.SIGINT)  # as the terminal of a shell does
    assert shown.end() == 0


def test_watching_is_refused_in_words_without_a_terminal_or_a_server(run, data, terminal) -> None:
    done = run("monitor", "watch")
    assert done.code == 2
    assert done.err.splitlines()[1] == "hint:  for programs: livepin monitor status --json"
    shown = terminal("monitor", "watch", "--data", str(data))
    shown.until("no server runs here")
    assert shown.end() == 4


def test_where_there_is_nothing_to_look_at_the_command_says_what_to_do(run, data) -> None:
    done = run("monitor", "run")
    assert (done.code, done.err.splitlines()[1]) == (2, "hint:  livepin domain add HOST")
    run("domain", "add", "*.example.com", "--pin", PIN)
    done = run("monitor", "run")
    assert done.code == 2
    assert "livepin monitor set '*.example.com' --host www.example.com" in done.err


def test_settings_are_changed_and_shown(run, data) -> None:
    run("domain", "add", "api.example.com", "--pin", PIN)
    done = run(
        "monitor", "set", "api.example.com", "--every", "5m", "--lead", "30d", "--unserved", "4w",
        "--tag", "ops", "--host", "api.example.com:8443",
    )  # fmt: skip
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("api.example.com is looked at at api.example.com:8443 every 5m.")
    shown = run("monitor", "status", "api.example.com").out
    assert "Looked at every 5m; a renewal is due 30 days before" in shown
    assert "Tags: ops" in shown
    found = run("monitor", "set", "api.example.com", "--no-hosts", "--no-tags", "--json").json
    assert (found["hosts"], found["tags"], found["every"]) == ([], [], 300)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("set", "aip.example.com", "--every", "5m"), 3, "did you mean api.example.com?"),
        (("set", "api.example.com"), 2, "expected what is to change"),
        (("set", "api.example.com", "--every", "2d"), 2, "--every: expected 1m to 1d"),
        (("set", "api.example.com", "--every", "soon"), 2, "expected a length of time"),
        (("set", "api.example.com", "--lead", "90m"), 2, "expected whole days"),
        (("set", "api.example.com", "--host", "x.example.org"), 2, "covers, found x.example.org"),
        (("set", "api.example.com", "--host", "api.example.com", "--no-hosts"), 2, "found both"),
        (("set", "https://api.example.com", "--every", "5m"), 2, "give the bare host"),
        (("status", "aip.example.com"), 3, "did you mean api.example.com?"),
        (("run", "aip.example.com"), 3, "did you mean api.example.com?"),
        (("history", "aip.example.com"), 3, "did you mean api.example.com?"),
        (("worker", "--vantage", "eu-west"), 2, "a worker needs PostgreSQL"),
        (("worker", "--vantage", "EU"), 2, "expected a vantage"),
        (("forget", "eu-west"), 3, "eu-west"),
    ],
)
def test_what_cannot_be_is_refused_in_words(run, data, arguments, code, text) -> None:
    run("domain", "add", "api.example.com", "--pin", PIN)
    done = run("monitor", *arguments)
    assert (done.code, text in done.err) == (code, True), done.err


def test_the_rules_for_prometheus_are_printed_or_written_over_their_like_alone(
    run, tmp_path
) -> None:
    printed = run("monitor", "export").out
    assert "- alert: LivepinPinMismatch" in printed
    file = tmp_path / "rules.yml"
    for _ in range(2):
        assert run("monitor", "export", "--out", file).code == 0
    assert file.read_text() == printed
    file.write_text("groups: []\n")
    done = run("monitor", "export", "--out", file)
    assert (done.code, file.read_text()) == (2, "groups: []\n")
