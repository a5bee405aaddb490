"""livepin domain list, show, remove and check."""

from __future__ import annotations

import pytest
from livepin.pins import fingerprint_text
from livepin.testing import make_chain, pin_of

PIN = "sha256/" + "A" * 43 + "="


def text_of(certificate: object) -> str:
    return fingerprint_text(pin_of(certificate).sha256)


@pytest.fixture
def pinned(run, data, api, ca):
    """The endpoint, pinned as localhost by its leaf."""
    assert run("domain", "add", "localhost", "--port", api.port, "--ca", ca).code == 0
    return api


def test_an_empty_list_says_how_to_go_on(run, data) -> None:
    assert run("domain", "list").out == "no domains yet; add one with: livepin domain add HOST\n"
    assert run("domain", "list", "--json").json == []


def test_the_list_shows_each_domain_on_a_line(run, data) -> None:
    run("domain", "add", "b.test", "--pin", PIN)
    run("domain", "add", "a.test", "--pin", PIN, "--mode", "report", "--token", "--yes")
    run("pin", "new-backup", "b.test", "--out", "b.key")
    done = run("domain", "list")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "domain  mode     token  stale    pin set  pins  backup",
        "a.test  report   yes    enforce  own      1     none",
        "b.test  enforce  no     enforce  own      2     yes",
    ]


def test_one_domain_is_shown_with_its_pins(run, data, pinned, chain) -> None:
    shown = run("domain", "show", "LOCALHOST").out.splitlines()
    (domain,) = run("domain", "list", "--json").json
    added = domain["created"]
    assert shown == [
        "localhost",
        "  mode      enforce",
        "  token     no",
        "  stale     enforce",
        "  stream    main",
        f"  look at   localhost:{pinned.port}",
        "  CA        a private one",
        f"  added     {added[:10]} {added[11:16]} UTC",
        "  pin set   its own",
        f"{'pin':51}  label  backup  added",
        f"{text_of(chain.leaf)}  leaf   no      {added[:10]}",
    ]
    assert run("domain", "show", "localhost", "--json").json == domain


def test_a_domain_without_settings_of_its_own_says_so(run, data) -> None:
    run("domain", "add", "a.test", "--pin", PIN)
    shown = run("domain", "show", "a.test").out
    assert "  look at   port 443\n  CA        those of the system\n" in shown


def test_a_removed_domain_is_no_longer_pinned(run, data) -> None:
    run("domain", "add", "a.test", "--pin", PIN)
    done = run("domain", "remove", "A.test.", "--reason", "switched off")
    assert done.out == "a.test is no longer pinned, from config version 3 on.\n"
    assert run("config", "show", "--json").json["payload"]["domains"] == []
    assert run("config", "log", "--json").json[0]["reason"] == "switched off"
    run("domain", "add", "a.test", "--pin", PIN)
    assert run("domain", "remove", "a.test", "--json").json["publication"]["version"] == 5


@pytest.mark.parametrize("command", ["show", "remove"])
def test_a_name_that_is_not_there_suggests_the_nearest(run, data, command) -> None:
    run("domain", "add", "api.test", "--pin", PIN)
    done = run("domain", command, "apo.test")
    assert (done.code, done.out) == (3, "")
    assert done.err.splitlines() == [
        "error: there is no domain 'apo.test'",
        "hint:  did you mean api.test?",
    ]


def test_a_check_passes_while_a_pin_matches(run, data, pinned, chain) -> None:
    done = run("domain", "check")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        f"localhost: the pin {text_of(chain.leaf)} matches CN=localhost",
        f"  certificate of CN=localhost until {chain.leaf.not_valid_after_utc:%Y-%m-%d}, "
        "EC secp256r1",
        "  there is no backup pin besides the one in use",
    ]
    (result,) = run("domain", "check", "--json").json
    assert (result["passes"], result["verified"]) == (True, True)
    assert result["matched"] == text_of(chain.leaf)


def test_a_check_finds_a_changed_certificate(run, data, pinned, chain, authority) -> None:
    changed = make_chain("localhost", authority=authority)
    pinned.present(changed)
    done = run("domain", "check", "localhost")
    assert done.code == 1
    lines = done.out.splitlines()
    assert lines[0] == "localhost: no pin matches; apps are refused"
    assert lines[-1] == f"  to let apps in: livepin pin add localhost {text_of(changed.leaf)}"
    assert run(*lines[-1].split("livepin ")[1].split()).code == 0  # the command works as printed
    assert run("domain", "check", "localhost").code == 0


def test_the_hint_of_a_wildcard_names_the_pattern(run, data, api, ca, chain) -> None:
    run("domain", "add", "*.example.test", "--pin", PIN)
    address = f"localhost:{api.port}"
    done = run("domain", "check", "www.example.test", "--connect", address, "--ca", ca)
    assert done.code == 1
    assert done.out.endswith(f"livepin pin add '*.example.test' {text_of(chain.leaf)}\n")


