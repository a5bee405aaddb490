"""The root key file: Argon2id and AES-256-GCM under a passphrase; any change is noticed."""

import base64
import json
import stat

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from livepin.jose import PrivateKey
from livepin_server.custody import root_file
from livepin_server.custody.root_file import read_root_key, write_root_key
from livepin_server.errors import CustodyError

PASSPHRASE = "correct horse battery staple"
KEY = PrivateKey.generate()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("root") / "root.key"
    write_root_key(path, KEY, account="acme", passphrase=PASSPHRASE)
    return path


@pytest.fixture
def changed(written, tmp_path):
    """Write the file again with members changed: `kdf__salt=...` is within `kdf`, `...` removes."""

    def one(**changes):
        members = json.loads(written.read_bytes())
        for name, value in changes.items():
            outer, _, inner = name.partition("__")
            holder, key = (members[outer], inner) if inner else (members, outer)
            holder[key] = value
            if value is ...:
                del holder[key]
        return raw(tmp_path, json.dumps(members).encode())

    return one


def raw(folder, content):
    path = folder / "changed.key"
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def test_a_root_key_opens_with_its_passphrase(written):
    account, key = read_root_key(written, passphrase=PASSPHRASE)
    assert (account, key.pkcs8()) == ("acme", KEY.pkcs8())


def test_only_its_owner_may_read_the_file(written):
    assert stat.S_IMODE(written.stat().st_mode) == 0o600


def test_the_file_is_what_its_format_says(written):
    members = json.loads(written.read_bytes())
    kdf = members["kdf"]
    assert members["format"] == "livepin-root-key/1"
    assert (members["account"], members["kid"]) == ("acme", KEY.public.kid)
    # RFC 9106, section 4: the second recommended option.
    assert (kdf["name"], kdf["iterations"], kdf["lanes"], kdf["memory_kib"]) == (
        "argon2id", 3, 4, 65536,
    )  # fmt: skip
    salt = base64.b64decode(kdf["salt"])
    assert len(salt) == 16
    secret = Argon2id(salt=salt, length=32, iterations=3, lanes=4, memory_cost=65536).derive(
        PASSPHRASE.encode()
    )
    box, nonce = base64.b64decode(members["key"]), base64.b64decode(members["nonce"])
    bound = f"livepin-root-key/1\nacme\n{KEY.public.kid}".encode()
    assert AESGCM(secret).decrypt(nonce, box, bound) == KEY.pkcs8()


def test_the_same_key_and_passphrase_make_another_file(written, tmp_path):
    write_root_key(tmp_path / "again", KEY, account="acme", passphrase=PASSPHRASE)
    first, second = (json.loads(each.read_bytes()) for each in (written, tmp_path / "again"))
    assert first["kdf"]["salt"] != second["kdf"]["salt"]
    assert first["nonce"] != second["nonce"]


@pytest.mark.parametrize("passphrase", ["", PASSPHRASE + " ", PASSPHRASE.title()])
def test_another_passphrase_does_not_open(written, passphrase):
    with pytest.raises(CustodyError, match="does not open with this passphrase"):
        read_root_key(written, passphrase=passphrase)


def test_the_passphrase_is_not_in_the_file(written):
    assert PASSPHRASE.encode() not in written.read_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"account": "other"},
        {"kid": PrivateKey.generate().public.kid},
        {"nonce": base64.b64encode(bytes(12)).decode()},
        {"nonce": ""},
        {"key": base64.b64encode(bytes(100)).decode()},
        {"key": ""},
        {"kdf__salt": base64.b64encode(bytes(16)).decode()},
        {"kdf__iterations": 2},
        {"kdf__lanes": 1},
        {"kdf__memory_kib": 65528},
    ],
    ids=[
        "account",
        "kid",
        "nonce",
        "no-nonce",
        "key",
        "no-key",
        "salt",
        "iterations",
        "lanes",
        "memory",
    ],
)
def test_a_changed_file_does_not_open(changed, changes):
    with pytest.raises(CustodyError, match="does not open with this passphrase"):
        read_root_key(changed(**changes), passphrase=PASSPHRASE)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "livepin-root-key/2"},
        {"format": ...},
        {"account": ...},
        {"kid": ...},
        {"kdf": ...},
        {"kdf": []},
        {"kdf": "argon2id"},
        {"kdf__name": "scrypt"},
        {"kdf__salt": ...},
        {"kdf__salt": "*"},
        {"kdf__salt": "AAAA"},
        {"kdf__iterations": 0},
        {"kdf__iterations": 65},
        {"kdf__lanes": 0},
        {"kdf__lanes": 65},
        {"kdf__memory_kib": 0},
        {"kdf__memory_kib": 31},
        {"kdf__memory_kib": 2 * 1024 * 1024 + 1},
        {"kdf__memory_kib": 10**30},
        {"kdf__memory_kib": "many"},
        {"kdf__iterations": None},
        {"nonce": 7},
        {"key": "not base64"},
        {"key": ...},
    ],
    ids=lambda changes: "-".join(f"{k}={v}"[:24] for k, v in changes.items()),
)
def test_what_is_not_such_a_file_is_refused_before_it_costs_anything(changed, changes):
    with pytest.raises(CustodyError, match="is not a root key file"):
        read_root_key(changed(**changes), passphrase=PASSPHRASE)


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"\xff", b"[" * 9 + b"]" * 9, b'{"format":1e999}', b'{"a":1,"a":2}'],
)
def test_what_is_not_json_is_refused(tmp_path, content):
    with pytest.raises(CustodyError, match="is not a root key file"):
        read_root_key(raw(tmp_path, content), passphrase=PASSPHRASE)


def test_a_large_file_is_refused(tmp_path):
    with pytest.raises(CustodyError, match="at most 16384 bytes"):
        read_root_key(raw(tmp_path, b" " * 16385), passphrase=PASSPHRASE)


def test_a_root_key_file_is_never_overwritten(written):
    before = written.read_bytes()
    with pytest.raises(CustodyError, match="exists already"):
        write_root_key(written, PrivateKey.generate(), account="acme", passphrase=PASSPHRASE)
    assert written.read_bytes() == before


@pytest.mark.parametrize("passphrase", ["", "x" * (root_file.SHORTEST_PASSPHRASE - 1)])
def test_a_short_passphrase_is_refused_and_nothing_is_written(tmp_path, passphrase):
    with pytest.raises(CustodyError, match="at least 12 characters") as caught:
        write_root_key(tmp_path / "root.key", KEY, account="acme", passphrase=passphrase)
    assert caught.value.hint
    assert not (tmp_path / "root.key").exists()


def test_a_passphrase_may_hold_any_letters(tmp_path):
    passphrase = "Übergrößenträger 正しい馬"
    write_root_key(tmp_path / "root.key", KEY, account="acme", passphrase=passphrase)
    _, key = read_root_key(tmp_path / "root.key", passphrase=passphrase)
    assert key.pkcs8() == KEY.pkcs8()
