"""livepin policy: shown, tried, set and explained; and mistakes in it."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest
from livepin_server import folder
from livepin_server.attestation.appraisal import appraise
from livepin_server.attestation.attested import EvidenceError
from livepin_server.attestation.claims import Signal, Signals, claims_of, refused
from livepin_server.attestation.policy import DEFAULT
from livepin_server.services.tokens.recording import Seen
from livepin_server.storage.schema import proofs
from sqlalchemy import insert

ONE = "1" * 22


@pytest.fixture
def seen(data):
    """An installation under a debugger, whose attestation was refused, and that proved a little."""
    now = datetime.now(timezone.utc)
    found = (Signal("debugger", "gdb"), Signal("proxy"))
    signals = Signals(format="signals", sdk="python", found=found, unchecked=("changed_code",))
    refusal = refused({"format": "play-integrity"}, EvidenceError("nonce", "another one"))
    claims = claims_of((), signals, [refusal])
    with folder.opened(data, {}, clock=lambda: now) as opened:
        opened.services.recording.note(
            Seen("acme", ONE, "t" * 43, "shop", "main", 1, now, claims,
                 appraise(DEFAULT, "shop", claims, (), now))
        )  # fmt: skip
        row = {
            "account": "acme", "id": ONE, "format": "workload-jwt", "app": "shop",
            "level": "platform", "bound": False, "said": '{"pod": "web-1"}', "moment": now,
        }  # fmt: skip
        opened.services.recording.keep()
        opened.services.database.write(
            lambda connection: connection.execute(insert(proofs).values(**row))
        )
    return data


def test_the_shipped_policy_is_shown(run, data) -> None:
    lines = run("policy", "show").out.splitlines()
    assert lines[:3] == ["The policy as shipped.", "  mode        enforce", "  level       none"]
    assert any(each.split() == ["injected_code", "fatal", "as", "shipped"] for each in lines)
    assert json.loads(run("policy", "show", "--json").out)["version"] == 0


def test_a_policy_is_tried_set_shown_and_restored(run, seen, tmp_path) -> None:
    (tmp_path / "app.bin").write_bytes(b"app")
    manifest = tmp_path / "manifest"
    run("app", "measure", str(tmp_path / "app.bin"), "--manifest", str(manifest))
    run("app", "add", "shop")
    run("app", "release", "add", "shop", "1.4", "--manifest", str(manifest))
    change = ["--signal", "debugger=fatal", "--signal", "own=7", "--threshold", "90", "--fresh",
              "7d", "--relayable", "on",
              "--release", "shop=on", "--other-apps", "take"]  # fmt: skip
    done = run("policy", "set", *change, "--dry-run")
    assert done.out.splitlines() == [
        "Of 1 installation of the last day, 1 would be refused, or reported; 0 before.",
        f"  1 installation of shop, {ONE} for one: the signal debugger is fatal: gdb",
    ]
    effect = json.loads(run("policy", "set", *change, "--dry-run", "--json").out)
    assert effect["newly_refused"] == 1
    done = run("policy", "set", *change)
    assert (done.code, "1 of 1 installations of the last day" in done.err) == (2, True)
    done = run("policy", "set", *change, "--yes", "--reason", "a trial")
    assert done.out.splitlines()[0] == "Policy 1 is in force."
    policy = json.loads(run("policy", "show", "--json").out)["policy"]
    assert policy == {
        "fresh": 604800, "relayable": True, "signals": {"debugger": "fatal", "own": 7},
        "threshold": 90, "apps": {"shop": {"release": True}}, "other_apps": "take",
    }  # fmt: skip
    shown = run("policy", "show").out
    assert shown.splitlines()[0].endswith(": a trial")
    assert "    shop: as every app, of a registered release\n    other apps: take\n" in shown
    again = ["--signal", "own=shipped", "--app", "shop=self", "--app", "web=any", "--mode",
             "report", "--level", "self"]  # fmt: skip
    done = run("policy", "set", *again, "--yes", "--json")
    found = json.loads(done.out)["policy"]["policy"]
    assert found["apps"] == {"shop": {"level": "self", "release": True}, "web": {}}
    assert (found["signals"], found["mode"], found["level"]) == (
        {"debugger": "fatal"}, "report", "self",
    )  # fmt: skip
    assert "report: nobody is refused" in run("policy", "show").out
    run("policy", "set", "--app", "web=", "--level", "none", "--yes")
    assert run("policy", "set", "--restore", "0", "--yes").code == 0
    assert json.loads(run("policy", "show", "--json").out)["policy"] == {}
    versions = run("policy", "show", "--all").out.splitlines()
    assert [each.split()[0] for each in versions] == ["version", "4", "3", "2", "1"]
    assert "as shipped" in run("policy", "show", "--version", "4").out


def test_a_policy_is_set_from_a_file(run, data, tmp_path) -> None:
    file = tmp_path / "policy.json"
    file.write_text('{"threshold": 50}')
    done = run("policy", "set", "--file", str(file), "--signal", "proxy=20")
    assert done.out.splitlines() == [
        "Policy 1 is in force.",
        "No installation was seen in the last day: nobody can tell what it does.",
    ]
    found = json.loads(run("policy", "show", "--json").out)["policy"]
    assert found == {"threshold": 50, "signals": {"proxy": 20}}


def test_an_installation_is_explained(run, seen) -> None:
    assert run("policy", "explain", ONE).out.splitlines()[:7] == [
        f"{ONE}  shop",
        "  verdict     passes  (policy 0, rule pass)",
        "  level       self",
        "  signals     60 of 100",
        "       60  debugger: gdb",
        "        0  proxy",
        "  not looked for: changed_code",
    ]
    rest = run("policy", "explain", "latest").out.splitlines()[7:]
    assert rest[0] == "  refused     play-integrity: nonce: another one"
    assert rest[1].startswith("  proved      platform, relayable, does not count now, at 20")
    assert rest[2:] == ["    pod: web-1"]
    assert json.loads(run("policy", "explain", ONE, "--json").out)["verdict"] == "pass"
    run("app", "add", "shop", "--apple-team", "ABCDE12345", "--apple-bundle", "com.example")
    run("policy", "set", "--level", "hardware_app", "--yes")
    run("installation", "force-pass", ONE, "--expires", "1h", "--reason", "a test")
    lines = run("policy", "explain", ONE).out.splitlines()
    assert lines[1:4] == [
        "  verdict     fails: expected the level hardware_app, found self  (policy 1, rule level)",
        lines[2],
        "  level       self, hardware_app is needed",
    ]
    assert lines[2].startswith("  but it is decided: pass until ")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--app", "shop"], "--app: expected such as shop=hardware_app, found 'shop'"),
        (["--app", "shop=best"], "--app: expected a level, found 'best'"),
        (["--signal", "proxy=much"], "--signal: expected a weight, found 'much'"),
        (["--signal", "=3"], "--signal: expected such as debugger=fatal, found '=3'"),
        (["--signal", "proxy=5000"], "proxy: expected a weight of 0 to 1000, or fatal, found 5000"),
        (["--release", "shop=maybe"], "--release: expected on or off, found 'maybe'"),
        (["--restore", "9"], "there is no policy 9"),
        (["--file", "missing.json"], "missing.json"),
        (["--file", "{file}"], "expected JSON"),
        (["--file", "{list}"], "expected an object"),
        (["--file", "{file}", "--restore", "1"], "expected --file or --restore, not both"),
        (["--fresh", "soon"], "--fresh"),
    ],
)
def test_mistakes_are_said(run, data, tmp_path, arguments, text) -> None:
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")
    places = {"file": tmp_path / "broken.json", "list": tmp_path / "list.json"}
    done = run("policy", "set", *(each.format(**places) for each in arguments))
    assert done.code in (2, 3)
    assert text in done.err
