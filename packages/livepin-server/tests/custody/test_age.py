"""Sealing: only who is meant opens it, only whole, and nothing of it is ever on disk in clear."""

from __future__ import annotations

import datetime as dt
import io
import os
import subprocess

import pyrage
import pytest
from livepin_server.custody import age
from livepin_server.custody.age import Opening, Seal
from livepin_server.errors import BackupError, CustodyError

NOW = dt.datetime(2026, 11, 23, 12, tzinfo=dt.timezone.utc)
PASSPHRASE = "correct horse battery staple"


@pytest.fixture(scope="module")
def identities():
    return [pyrage.x25519.Identity.generate() for _ in range(3)]


def to(*identities):
    return Seal(recipients=tuple(str(each.to_public()) for each in identities))


def by(*identities):
    return Opening(identities=tuple(str(each) for each in identities))


def sealed(data, seal, size=1000):
    target = io.BytesIO()
    age.seal((data[at : at + size] for at in range(0, len(data), size)), target, seal)
    target.seek(0)
    return target


def read(file, opening):
    with age.opened(file, opening) as plain:
        return plain.read()


@pytest.mark.parametrize("length", [0, 1, 65535, 65536, 65537, 400_000])
def test_each_recipient_opens_it_and_nobody_else(identities, length):
    data = os.urandom(length)
    first, second, other = identities
    file = sealed(data, to(first, second))
    assert read(file, by(first)) == data
    assert read(file, by(other, second)) == data
    with pytest.raises(BackupError, match="does not open with this key"):
        read(file, by(other))


def test_a_passphrase_opens_it_and_no_other_does():
    file = sealed(b"secret", Seal(passphrase=PASSPHRASE))
    assert age.needs_passphrase(file)
    assert read(file, Opening(passphrase=PASSPHRASE)) == b"secret"
    with pytest.raises(BackupError, match="does not open with this key or passphrase"):
        read(file, Opening(passphrase=PASSPHRASE.upper()))
    with pytest.raises(BackupError, match="sealed under a passphrase") as caught:
        read(file, Opening())
    assert caught.value.hint == "--passphrase-file FILE gives it"


def test_it_is_what_other_tools_of_the_format_read_and_write(identities):
    assert pyrage.decrypt(sealed(b"secret", to(identities[0])).read(), identities[:1]) == b"secret"
    theirs = pyrage.encrypt(b"theirs", [identities[0].to_public()])
    assert read(io.BytesIO(theirs), by(identities[0])) == b"theirs"


def test_without_an_identity_it_says_what_is_needed(identities):
    with pytest.raises(BackupError, match="sealed to an age identity") as caught:
        read(sealed(b"x", to(identities[0])), Opening())
    assert caught.value.hint == "--identity FILE names its file"


@pytest.mark.parametrize("data", [b"", b"hello", b"-----BEGIN AGE ENCRYPTED FILE-----\nYWdl"])
def test_what_is_not_in_the_format_is_refused(identities, data):
    with pytest.raises(BackupError, match="not a file in the age format"):
        read(io.BytesIO(data), by(identities[0]))


# -- damage ---------------------------------------------------------------------------------------


def test_a_file_that_was_cut_off_anywhere_is_never_taken_for_whole(identities):
    data = os.urandom(200_000)
    whole = sealed(data, to(identities[0])).read()
    for length in (100, 301, 65_852, 131_404, len(whole) - 1):
        with pytest.raises(BackupError, match="damaged or cut off"):
            read(io.BytesIO(whole[:length]), by(identities[0]))


def test_a_file_that_was_changed_anywhere_is_refused(identities):
    whole = bytearray(sealed(os.urandom(200_000), to(identities[0])).read())
    for at in (150, 1000, 100_000, len(whole) - 1):
        changed = bytearray(whole)
        changed[at] ^= 1
        with pytest.raises(BackupError):
            read(io.BytesIO(bytes(changed)), by(identities[0]))
    with pytest.raises(BackupError):
        read(io.BytesIO(bytes(whole) + b"x"), by(identities[0]))


def test_who_stops_reading_leaves_no_thread_behind(identities):
    import threading

    with age.opened(sealed(os.urandom(500_000), to(identities[0])), by(identities[0])) as plain:
        assert len(plain.read(10)) == 10
    assert not [each for each in threading.enumerate() if each.name == "livepin-age"]


def test_a_passphrase_made_to_take_for_ever_is_given_up_at_once():
    lines = sealed(b"x", Seal(passphrase=PASSPHRASE)).read().split(b"\n")
    lines[1] = b" ".join([*lines[1].split(b" ")[:3], b"31"])
    with pytest.raises(BackupError, match="take too long"):
        read(io.BytesIO(b"\n".join(lines)), Opening(passphrase=PASSPHRASE))


