"""A recipient is public: whoever knows it can make a file that opens as a backup of yours.

Such a file may hold anything. It is read within bounds, writes nothing outside of the new folder,
and an account whose roots and configs are not signed as apps want them is not restored.
"""

from __future__ import annotations

import datetime as dt
import gzip
import time

import msgspec
import pytest
from livepin.errors import LivepinError
from livepin.jose import PrivateKey
from livepin.testing import FakeClock
from livepin_server.backups import form, making, restoring
from livepin_server.backups.form import End, File, Header, Reader, TableRows
from livepin_server.backups.restoring import RestorePlan
from livepin_server.custody import age
from livepin_server.custody.age import Opening, Seal
from livepin_server.errors import ServiceError

NOW = FakeClock()()


@pytest.fixture
def attack(data_folder, tmp_path):
    """Restore what an attacker makes of the records of a real backup."""
    recipient = age.new_identity(tmp_path / "identity", now=NOW)
    seal = Seal(recipients=(recipient,))
    opening = Opening(identities=age.read_identities(tmp_path / "identity"))
    making.make(data_folder, {}, tmp_path / "b.age", seal, now=NOW)

    def records():
        with (tmp_path / "b.age").open("rb") as sealed, age.opened(sealed, opening) as plain:
            reader = Reader(plain)
            found = [reader.header, *reader.files()]
            for each in reader.rows():
                values = [list(row) for row in each.values]
                found.append(TableRows(table=each.table, columns=list(each.columns), values=values))
        return found

    def one(change=lambda found: found, *, raw=None):
        if raw is None:
            found = list(change(records()))
            count = sum(len(each.values) for each in found if isinstance(each, TableRows))
            raw = b"".join(form.written([*found, End(rows=count)]))
        with (tmp_path / "hostile.age").open("wb") as file:
            age.seal([raw], file, seal)
        plan = RestorePlan(
            file=tmp_path / "hostile.age", data=tmp_path / "new", opening=opening, offline=True
        )
        return restoring.restore(plan, {}, clock=lambda: NOW + dt.timedelta(hours=1))

    return one


def fails_clean(attack, tmp_path, *arguments, **options):
    """Expect a refusal in words that leaves nothing behind."""
    before = {each.name for each in tmp_path.iterdir()} | {"hostile.age"}
    with pytest.raises((LivepinError, ServiceError)) as caught:
        attack(*arguments, **options)
    assert {each.name for each in tmp_path.iterdir()} <= before
    return str(caught.value)


def table(records, name):
    return next(each for each in records if isinstance(each, TableRows) and each.table == name)


def test_the_records_as_they_are_restore(attack):
    assert attack().accounts[0].signs


@pytest.mark.parametrize("path", ["../escaped", "/tmp/escaped", "tls/../../escaped", "run/x.json"])
def test_no_file_leaves_the_folder(attack, tmp_path, path):
    said = fails_clean(attack, tmp_path, lambda found: [*found, File(path=path, data=b"x")])
    assert "not one of Livepin's" in said or "not whole" in said
    said = fails_clean(
        attack, tmp_path, lambda found: [found[0], File(path=path, data=b"x"), *found[1:]]
    )
    assert "not one of Livepin's" in said
    assert not list(tmp_path.rglob("escaped"))


def test_a_small_file_that_expands_without_end_is_given_up_at_its_first_record(attack, tmp_path):
    bomb = gzip.compress(
        (form.MOST_RECORD + 1).to_bytes(4, "big") + bytes(256 * 1024 * 1024), compresslevel=9
    )
    started = time.monotonic()
    assert "expected at most" in fails_clean(attack, tmp_path, raw=bomb)
    assert time.monotonic() - started < 30


def test_a_count_that_is_a_lie_is_refused(attack, tmp_path):
    def lie(found):
        return b"".join(form.written([*found, End(rows=10**9)]))

    records = []
    attack(lambda found: records.extend(found) or found)
    import shutil

    shutil.rmtree(tmp_path / "new")
    assert "not whole" in fails_clean(attack, tmp_path, raw=lie(records))


@pytest.mark.parametrize("name", ["alembic_version", "sqlite_master", "pg_proc", "accounts; DROP"])
def test_rows_go_into_livepins_own_tables_alone(attack, tmp_path, name):
    rows = TableRows(table=name, columns=["x"], values=[["y"]])
    assert "there is no table" in fails_clean(attack, tmp_path, lambda found: [*found, rows])


def test_a_schema_that_nobody_knows_is_refused(attack, tmp_path):
    def change(found):
        return [msgspec.structs.replace(found[0], schema="'; DROP TABLE x; --"), *found[1:]]

    assert "does not know" in fails_clean(attack, tmp_path, change)


def test_settings_cannot_lead_to_a_database_that_is_another_servers(
    attack, tmp_path, postgres_folder, open_folder
):
    """The file names a live database: it holds a server, so nothing of it is touched."""
    text = (postgres_folder / "livepin.toml").read_bytes()

    def change(found):
        return [
            File(path=each.path, data=text) if getattr(each, "path", "") == "livepin.toml" else each
            for each in found
        ]

    assert "holds the data of a Livepin server" in fails_clean(attack, tmp_path, change)
    with open_folder(postgres_folder) as opened:
        assert len(opened.services.published.history("acme", "main")) == 1


def test_a_config_that_the_root_does_not_vouch_for_is_not_restored(attack, tmp_path):
    from livepin.documents import config
    from livepin.jose import parse_compact, sign_compact

    def change(found):
        rows = table(found, "configs")
        at = rows.columns.index("document")
        payload = parse_compact(rows.values[0][at], typ=config.TYP).payload
        forged = sign_compact(payload, typ=config.TYP, signer=PrivateKey.generate())
        rows.values[0][at] = forged
        return found

    assert "not sound" in fails_clean(attack, tmp_path, change)


def test_keys_of_the_attackers_cannot_sign_for_a_root_that_does_not_name_them(attack, tmp_path):
    """All it gets is a server that says that it cannot sign."""

    def change(found):
        rows = table(found, "keys")
        kid, role = rows.columns.index("kid"), rows.columns.index("role")
        rows.values[:] = [each for each in rows.values if each[role] != "config"]
        assert all(len(each[kid]) == 43 for each in rows.values)
        return found

    (account,) = attack(change).accounts
    assert not account.signs


@pytest.mark.parametrize("last", [-1, 2**53 - 1, 2**62])
def test_a_counter_that_leaves_no_numbers_is_refused(attack, tmp_path, last):
    def change(found):
        rows = table(found, "accounts")
        rows.values[0][rows.columns.index("last_version")] = last
        return found

    assert "too few are left" in fails_clean(attack, tmp_path, change)


@pytest.mark.parametrize("years", [-10, 10])
def test_a_moment_that_is_a_lie_never_lowers_what_is_gone_above(attack, tmp_path, years):
    moment = NOW + dt.timedelta(days=365 * years)

    def change(found):
        header: Header = msgspec.structs.replace(found[0], moment=moment)
        return [header, *found[1:]]

    if years > 0:
        assert "the clock says" in fails_clean(attack, tmp_path, change)
    else:
        assert attack(change).accounts[0].floor > 10**11