@pytest.mark.parametrize(
    ("mode", "code", "does", "last"),
    [
        ("report", 1, "apps connect all the same, and report it", "before it is enforced: "),
        ("off", 0, "apps connect, for pinning is off", "pinned: "),
    ],
)
def test_a_mismatch_that_is_only_reported_is_found_too(
    run, data, api, ca, mode, code, does, last
) -> None:
    address = f"localhost:{api.port}"
    address = ("--connect", address, "--ca", ca)
    run("domain", "add", "localhost", "--pin", PIN, "--mode", "report", *address)
    run("domain", "set-mode", "localhost", mode, "--yes")
    done = run("domain", "check")
    assert (done.code, done.err) == (code, "")
    lines = done.out.splitlines()
    assert lines[0] == f"localhost: no pin matches; {does}"
    assert lines[-1].startswith(f"  {last}")
    (result,) = run("domain", "check", "--json").json
    assert (result["passes"], result["mismatch"], result["matched"]) == (True, code == 1, None)


def test_the_command_that_lets_apps_in_names_the_stream(run, data, pinned, authority) -> None:
    run("stream", "add", "canary")
    pinned.present(make_chain("localhost", authority=authority))
    done = run("domain", "check", "--stream", "canary")
    assert done.code == 1
    cure = done.out.splitlines()[-1].partition(": livepin ")[2].split()
    assert cure[:5] == ["pin", "add", "localhost", "--stream", "canary"]
    assert run(*cure).code == 0
    assert run("domain", "check", "--stream", "canary").code == 0
    assert run("domain", "check").code == 1


def test_a_port_on_the_command_line_wins_over_the_stored_one(
    run, data, pinned, endpoint, authority
) -> None:
    other = endpoint(make_chain("localhost", authority=authority))
    assert run("domain", "check", "localhost", "--port", other.port).code == 1
    other.wait_closed()
    assert other.handshakes == 1


def test_one_endpoint_that_fails_does_not_hide_the_others(run, data, pinned, chain) -> None:
    run("domain", "add", "nowhere.invalid", "--pin", PIN)
    done = run("domain", "check")
    assert done.code == 4
    assert f"localhost: the pin {text_of(chain.leaf)} matches CN=localhost" in done.out
    assert "nowhere.invalid: nowhere.invalid does not resolve to an address" in done.out
    pinned.present(make_chain("localhost", authority=chain.authority))
    done = run("domain", "check", "--json")
    assert done.code == 1  # a mismatch is what counts most
    assert [each["passes"] for each in done.json] == [False, False]


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({}, 0),
        ({"not_before": "2020-01-01T00:00:00Z"}, 0),
        ({"not_before": "2999-01-01T00:00:00Z"}, 1),
        ({"not_after": "2999-01-01T00:00:00Z"}, 0),
        ({"not_after": "2020-01-01T00:00:00Z"}, 1),
    ],
)
def test_a_pin_outside_its_time_does_not_match(
    run, data, api, ca, chain, authority, limits, code
) -> None:
    from livepin_server.cli.api import Common, connected

    pins = [{"sha256": text_of(chain.leaf), **limits}, {"sha256": PIN}]
    body = {
        "pattern": "localhost", "pins": pins, "reason": "what is out of time",
        "connect": f"localhost:{api.port}", "ca": authority.pem,
    }  # fmt: skip
    with connected(Common()) as management:
        management.call("POST", f"{management.base}/domains", body, force=str(code == 1).lower())
    assert run("domain", "check").code == code
    timed = "  from" in run("pin", "list", "localhost").out.splitlines()[0]
    assert timed == bool(limits)


@pytest.mark.parametrize(
    ("arguments", "code", "error", "hint"),
    [
        ((), 2, "there is no exact domain to check", "livepin domain check HOST"),
        (("a.test",), 3, "no domain covers a.test", "livepin domain add a.test"),
        (
            ("--port", "8443"),
            2,
            "--port and --connect go with a host",
            "livepin domain check HOST",
        ),
        (
            ("*.example.test",),
            2,
            "*.example.test is no host that one can connect to",
            "name one that it covers, such as www.example.test",
        ),
        (
            ("--ca", "nowhere.pem"),
            2,
            "cannot read nowhere.pem: No such file or directory",
            "--ca takes certificates in PEM",
        ),
    ],
)
def test_a_mistake_gets_one_line_that_names_it(run, data, arguments, code, error, hint) -> None:
    run("domain", "add", "*.example.test", "--pin", PIN)
    done = run("domain", "check", *arguments)
    expected = [f"error: {error}", *([] if hint is None else [f"hint:  {hint}"])]
    assert (done.code, done.out, done.err.splitlines()) == (code, "", expected)
