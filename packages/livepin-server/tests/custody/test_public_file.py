"""The public half of a root key: what is carried to the server, and nothing else."""

import json

import pytest
from livepin.jose import PrivateKey
from livepin_server.custody.public_file import read_public, write_public
from livepin_server.custody.root_file import write_root_key
from livepin_server.errors import CustodyError

KEY = PrivateKey.generate()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "alice.key.pub"


def test_the_public_half_is_written_and_read(path):
    write_public(path, KEY.public)
    assert read_public(path) == KEY.public.jwk()
    assert json.loads(path.read_text())["kid"] == KEY.public.kid


def test_no_file_is_overwritten(path):
    path.write_text("mine")
    with pytest.raises(CustodyError, match="exists already"):
        write_public(path, KEY.public)
    assert path.read_text() == "mine"


def test_a_path_that_cannot_be_written_or_read_is_said(path, tmp_path):
    with pytest.raises(CustodyError, match="cannot write"):
        write_public(tmp_path / "gone" / "x.pub", KEY.public)
    with pytest.raises(CustodyError, match="cannot read"):
        read_public(path)


@pytest.mark.parametrize(
    "text", ["", "nothing", "[]", '{"kty": "EC"}', '{"kty": "oct"}', "[" * 100, " " * 20_000]
)
def test_what_is_no_public_key_is_refused(path, text):
    path.write_text(text)
    with pytest.raises(CustodyError, match="is not the public half of a key") as caught:
        read_public(path)
    assert caught.value.hint == "livepin root new-key writes such a file beside the key"


def test_a_private_key_is_refused_and_not_shown(path, tmp_path):
    secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I"
    path.write_text(json.dumps(KEY.public.jwk() | {"d": secret}))
    with pytest.raises(CustodyError, match="holds a private key") as caught:
        read_public(path)
    assert secret not in f"{caught.value} {caught.value.hint}"
    write_root_key(tmp_path / "alice.key", KEY, account="acme", passphrase="correct horse battery")
    with pytest.raises(CustodyError, match="holds a private key"):
        read_public(tmp_path / "alice.key")
