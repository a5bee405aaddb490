"""Making a backup: everything, of one moment, whole or not at all, and nothing of it in clear."""

from __future__ import annotations

import base64
import os
import shutil
import threading

import pytest
from livepin.errors import ConfigurationError
from livepin.jose import PrivateKey
from livepin_server.backups import form, making
from livepin_server.custody import age
from livepin_server.custody.age import Seal
from livepin_server.custody.sealed import Label, load_master_key
from livepin_server.errors import BackupError, CustodyError, SchemaError
from livepin_server.services.model import NewDomain
from livepin_server.storage import rows
from livepin_server.storage.schema import keys
from sqlalchemy import select, text, update


def content(path, opening):
    """Return the header, the files and the rows by table of a backup."""
    with path.open("rb") as sealed, age.opened(sealed, opening) as plain:
        reader = form.Reader(plain)
        files = {each.path: each.data for each in reader.files()}
        found = {}
        for each in reader.rows():
            found.setdefault(each.table, []).extend(each.values)
    return reader.header, files, found


def kept(database):
    with database.reading() as connection:
        found = {}
        for each in rows.every(connection):
            found.setdefault(each.table, []).extend(each.values)
    return found


def test_it_holds_everything_that_a_lost_server_needs(
    either_folder, open_folder, back_up, identity, new_pin, intent
):
    with open_folder(either_folder) as opened:
        services = opened.services
        services.domains.add(
            "acme", NewDomain(pattern="a.example.com", pins=[new_pin(1), new_pin(2)]), intent
        )
        expected = kept(services.database)
    made = back_up(either_folder)
    header, files, found = content(made.path, identity[1])
    assert found == expected
    assert len(found["configs"]) == len(found["pins"]) == 2
    assert made.rows == sum(map(len, found.values()))
    assert (made.accounts, made.master_key, made.size) == (1, True, made.path.stat().st_size)
    assert set(files) == {
        "livepin.toml", "master.key", "operator.key",
        *(f"tls/{each}" for each in ("ca.pem", "server.pem", "server.key", "next.pem", "next.key")),
    }  # fmt: skip
    assert all((either_folder / name).read_bytes() == data for name, data in files.items())
    assert (header.master_key, header.schema, header.version) == ("file", made.schema, "0.1.0")


def test_it_is_of_the_moment_that_it_says(data_folder, back_up, identity, clock):
    clock.advance(days=1, microseconds=7)
    made = back_up(data_folder)
    assert content(made.path, identity[1])[0].moment == made.moment == clock()


def test_it_is_made_while_a_server_holds_the_folder_and_publishes(
    either_folder, run_server, back_up, identity, new_pin, intent
):
    server = run_server(either_folder)
    stop, failures = threading.Event(), []

    def publish():
        number = 0
        while not stop.is_set():
            number += 1
            new = NewDomain(pattern=f"{number}.example.com", pins=[new_pin(number)])
            try:
                server.services.domains.add("acme", new, intent)
            except Exception as exc:
                failures.append(exc)
                return

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        found = [content(back_up(either_folder).path, identity[1])[2] for _ in range(5)]
    finally:
        stop.set()
        publisher.join(60)
    assert failures == []
    for each in found:
        # A domain, its pin and the config that carries it are of one transaction.
        (account,) = each["accounts"]
        last = account[2]
        assert len(each.get("domains", [])) == len(each.get("pins", [])) == last - 1
        assert [row[1] for row in each["configs"]] == list(range(1, last + 1))
    assert len({each["accounts"][0][2] for each in found}) > 1


def test_nothing_of_it_is_ever_on_disk_in_clear(data_folder, back_up, tmp_path, opened):
    with opened.services.database.reading() as connection:
        row = connection.execute(select(keys).where(keys.c.role == "config")).one()
    vault = load_master_key(data_folder / "master.key", None)
    key: PrivateKey = vault.open(row.sealed, Label("acme", "config", row.kid))
    secrets = [
        base64.b64decode((data_folder / "master.key").read_text()),
        (data_folder / "master.key").read_bytes().strip(),
        (data_folder / "operator.key").read_bytes().strip(),
        key.key.private_numbers().private_value.to_bytes(32, "big"),
    ]
    now = opened.services.clock()
    seal = Seal(recipients=(age.new_identity(tmp_path / "i", now=now),))
    before = set(tmp_path.rglob("*"))
    seen = []

    def look(_):
        seen.extend(path.read_bytes() for path in set(tmp_path.rglob("*")) - before)

    made = making.make(data_folder, {}, tmp_path / "b.age", seal, now=now, progress=look)
    assert seen
    for data in [*seen, made.path.read_bytes()]:
        assert not [each for each in secrets if each in data]