def test_under_a_passphrase_it_may_not_be_larger_than_memory_takes(monkeypatch):
    monkeypatch.setattr(age, "MOST_UNDER_PASSPHRASE", 5000)
    seal, opening = Seal(passphrase=PASSPHRASE), Opening(passphrase=PASSPHRASE)
    with pytest.raises(BackupError, match="under a passphrase") as caught:
        sealed(bytes(5001), seal)
    assert "--recipient" in caught.value.hint
    with pytest.raises(BackupError, match="expected at most 5000 bytes"):
        read(io.BytesIO(age.MAGIC + b"-> scrypt " + bytes(5000)), opening)


# -- what is given -------------------------------------------------------------------------------


def test_what_the_chunks_raise_comes_through_as_it_is(identities):
    def broken():
        yield b"x" * 100_000
        raise KeyError("theirs")

    for seal in (to(identities[0]), Seal(passphrase=PASSPHRASE)):
        with pytest.raises(KeyError, match="theirs"):
            age.seal(broken(), io.BytesIO(), seal)


class Full(io.BytesIO):
    """A file on a disk that has room for so many writes."""

    def __init__(self, room):
        super().__init__()
        self.room = room

    def write(self, data):
        self.room -= 1
        if self.room < 0:
            raise OSError(28, "No space left on device")
        return super().write(data)


def test_a_disk_that_is_full_at_any_write_is_never_taken_for_success(identities):
    data = os.urandom(200_000)
    for room in range(5):  # a head and four chunks: the last write fails without a word
        with pytest.raises(OSError, match="No space left"):
            age.seal([data], Full(room), to(identities[0]))
    age.seal([data], Full(5), to(identities[0]))
    with pytest.raises(OSError, match="No space left"):
        age.seal([b"x"], Full(0), Seal(passphrase=PASSPHRASE))


@pytest.mark.parametrize(
    ("seal", "reason"),
    [
        (Seal(), "either recipients or a passphrase"),
        (Seal(recipients=("age1x",), passphrase=PASSPHRASE), "either recipients or a passphrase"),
        (Seal(recipients=("age1x",)), "expected an age recipient"),
        (Seal(passphrase="short"), "at least 12 characters"),
        (Seal(passphrase=""), "at least 12 characters"),
    ],
)
def test_a_seal_that_cannot_be_used_is_refused_first(seal, reason):
    with pytest.raises(BackupError, match=reason):
        seal.checked()


def test_an_identity_given_as_recipient_is_not_repeated(identities):
    secret = str(identities[0])
    with pytest.raises(BackupError) as caught:
        Seal(recipients=(secret,)).checked()
    assert secret[20:40] not in f"{caught.value} {caught.value.hint}"


def test_nothing_secret_is_in_what_is_printed_of_them(identities):
    opening = Opening(identities=(str(identities[0]),), passphrase=PASSPHRASE)
    for each in (opening, Seal(passphrase=PASSPHRASE)):
        assert PASSPHRASE not in repr(each)
        assert "AGE-SECRET-KEY" not in repr(each)


# -- identities ----------------------------------------------------------------------------------


def test_a_new_identity_is_for_its_owner_alone_and_opens_what_is_sealed_to_it(tmp_path):
    path = tmp_path / "identity.txt"
    recipient = age.new_identity(path, now=NOW)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text().splitlines()[:2] == [
        "# created: 2026-11-23T12:00:00Z", f"# public key: {recipient}"
    ]  # fmt: skip
    opening = Opening(identities=age.read_identities(path))
    assert read(sealed(b"x", Seal(recipients=(recipient,))), opening) == b"x"
    with pytest.raises(CustodyError, match="exists already"):
        age.new_identity(path, now=NOW)


def test_a_file_without_an_identity_is_refused_and_one_that_is_damaged_not_shown(tmp_path):
    path = tmp_path / "identity.txt"
    path.touch(0o600)
    with pytest.raises(BackupError, match="holds no age identity"):
        age.read_identities(path)
    path.write_text("AGE-SECRET-KEY-1DAMAGED\n")
    with pytest.raises(BackupError, match="is damaged") as caught:
        age.read_identities(path)
    assert "DAMAGED" not in str(caught.value)


def test_an_identity_that_others_can_read_is_refused(tmp_path):
    path = tmp_path / "identity.txt"
    age.new_identity(path, now=NOW)
    path.chmod(0o644)
    with pytest.raises(CustodyError, match="can be read by others"):
        age.read_identities(path)


def test_age_itself_opens_it(tmp_path, counterpart):
    program = counterpart("age")
    recipient = age.new_identity(tmp_path / "identity.txt", now=NOW)
    (tmp_path / "x.age").write_bytes(sealed(b"secret", Seal(recipients=(recipient,))).read())
    command = [program, "-d", "-i", tmp_path / "identity.txt", tmp_path / "x.age"]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"secret"
