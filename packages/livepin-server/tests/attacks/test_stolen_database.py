"""A thief has the database, a backup of it or the whole folder, but not the master key."""

import base64
import os
import shutil
import sqlite3

import pytest
from livepin_server import folder
from livepin_server.custody.sealed import Label, Vault, load_master_key
from livepin_server.errors import CustodyError, ForbiddenError
from livepin_server.services.model import Intent, Role
from livepin_server.storage.schema import api_keys, keys
from sqlalchemy import select

INTENT = Intent(author="bob")


@pytest.fixture
def rows(services):
    with services.database.reading() as connection:
        return connection.execute(select(keys)).all()


def private_forms(key):
    """Return the private key in the forms in which it could lie around."""
    number = key.key.private_numbers().private_value
    raw = number.to_bytes(32, "big")
    return [raw, raw.hex().encode(), str(number).encode(), key.pkcs8(), base64.b64encode(raw)]


def test_no_private_key_lies_in_the_folder_in_clear(opened, rows):
    vault = load_master_key(opened.data / "master.key", None)
    content = b"".join(each.read_bytes() for each in opened.data.rglob("*") if each.is_file())
    assert {row.role for row in rows} == {"config", "override", "root"}
    for row in rows:
        key = vault.open(row.sealed, Label(row.account, row.role, row.kid))
        assert key.public.kid == row.kid
        assert row.kid.encode() in content  # the search itself works
        assert not [form for form in private_forms(key) if form in content]


def test_the_sealed_keys_open_with_no_other_master_key(rows):
    guesses = [bytes(32), b"\xff" * 32, *(os.urandom(32) for _ in range(20))]
    for row in rows:
        for guess in guesses:
            with pytest.raises(CustodyError):
                Vault(guess).open(row.sealed, Label(row.account, row.role, row.kid))


def test_the_folder_without_its_master_key_does_not_open(opened, clock, tmp_path):
    stolen = tmp_path / "stolen"
    shutil.copytree(opened.data, stolen)
    (stolen / "master.key").unlink()
    with pytest.raises(CustodyError, match=r"master\.key"), folder.opened(stolen, {}, clock=clock):
        pass


def test_with_a_master_key_of_the_thiefs_it_signs_nothing(opened, clock, tmp_path, intent):
    stolen = tmp_path / "stolen"
    shutil.copytree(opened.data, stolen)
    (stolen / "master.key").write_bytes(base64.b64encode(os.urandom(32)))
    with folder.opened(stolen, {}, clock=clock) as found, pytest.raises(CustodyError):
        found.services.publisher.republish("acme", "main", intent)


def test_the_digests_of_api_keys_open_nothing(services):
    view, _ = services.api_keys.create("ci", Role.ADMIN, None, INTENT)
    with services.database.reading() as connection:
        query = select(api_keys.c.digest).where(api_keys.c.id == view.id)
        digest = connection.scalars(query).one()
    text = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    with pytest.raises(ForbiddenError):
        services.api_keys.verify(f"lpk_{view.id}_{text}")


def test_a_backup_holds_no_more_than_the_database(opened, rows, tmp_path):
    # As `livepin upgrade` makes it: with SQLite's own backup.
    with sqlite3.connect(opened.data / "livepin.db") as source:
        with sqlite3.connect(tmp_path / "copy") as target:
            source.backup(target)
    source.close()
    target.close()
    content = (tmp_path / "copy").read_bytes()
    master = base64.b64decode((opened.data / "master.key").read_text())
    secret = (opened.data / "operator.key").read_text().strip()[17:]
    assert not [each for each in (master, secret.encode()) if each in content]
