"""livepin token-key: made, rotated, listed, and exported for backends; secrets go into files."""

from __future__ import annotations

import base64
import json
import stat

import pytest
from livepin import tokens

HOST = "api.example.com"


@pytest.fixture
def secret(run, data, tmp_path):
    """The file of the secret of a key `shop`."""
    file = tmp_path / "shop.secret"
    done = run("token-key", "add", "shop", "--alg", "HS256", "--domain", HOST, "--out", file)
    assert done.code == 0, done.err
    assert f"livepin token set {HOST} --key shop" in done.out
    return file


def test_there_is_none_at_first(run, data) -> None:
    done = run("token-key", "list")
    assert done.out.startswith("There is no token key yet.")
    assert json.loads(run("token-key", "list", "--json").out) == []


@pytest.mark.parametrize("alg", ["ES256", "Ed25519"])
def test_a_key_is_made_and_listed(run, data, alg) -> None:
    done = run("token-key", "add", "quiet", "--alg", alg)
    assert done.out.startswith(f"The token key quiet is made: {alg}, ")
    line = run("token-key", "list").out.splitlines()[1].split()
    assert (line[0], line[2:]) == ("quiet", [alg, "any", "domain", "now"])


def test_a_secret_is_in_a_file_for_its_owner_alone(run, secret) -> None:
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    text = secret.read_text().strip()
    assert len(base64.b64decode(text)) == 64
    shown = run("token-key", "list", "--json").out + run("audit", "log").out
    assert text not in shown
    again = secret.with_name("again")
    done = run("token-key", "export", "shop", "--out", again, "--json")
    assert text not in done.out
    assert again.read_text() == secret.read_text()


def test_a_secret_is_never_shown(run, secret) -> None:
    done = run("token-key", "export", "shop")
    assert (done.code, done.out) == (2, "")
    assert "expected --out FILE for a secret" in done.err
    done = run("token-key", "export", "shop", "--out", secret)
    assert done.err.startswith(f"error: {secret} exists already")
    done = run("token-key", "export", "shop", "--out", secret.parent / "no" / "file")
    assert "is not a folder" in done.err


def test_public_keys_are_where_backends_read_them(run, data) -> None:
    run("token-key", "add", "quiet", "--alg", "Ed25519")
    run("token-key", "add", "main")
    done = run("token-key", "export", "main")
    (key,) = tokens.parse_jwks(done.out.encode()).values()
    assert key.algorithm.value == "ES256"
    assert "from https://pins.example.com:8443/v1/acme/jwks.json\n" in done.err
    assert run("token-key", "export", "main", "--out", "x").code == 2
    done = run("token-key", "export", "quiet")
    assert len(tokens.parse_jwks(done.out.encode())) == 1
    assert "livepin api-key create backend --role viewer --scope tokens" in done.err
    assert run("token-key", "export", "nobody", "--out", "x").code == 3


def test_the_next_key_is_made_before_it_signs(run, data) -> None:
    run("token-key", "add", "main")
    done = run("token-key", "rotate", "main")
    assert "signs from " in done.out
    first, second = (each.split() for each in run("token-key", "list").out.splitlines()[1:])
    assert (first[5], second[5]) == ("now", "from")
    assert run("token-key", "rotate", "main").code == 3
    done = run("token-key", "rotate", "main", "--now", "--reason", "it was stolen")
    assert "it signs now" in done.out
    assert len(run("token-key", "list").out.splitlines()) == 2


def test_the_next_secret_is_brought_to_the_backend(run, secret) -> None:
    done = run("token-key", "rotate", "shop")
    assert "livepin token-key export shop --out FILE" in done.out
    file = secret.with_name("next")
    done = run("token-key", "rotate", "shop", "--now", "--out", file, "--json")
    assert json.loads(done.out)["file"] == str(file)
    assert file.read_text() != secret.read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ("add", "x", "--alg", "HS256"),
        ("add", "x", "--domain", HOST),
        ("add", "x", "--out", "file"),
        ("add", "No Name"),
        ("add", "x", "--alg", "RS256"),
        ("rotate", "x", "--now", "--overlap", "1h"),
        ("rotate", "x", "--overlap", "soon"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(run, data, arguments) -> None:
    assert run("token-key", *arguments).code == 2
    assert json.loads(run("token-key", "list", "--json").out) == []


def test_a_secret_that_cannot_be_written_can_be_exported_again(run, secret, monkeypatch) -> None:
    from livepin_server.errors import CustodyError

    def refuse(*_: object) -> None:
        raise CustodyError("the disk is full")

    monkeypatch.setattr("livepin_server.cli.token_key.write_secret", refuse)
    done = run("token-key", "rotate", "shop", "--now", "--out", secret.with_name("next"))
    assert (done.code, done.err.splitlines()[1]) == (
        2,
        "hint:  for its secret: livepin token-key export shop --out FILE",
    )
