"""livepin config show and log, and livepin bootstrap."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from livepin.bootstrap import Bootstrap

PIN = "sha256/" + "A" * 43 + "="
NO_RECOVERY = (
    "warning: there is no recovery URL: if the delivery channel breaks, apps keep their pins\n"
)


@pytest.fixture
def local(run, data) -> None:
    """Delivery at this machine alone."""
    run("delivery", "set", "--url", "https://127.0.0.1:8443", "--yes")


def test_a_config_is_shown_with_one_line_a_pin(run, data) -> None:
    other = "sha256/" + "B" * 42 + "A="
    run("domain", "add", "a.test", "--pin", PIN, "--pin", other, "--reason", "first")
    published = run("config", "show", "--json").json["publication"]
    lines = run("config", "show").out.splitlines()
    issued, expires = published["issued"], published["expires"]
    assert lines == [
        "config version 2 of acme/main",
        "  root      1",
        f"  issued    {issued[:10]} {issued[11:16]} UTC by operator",
        f"  expires   {expires[:10]} {expires[11:16]} UTC",
        "  reason    first",
        "  delivery  https://pins.example.com:8443",
        "  recovery  none",
        "domain  mode     pin",
        f"a.test  enforce  {PIN}",
        f"a.test  enforce  {other}",
    ]
    assert run("config", "show", "1").out.splitlines()[-1] == "  no domains"


def test_the_history_says_who_changed_what_and_why(run, data) -> None:
    run("domain", "add", "a.test", "--pin", PIN)
    run("domain", "remove", "a.test", "--reason", "a mistake")
    (third, second, first) = run("config", "log", "--json").json
    assert [each["version"] for each in (first, second, third)] == [1, 2, 3]

    def head(each) -> str:
        when = f"{each['issued'][:10]} {each['issued'][11:16]} UTC"
        return (
            f"version {each['version']}, root 1: {when} by {each['author']}, expires "
            + each["expires"][:10]
        )

    assert run("config", "log").out.splitlines() == [
        head(third),
        "  a mistake",
        "  - domain a.test",
        head(second),
        "  + domain a.test (enforce)",
        f"  + pin a.test {PIN}",
        head(first),
        "  account acme created",
    ]
    assert len(run("config", "log", "--limit", "1", "--json").json) == 1


def test_a_shared_pin_set_is_shown_once_with_the_domains_that_follow_it(run, data) -> None:
    run("pinset", "add", "payments", PIN)
    for host in ("a.test", "b.test"):
        run("domain", "add", host, "--pin-set", "payments", "--yes")
    assert run("config", "show").out.splitlines()[7:] == [
        "domain  mode     pin",
        "a.test  enforce  pin set payments",
        "b.test  enforce  pin set payments",
        "",
        "pin set   pin",
        f"payments  {PIN}",
    ]


def test_a_version_that_changed_much_is_cut_short_in_the_history(run, data) -> None:
    pins = [f"sha256/{'A' * 41}{last}A=" for last in "ABCDEFGHIJKLMNO"]
    run("pinset", "add", "payments", *pins)
    lines = run("config", "log", "--limit", "1").out.splitlines()
    assert lines[1] == "  + pin set payments"
    assert lines[-1] == "  and 4 more, which --json shows"
    assert len(lines) == 14
    assert len(run("config", "log", "--limit", "1", "--json").json[0]["changed"]) == 16


@pytest.mark.parametrize(
    ("arguments", "code", "error", "hint"),
    [
        (
            ("show", "99"),
            3,
            "there is no config version 99 in acme/main",
            "livepin config log shows which there are",
        ),
        (
            ("show", "newest"),
            2,
            "expected a version number or latest, found 'newest'",
            "livepin config log shows which there are",
        ),
        (("show", "--stream", "canary"), 3, "there is no stream 'canary'", "there is main"),
        (("log", "--stream", "canary"), 3, "there is no stream 'canary'", "there is main"),
        (("log", "--account", "acne"), 3, "there is no account 'acne'", "did you mean acme?"),
        (
            ("log", "--limit", "0"),
            2,
            'Invalid value "0" for --limit. Must be >= 1.',
            "livepin config log --help",
        ),
        (
            ("log", "--limit", "1001"),
            2,
            'Invalid value "1001" for --limit. Must be <= 1000.',
            "livepin config log --help",
        ),
    ],
)
def test_a_mistake_gets_one_line_that_names_it(run, data, arguments, code, error, hint) -> None:
    done = run("config", *arguments)
    assert (done.code, done.out, done.err.splitlines()) == (
        code,
        "",
        [f"error: {error}", f"hint:  {hint}"],
    )


def test_a_version_of_many_digits_is_no_fault_of_ours(run, data) -> None:
    done = run("config", "show", "9" * 40)
    assert done.code == 2
    assert done.err.startswith("error: expected a version number or latest")


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1:8443",
        "https://127.9.9.9",
        "https://[::1]:8443",
        "https://LOCALHOST.:8443/livepin",
        "https://pins.localhost",
        "https://0.0.0.0:8443",
        "https://[::ffff:127.0.0.1]",
    ],
)
def test_a_bootstrap_that_only_this_machine_could_use_is_refused(run, data, url) -> None:
    run("delivery", "set", "--url", "https://pins.example.com", "--url", url, "--yes")
    done = run("bootstrap", "--out", "b.json")
    assert done.code == 2
    assert done.err.splitlines() == [
        f"error: apps elsewhere cannot reach the delivery URL {url}",
        "hint:  for trials on this machine: --dev; else: livepin delivery set --url URL",
    ]
    assert not Path("b.json").exists()
    assert run("bootstrap", "--out", "b.json", "--dev").code == 0


def test_a_bootstrap_without_recovery_warns(run, data) -> None:
    done = run("bootstrap", "--out", "b.json")
    assert (done.code, done.err) == (0, NO_RECOVERY)
    assert done.out == ("b.json holds config version 1; embed it in the app. It holds no secret.\n")
    run("delivery", "set", "--recovery-url", "http://cdn.example.net/livepin")
    assert run("bootstrap", "--out", "b.json").err == ""


def test_every_form_of_a_bootstrap_says_the_same(run, data) -> None:
    printed = run("bootstrap").out
    expected = Bootstrap.parse(printed)
    assert Bootstrap.parse(run("bootstrap", "--string").out) == expected
    assert Bootstrap.parse(json.dumps(run("bootstrap", "--json").json)) == expected
    both = run("bootstrap", "--string", "--json").json
    assert Bootstrap.parse(both["bootstrap"]) == expected
    assert both["version"] == 1
    done = run("bootstrap", "--out", "b.json", "--json")
    assert done.json == {"file": "b.json", "version": 1}
    assert Path("b.json").read_text() == printed


def test_a_bootstrap_replaces_an_older_one_and_nothing_else(run, data) -> None:
    Path("root.key").write_text("the only one")
    done = run("bootstrap", "--out", "root.key")
    assert done.code == 2
    assert done.err.splitlines()[1:] == [
        "error: root.key exists, and is no bootstrap",
        "hint:  name another file; it was left alone",
    ]
    assert Path("root.key").read_text() == "the only one"
    Path("b.json").write_text("\n")  # an empty file is fine
    run("bootstrap", "--out", "b.json", "--string")
    run("domain", "add", "a.test", "--pin", PIN)
    assert run("bootstrap", "--out", "b.json", "--json").json["version"] == 2
    assert {each.name for each in Path().iterdir()} == {"b.json", "root.key", "data"}


def test_a_bootstrap_goes_to_a_device_as_it_is(run, data) -> None:
    assert run("bootstrap", "--out", "/dev/null").code == 0
    assert Path("/dev/null").is_char_device()


def test_a_place_that_cannot_be_written_is_named(run, data) -> None:
    done = run("bootstrap", "--out", "nowhere/b.json")
    assert done.code == 2
    assert done.err.endswith("error: cannot write nowhere/b.json: No such file or directory\n")


def test_an_old_version_is_published_again(run, data, pin_text) -> None:
    run("domain", "add", "api.example.com", "--pin", pin_text(1))
    run("domain", "remove", "api.example.com")
    done = run("config", "restore", "2", "--reason", "it was right")
    assert done.out == "config version 4 has the domains and pins of version 2.\n"
    assert "it was right" in run("config", "log", "--limit", "1").out
    assert run("config", "restore", "2").err.splitlines() == [
        "error: main is as in version 2 already"
    ]
    assert run("config", "restore", "1", "--json").json["publication"]["version"] == 5
    assert run("config", "restore", "99").code == 3
