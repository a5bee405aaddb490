"""Sealed keys: they open under one master key and for one label only."""

import base64
import os
import shutil
import stat

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st
from livepin.jose import PrivateKey
from livepin_server.custody.label import Kept, Label
from livepin_server.custody.sealed import Vault, load_master_key, new_master_key
from livepin_server.errors import CustodyError

MASTER = bytes(range(32))
KEY = PrivateKey.generate()
LABEL = Label("acme", "config", KEY.public.kid)
SEALED = Vault(MASTER).seal(KEY.pkcs8(), LABEL)


def test_a_sealed_key_opens_for_its_label():
    assert Vault(MASTER).open(SEALED, LABEL) == KEY.pkcs8()


def test_a_sealed_key_is_aes_256_gcm_with_the_label_as_associated_data():
    nonce, box = SEALED[1:13], SEALED[13:]
    label = f"livepin\nacme\nconfig\n{KEY.public.kid}".encode()
    assert SEALED[:1] == b"\x01"
    assert AESGCM(MASTER).decrypt(nonce, box, label) == KEY.pkcs8()


def test_each_sealing_has_a_nonce_of_its_own():
    vault = Vault(MASTER)
    assert len({vault.seal(KEY.pkcs8(), LABEL)[1:13] for _ in range(50)}) == 50


def test_a_sealed_key_does_not_hold_the_key_in_clear():
    assert KEY.pkcs8()[-60:-30] not in SEALED


@pytest.mark.parametrize(
    "label",
    [
        Label("other", "config", KEY.public.kid),
        Label("acme", "override", KEY.public.kid),
        Label("acme", "config", PrivateKey.generate().public.kid),
    ],
    ids=["account", "role", "kid"],
)
def test_a_key_sealed_for_one_label_does_not_open_for_another(label):
    with pytest.raises(CustodyError, match=f"the {label.role} key .* of {label.account}") as caught:
        Vault(MASTER).open(SEALED, label)
    assert caught.value.hint == "is this the master key of this data folder?"


def test_another_master_key_does_not_open():
    with pytest.raises(CustodyError, match="does not open"):
        Vault(os.urandom(32)).open(SEALED, LABEL)


@given(position=st.integers(0, len(SEALED) - 1), flip=st.integers(1, 255))
@settings(deadline=None, max_examples=80)
def test_a_changed_byte_anywhere_does_not_open(position, flip):
    damaged = bytearray(SEALED)
    damaged[position] ^= flip
    with pytest.raises(CustodyError):
        Vault(MASTER).open(bytes(damaged), LABEL)


@given(length=st.integers(0, len(SEALED) - 1))
@settings(deadline=None, max_examples=40)
def test_a_key_that_was_cut_off_does_not_open(length):
    with pytest.raises(CustodyError):
        Vault(MASTER).open(SEALED[:length], LABEL)


def test_what_is_opened_as_a_key_must_be_one(tmp_path):
    sealed = new_master_key(tmp_path / "master.key")
    kept = sealed.keep_secret(b"no key", LABEL, beside=None)
    assert sealed.open_secret(kept, LABEL) == b"no key"
    with pytest.raises(CustodyError, match="is no P-256 key"):
        sealed.open(kept, LABEL)


def test_what_is_derived_is_another_for_each_purpose_and_master_key(tmp_path):
    one, other = (new_master_key(tmp_path / name) for name in ("one", "other"))
    found = {one.derive(b"a"), one.derive(b"b"), other.derive(b"a")}
    assert len(found) == 3
    assert load_master_key(tmp_path / "one", None).derive(b"a") == one.derive(b"a")


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_master_key_has_256_bits(size):
    with pytest.raises(CustodyError, match=f"master key of 32 bytes, found {size}"):
        Vault(bytes(size))


def test_a_new_master_key_is_random_for_its_owner_alone_and_loads_again(tmp_path):
    vault = new_master_key(tmp_path / "master.key")
    new_master_key(tmp_path / "other.key")
    text = (tmp_path / "master.key").read_text()
    assert stat.S_IMODE((tmp_path / "master.key").stat().st_mode) == 0o600
    assert len(base64.b64decode(text)) == 32
    assert text != (tmp_path / "other.key").read_text()
    again = load_master_key(tmp_path / "master.key", None)
    kept = vault.keep(KEY, LABEL, beside=None)
    assert again.open(kept, LABEL).pkcs8() == KEY.pkcs8()


def test_a_master_key_is_never_written_over_another(tmp_path):
    new_master_key(tmp_path / "master.key")
    before = (tmp_path / "master.key").read_bytes()
    with pytest.raises(CustodyError, match="exists already"):
        new_master_key(tmp_path / "master.key")
    assert (tmp_path / "master.key").read_bytes() == before


def test_the_master_key_of_the_environment_wins_and_needs_no_file(tmp_path):
    text = base64.b64encode(MASTER).decode()
    assert load_master_key(tmp_path / "gone", text).open(SEALED, LABEL).pkcs8() == KEY.pkcs8()
    new_master_key(tmp_path / "master.key")
    assert (
        load_master_key(tmp_path / "master.key", f" {text}\n").open(SEALED, LABEL).pkcs8()
        == KEY.pkcs8()
    )


