"""livepin token: what stands in tokens, whether a backend takes one, and examples."""

from __future__ import annotations

import io
import json

import pytest

HOST = "api.example.com"
PIN = "sha256/" + "A" * 43 + "="


@pytest.fixture
def protected(run, data):
    """A data folder whose domain asks for tokens."""
    assert run("domain", "add", HOST, "--pin", PIN, "--yes").code == 0
    assert run("domain", "set-token", HOST, "on", "--yes").code == 0
    return data


@pytest.fixture
def token(run, protected):
    """Return a token for the domain."""

    def one(*options):
        done = run("token", "example", HOST, *options)
        assert done.code == 0, done.err
        return done.out.strip()

    return one


def test_an_example_is_what_a_backend_takes(run, token) -> None:
    text = token()
    done = run("token", "check", text)
    assert done.code == 0
    assert done.out.splitlines()[0] == f"A backend for {HOST} takes it. It is by the key main."
    assert f"  aud  {HOST}\n" in done.out
    assert " UTC\n" in done.out
    found = json.loads(run("token", "check", text, "--json").out)
    assert (found["taken"], found["reason"], found["key"]) == (True, None, "main")


def test_the_token_alone_is_on_standard_output(run, protected) -> None:
    done = run("token", "example", HOST)
    assert done.out.count("\n") == 1
    assert done.err == "Livepin-Token, for 295 seconds:\n"
    found = json.loads(run("token", "example", HOST, "--json").out)
    assert found.keys() == {"header", "token", "lives"}


def test_a_token_is_read_so_that_no_process_list_shows_it(run, token, monkeypatch) -> None:
    for arguments in ((), ("-",)):
        monkeypatch.setattr("sys.stdin", io.StringIO(token() + "\n"))
        assert run("token", "check", *arguments).code == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("x" * 9000))
    done = run("token", "check")
    assert (done.code, done.err) == (2, "error: expected a token of at most 8192 characters\n")


def test_a_decoy_is_told_apart_by_who_runs_the_server(run, token) -> None:
    done = run("token", "check", token("--invalid"))
    assert done.code == 1
    assert done.out.startswith("It is a decoy: its installation did not pass, or is blocked.\n")
    assert "livepin installation show " in done.out


def test_a_binding_is_checked(run, token) -> None:
    text = token("--bind", "Bearer user")
    assert run("token", "check", text, "--bind", "Bearer user").code == 0
    done = run("token", "check", text, "--bind", "Bearer other")
    assert done.code == 1
    assert done.out.startswith("No backend takes it: it is not bound to these bytes.\n")


@pytest.mark.parametrize("text", ["x", "a.b.c", "e30.e30.AAAA"])
def test_what_is_no_token_is_told(run, protected, text) -> None:
    done = run("token", "check", text)
    assert done.code == 1
    assert done.out.startswith("No backend takes it: it is no token")


def test_what_stands_in_tokens_is_shown_and_set(run, token) -> None:
    done = run("token", "show")
    assert done.out.startswith("issuer  the first delivery URL and the account\nEvery domain")
    done = run("token", "set", HOST, "--audience", "shop", "--lives", "60")
    assert done.out == f"Tokens of {HOST} are made like this now.\n"
    assert run("token", "set", "--issuer", "https://id.example.com").code == 0
    found = json.loads(run("token", "show", "--json").out)
    assert found == {
        "account": {"issuer": "https://id.example.com"},
        "domains": {
            HOST: {
                "key": "main",
                "profile": "livepin",
                "audience": "shop",
                "issuer": None,
                "lives": 60,
            },
        },
    }
    assert "shop" in run("token", "show").out
    done = run("token", "check", token())
    assert "  iss  https://id.example.com\n  sub  example\n  aud  shop\n" in done.out
    assert run("token", "set", HOST, "--audience", "", "--json").code == 0
    assert run("token", "set", "--issuer", "").code == 0
    assert json.loads(run("token", "show", "--json").out)["account"] == {"issuer": None}


@pytest.mark.parametrize("arguments", [(), ("--key", "main"), (HOST,), (HOST, "--lives", "29")])
def test_what_says_nothing_or_too_much_is_refused(run, data, arguments) -> None:
    assert run("token", "set", *arguments).code == 2


def test_where_no_domain_asks_for_tokens_there_is_no_example(run, data) -> None:
    done = run("token", "example", HOST)
    assert done.code == 3
    assert f"livepin domain set-token {HOST} on" in done.err


def test_tokens_of_approov_are_checked_too(run, token, tmp_path) -> None:
    secret = tmp_path / "secret"
    run("token-key", "add", "shop", "--alg", "HS256", "--domain", HOST, "--out", secret)
    assert run("token", "set", HOST, "--key", "shop", "--profile", "approov").code == 0
    done = run("token", "check", token("--bind", "abc"), "--bind", "abc")
    assert done.out.startswith("Its backend takes it. It is by the key shop.\n")
    assert run("token", "check", token("--bind", "abc"), "--bind", "abd").code == 1
    decoy = run("token", "check", token("--invalid")).out
    assert decoy.startswith("It is a decoy")
    assert "livepin installation show" not in decoy, "it does not name its installation"
    changed = token()
    assert run("token", "check", changed[:-2] + "AA").code == 1