# -- the master key -------------------------------------------------------------------------------


def test_a_master_key_of_the_environment_stays_out_of_it(data_folder, back_up, identity):
    master = (data_folder / "master.key").read_text().strip()
    made = back_up(data_folder, LIVEPIN_MASTER_KEY=master)
    header, files, _ = content(made.path, identity[1])
    assert (made.master_key, header.master_key) == (False, "elsewhere")
    assert "master.key" not in files
    (data_folder / "master.key").unlink()
    assert not back_up(data_folder).master_key


def test_a_master_key_that_opens_nothing_makes_no_backup(data_folder, back_up, tmp_path):
    other = base64.b64encode(os.urandom(32))
    (data_folder / "master.key").write_bytes(other)
    with pytest.raises(CustodyError, match="does not open"):
        back_up(data_folder)
    with pytest.raises(CustodyError, match="does not open"):
        back_up(data_folder, LIVEPIN_MASTER_KEY=other.decode())
    assert not [each for each in tmp_path.iterdir() if each.name.startswith("b.age")]


def test_keys_that_are_replaced_meanwhile_are_never_mixed(data_folder, back_up, monkeypatch):
    """Files and rows that do not belong together would be a backup of nothing."""
    original, calls = making._files, []

    def changing(data):
        calls.append(data)
        return {**original(data), "tls/ca.pem": bytes([len(calls)])}

    monkeypatch.setattr(making, "_files", changing)
    with pytest.raises(BackupError, match="keep changing"):
        back_up(data_folder)
    assert len(calls) == 6
    assert not (data_folder.parent / "b.age").exists()

    def changing_once(data):
        calls.append(data)
        return {**original(data), "tls/ca.pem": b"old" if len(calls) == 7 else b"new"}

    monkeypatch.setattr(making, "_files", changing_once)
    assert back_up(data_folder).rows


def test_a_master_key_that_is_changed_meanwhile_is_read_again(
    data_folder, back_up, monkeypatch, identity
):
    right = (data_folder / "master.key").read_bytes()
    (data_folder / "master.key").write_bytes(base64.b64encode(os.urandom(32)))
    original = making._master_key

    def rekeyed(*arguments):
        try:
            return original(*arguments)
        finally:
            (data_folder / "master.key").write_bytes(right)

    monkeypatch.setattr(making, "_master_key", rekeyed)
    assert content(back_up(data_folder).path, identity[1])[1]["master.key"] == right


def test_delivery_keys_that_are_being_renewed_are_both_in_it(data_folder, back_up, identity):
    shutil.copytree(data_folder / "tls", data_folder / "tls.new")
    files = content(back_up(data_folder).path, identity[1])[1]
    assert "tls/server.key" in files
    assert "tls.new/server.key" in files


# -- what cannot be backed up ---------------------------------------------------------------------


def test_what_is_no_data_folder_is_named(tmp_path, back_up):
    with pytest.raises(ConfigurationError, match="not a Livepin data folder"):
        back_up(tmp_path / "nowhere")


def test_a_database_of_another_schema_is_refused(data_folder, opened, back_up, tmp_path):
    opened.services.database.write(
        lambda each: each.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    )
    with pytest.raises(SchemaError):
        back_up(data_folder)
    assert not (tmp_path / "b.age").exists()


def test_a_file_that_is_too_large_or_cannot_be_read_is_named(data_folder, back_up):
    (data_folder / "operator.key").write_bytes(bytes(form.MOST_FILE + 1))
    with pytest.raises(CustodyError, match=r"operator.key to hold at most"):
        back_up(data_folder)
    (data_folder / "operator.key").unlink()
    (data_folder / "operator.key").mkdir()
    with pytest.raises(CustodyError, match=r"cannot read .*operator.key: Is a directory"):
        back_up(data_folder)


def test_a_document_of_megabytes_goes_through(data_folder, opened, back_up, identity):
    document = os.urandom(8 * 1024 * 1024)
    opened.services.database.write(
        lambda each: each.execute(
            update(making.rows.metadata.tables["configs"]).values(document=document)
        )
    )
    found = content(back_up(data_folder).path, identity[1])[2]
    assert document in found["configs"][0]