def test_an_empty_variable_is_no_master_key(tmp_path):
    with pytest.raises(CustodyError, match="cannot read") as caught:
        load_master_key(tmp_path / "gone", "")
    assert caught.value.hint == "put it back, or give the master key as LIVEPIN_MASTER_KEY"


@pytest.mark.parametrize("text", ["not base64!", "AAAA", "é" * 44, "A" * 43 + "*"])
def test_a_bad_master_key_is_refused_without_being_shown(tmp_path, text):
    with pytest.raises(CustodyError, match="expected a master key") as caught:
        load_master_key(tmp_path / "gone", text)
    assert text not in str(caught.value)
    path = tmp_path / "master.key"
    path.write_bytes(text.encode())
    path.chmod(0o600)
    with pytest.raises(CustodyError, match="expected a master key") as caught:
        load_master_key(path, None)
    assert text not in str(caught.value)


def test_a_master_key_that_others_can_read_is_refused(tmp_path):
    new_master_key(tmp_path / "master.key")
    (tmp_path / "master.key").chmod(0o644)
    with pytest.raises(CustodyError, match="can be read by others"):
        load_master_key(tmp_path / "master.key", None)


def test_neither_vault_nor_key_nor_error_shows_a_secret():
    secrets = [
        base64.b64encode(MASTER).decode(),
        repr(MASTER),
        str(KEY.key.private_numbers().private_value),
    ]
    with pytest.raises(CustodyError) as caught:
        Vault(bytes(32)).open(SEALED, LABEL)
    shown = f"{Vault(MASTER)!r} {vars(Vault(MASTER))!r} {KEY!r} {KEY} {LABEL!r} {caught.value!r}"
    assert not [each for each in secrets if each in shown]


# -- a new master key ------------------------------------------------------------------------------


@pytest.fixture
def sealed(tmp_path):
    return new_master_key(tmp_path / "master.key")


def test_while_the_master_key_changes_keys_under_either_open(sealed):
    before = sealed.keep(KEY, LABEL, beside=None)
    after = sealed.begin().seal(KEY.pkcs8(), LABEL)
    assert sealed.is_changing
    for kept in (before, after):
        assert sealed.open(kept, LABEL).pkcs8() == KEY.pkcs8()


def test_what_is_sealed_meanwhile_is_sealed_as_what_is_there(sealed):
    old = Kept(LABEL, sealed.keep(KEY, LABEL, beside=None))
    fresh = sealed.begin()
    new = Kept(LABEL, fresh.seal(KEY.pkcs8(), LABEL))
    assert fresh.open(sealed.keep(KEY, LABEL, beside=new), LABEL) == KEY.pkcs8()
    with pytest.raises(CustodyError):
        fresh.open(sealed.keep(KEY, LABEL, beside=old), LABEL)


def test_what_the_master_key_at_hand_does_not_open_may_not_seal(sealed):
    foreign = Kept(LABEL, Vault(os.urandom(32)).seal(KEY.pkcs8(), LABEL))
    with pytest.raises(CustodyError, match="does not open"):
        sealed.keep(KEY, LABEL, beside=foreign)


def test_a_change_is_finished_or_undone_by_what_is_sealed(sealed):
    before = Kept(LABEL, sealed.keep(KEY, LABEL, beside=None))
    sealed.begin()
    sealed.settle([before])
    assert not sealed.is_changing
    after = Kept(LABEL, sealed.begin().seal(KEY.pkcs8(), LABEL))
    sealed.settle([after])
    assert not sealed.is_changing
    assert sealed.open(after.data, LABEL).pkcs8() == KEY.pkcs8()
    with pytest.raises(CustodyError):
        sealed.open(before.data, LABEL)


def test_a_master_key_that_is_put_into_the_folder_is_found_without_a_restart(sealed, tmp_path):
    (tmp_path / "another").mkdir()
    another = new_master_key(tmp_path / "another" / "master.key")
    kept = another.keep(KEY, LABEL, beside=None)
    with pytest.raises(CustodyError, match="does not open") as caught:
        sealed.open(kept, LABEL)
    assert "after livepin custody rekey on another server, take that one's" in caught.value.hint
    shutil.copy(tmp_path / "another" / "master.key", tmp_path / "master.key")
    assert sealed.open(kept, LABEL).pkcs8() == KEY.pkcs8()


def test_there_is_something_to_say_where_keys_do_not_open(sealed):
    assert sealed.warning(None) is None
    assert sealed.warning(Kept(LABEL, sealed.keep(KEY, LABEL, beside=None))) is None
    assert "does not open; is " in sealed.warning(Kept(LABEL, SEALED))


def test_there_is_something_to_say_where_the_environment_holds_the_old_one(tmp_path):
    sealed = load_master_key(tmp_path / "master.key", base64.b64encode(MASTER).decode())
    after = Kept(LABEL, sealed.begin().seal(KEY.pkcs8(), LABEL))
    sealed.settle([after])
    assert sealed.warning(after).startswith("LIVEPIN_MASTER_KEY is the master key of before")


def test_a_key_that_is_not_in_memory_is_not_sealed(sealed):
    with pytest.raises(TypeError):
        sealed.keep(KEY.public, LABEL, beside=None)
