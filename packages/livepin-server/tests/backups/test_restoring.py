"""Restoring: the same server again, whole or not at all, from either database into either."""

from __future__ import annotations

import base64
import datetime as dt
import os
import shutil
import stat

import pytest
from livepin.errors import ConfigurationError, LivepinError
from livepin_server.backups import form, mark
from livepin_server.backups.accounts import Numbers
from livepin_server.custody import age, tls_identity
from livepin_server.errors import BackupError, CustodyError, SchemaError, UnavailableError
from livepin_server.probing.looks import Look
from livepin_server.services.model import NewDomain
from livepin_server.services.monitoring.beats import Beats
from livepin_server.services.monitoring.endpoints import Endpoints
from livepin_server.services.monitoring.schedule import Schedule
from livepin_server.services.monitoring.sources import Sources
from livepin_server.services.numbering import HIGHEST
from livepin_server.storage import rows, schema_version
from livepin_server.storage.database import sqlite_url
from livepin_server.storage.schema import accounts, configs
from sqlalchemy import select, text, update

HOUR = dt.timedelta(hours=1)


@pytest.fixture
def filled(either_folder, open_folder, new_pin, intent):
    """A data folder with three configs, on each database in turn."""
    with open_folder(either_folder) as opened:
        services = opened.services
        new = NewDomain(pattern="a.example.com", pins=[new_pin(1), new_pin(2)])
        services.domains.add("acme", new, intent)
        services.domains.add_pins("acme", "a.example.com", [new_pin(3)], "main", intent)
    return either_folder


@pytest.fixture
def empty_url(postgres, new_database):
    """The URL of an empty PostgreSQL."""
    return postgres.url(new_database())


def content(database):
    """Return all rows, but for the counter, which a restore moves on."""
    found = {}
    with database.reading() as connection:
        for each in rows.every(connection):
            values = [dict(zip(each.columns, row, strict=True)) for row in each.values]
            for row in values:
                row.pop("last_version", None)
            found.setdefault(each.table, []).extend(values)
    return found


def test_leases_and_silence_of_before_count_no_more(
    filled, open_folder, back_up, restore, clock, intent
):
    now = clock()

    def judge(claimed, *_):
        return []

    with open_folder(filled) as opened:
        database = opened.services.database
        Beats(database, clock=clock).beat("here", "one", 1)
        endpoints = Endpoints(database, clock=clock, gone=lambda *_: None)
        endpoints.ensure_vantage("here")
        sources = Sources(database, clock=clock)
        schedule = Schedule(database, sources, clock=clock, judge=judge, take=lambda *_: set())
        clock.advance(minutes=1)
        (before,) = schedule.claim("here", 9, lease=dt.timedelta(days=9))
    back_up(filled)
    restored = restore(database="sqlite")
    assert restored.rows > 0
    clock.advance(hours=1)
    with open_folder(filled.parent / "restored") as opened:
        database = opened.services.database
        sources = Sources(database, clock=clock)
        schedule = Schedule(database, sources, clock=clock, judge=judge, take=lambda *_: set())
        (beat,) = Beats(database, clock=clock).all()
        assert (beat.silent, beat.started) == (False, now)
        (after,) = schedule.claim("here", 9, lease=dt.timedelta(minutes=2))
        assert after.host == before.host
        assert after.fence > before.fence + 2**31  # a worker of the lost server may go on
        look = Look(id=0, failure="timeout")
        assert schedule.complete([(before, look)]) == 0
        assert schedule.complete([(after, look)]) == 1


@pytest.mark.parametrize("to", ["sqlite", "postgresql"])
def test_it_is_the_same_server_again(filled, to, open_folder, back_up, restore, request, tmp_path):
    back_up(filled)
    to = "sqlite" if to == "sqlite" else request.getfixturevalue("empty_url")
    restored = restore(database=to)
    with open_folder(filled) as before, open_folder(tmp_path / "restored") as after:
        expected = content(before.services.database)
        assert content(after.services.database) == expected
        assert (after.services.database.shared is None) == (to == "sqlite")
        assert after.identity.pins == before.identity.pins
    assert restored.rows == sum(map(len, expected.values()))
    assert len(expected["configs"]) == 3
    for name in ("master.key", "operator.key", "tls/server.key", "tls/next.key", "tls/ca.pem"):
        assert (tmp_path / "restored" / name).read_bytes() == (filled / name).read_bytes()
        assert stat.S_IMODE((tmp_path / "restored" / name).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "restored").stat().st_mode) == 0o700


def test_the_restored_server_publishes_again_above_what_the_lost_one_can_have_given_out(
    filled, open_folder, back_up, restore, tmp_path, clock
):
    back_up(filled)
    (account,) = restore(database="sqlite").accounts
    assert (account.name, account.last, account.signs, account.foreign) == ("acme", 3, True, None)
    assert account.floor == 3 + 3600 * 1000 + 1_000_000
    with open_folder(tmp_path / "restored") as opened:
        mark.go_on(opened)
        newest, *_, oldest = opened.services.published.history("acme", "main")
        assert newest.version == account.floor + 1
        assert newest.author == "livepin restore"
        assert newest.reason == f"restored from the backup of {clock():%Y-%m-%d %H:%M}"
        assert newest.changed == [f"versions go on above {account.floor}"]
        assert oldest.version == 1


def test_what_settings_say_stays_but_for_the_database(filled, back_up, restore, tmp_path):
    path = filled / "livepin.toml"
    path.write_text(path.read_text() + "# by hand\nlog_format = 'text'\n")
    back_up(filled)
    restore(database="sqlite")
    before = [line for line in path.read_text().splitlines() if not line.startswith("database")]
    assert (tmp_path / "restored" / "livepin.toml").read_text().splitlines() == before


def test_without_a_word_the_database_is_that_of_the_settings(
    data_folder, back_up, restore, tmp_path
):
    back_up(data_folder)
    restore()
    assert (tmp_path / "restored" / "livepin.db").exists()


def test_the_environment_may_name_the_database(
    data_folder, back_up, restore, tmp_path, empty_url, open_database
):
    back_up(data_folder)
    restore(environment={"LIVEPIN_DATABASE": empty_url})
    schema_version.require_current(open_database(empty_url))
    assert not (tmp_path / "restored" / "livepin.db").exists()
    assert empty_url not in (tmp_path / "restored" / "livepin.toml").read_text()


def test_it_goes_into_an_empty_folder(data_folder, back_up, restore, tmp_path):
    (tmp_path / "restored").mkdir()
    back_up(data_folder)
    restore()
    assert (tmp_path / "restored" / "livepin.db").exists()


# -- the master key ------------------------------------------------------------------------------


def test_a_master_key_that_is_elsewhere_may_come_later(
    data_folder, back_up, restore, open_folder, tmp_path
):
    master = (data_folder / "master.key").read_text().strip()
    back_up(data_folder, LIVEPIN_MASTER_KEY=master)
    assert restore().header.master_key == "elsewhere"
    with pytest.raises(CustodyError, match=r"master\.key"), open_folder(tmp_path / "restored"):
        pass
    with open_folder(tmp_path / "restored", LIVEPIN_MASTER_KEY=master) as opened:
        mark.go_on(opened)
        assert opened.services.published.history("acme", "main")[0].version > 1000


def test_a_master_key_that_does_not_open_the_keys_is_refused(
    data_folder, back_up, restore, tmp_path
):
    master = (data_folder / "master.key").read_text().strip()
    back_up(data_folder, LIVEPIN_MASTER_KEY=master)
    other = base64.b64encode(os.urandom(32)).decode()
    with pytest.raises(CustodyError, match="does not open"):
        restore(environment={"LIVEPIN_MASTER_KEY": other})
    assert left(tmp_path) == set()


# -- the clock -----------------------------------------------------------------------------------


def test_a_clock_before_the_backup_is_refused_unless_a_version_is_given(
    data_folder, back_up, restore, clock, tmp_path
):
    back_up(data_folder)
    with pytest.raises(BackupError, match="the clock says 2026-11-23 11:00") as caught:
        restore(at=clock() - HOUR)
    assert "--above" in caught.value.hint
    assert left(tmp_path) == set()
    (account,) = restore(at=clock() - HOUR, above=5_000_000).accounts
    assert account.floor == 5_000_000


def test_above_is_no_way_to_go_below(data_folder, back_up, restore):
    back_up(data_folder)
    (account,) = restore(above=7).accounts
    assert account.floor == 1 + 3600 * 1000 + 1_000_000


def test_nothing_goes_on_where_no_numbers_are_left(data_folder, back_up, restore, tmp_path):
    back_up(data_folder)
    with pytest.raises(BackupError, match="too few are left"):
        restore(above=HIGHEST + 1)
    assert left(tmp_path) == set()


def test_the_bound_needs_no_more_than_the_clock():
    moment = dt.datetime(2026, 11, 23, 12, tzinfo=dt.timezone.utc)
    numbers = Numbers(moment=moment, now=moment + dt.timedelta(seconds=10, microseconds=1))
    assert numbers.floor(7) == 7 + 11_000 + 1_000_000
    # A server that publishes as fast as anything can for ten years is below it.
    years = Numbers(moment=moment, now=moment + dt.timedelta(days=3652))
    assert years.floor(0) > 3652 * 86400 * 999
    assert years.floor(0) < HIGHEST


# -- what cannot be restored, and what is left of it ----------------------------------------------


def left(tmp_path):
    """Return what a restore that failed left, hidden or not."""
    return {each.name for each in tmp_path.iterdir()} - {
        "data", "postgres", "b.age", "identity.txt", "elsewhere", "keep",
    }  # fmt: skip


def test_a_database_that_holds_a_server_is_left_alone(
    filled, back_up, restore, tmp_path, postgres_folder, open_folder
):
    back_up(filled)
    with open_folder(postgres_folder) as opened:
        url, before = opened.services.database.url, content(opened.services.database)
    with pytest.raises(SchemaError, match="holds the data of a Livepin server"):
        restore(database=url.render_as_string(hide_password=False))
    with open_folder(postgres_folder) as opened:
        assert content(opened.services.database) == before
    assert left(tmp_path) == set()


def test_a_database_of_another_program_is_left_alone(
    data_folder, back_up, restore, tmp_path, empty_url, open_database
):
    back_up(data_folder)
    database = open_database(empty_url)
    database.write(lambda each: each.execute(text("CREATE TABLE accounts AS SELECT 1 AS mine")))
    with pytest.raises(SchemaError, match="another program has a table accounts"):
        restore(database=empty_url)
    with database.reading() as connection:
        assert connection.scalar(text("SELECT mine FROM accounts")) == 1
    assert left(tmp_path) == set()


def test_a_failure_after_the_database_was_filled_empties_it_again(
    data_folder, back_up, restore, tmp_path, empty_url, open_database
):
    master = (data_folder / "master.key").read_text().strip()
    back_up(data_folder, LIVEPIN_MASTER_KEY=master)
    other = base64.b64encode(os.urandom(32)).decode()
    file = tmp_path / "elsewhere" / "livepin.db"
    file.parent.mkdir()
    for url in (empty_url, sqlite_url(file)):
        with pytest.raises(CustodyError):
            restore(database=url, environment={"LIVEPIN_MASTER_KEY": other})
        with open_database(url).reading() as connection:
            assert rows.names(connection) == set()
        assert left(tmp_path) == set()
        restore(database=url, environment={"LIVEPIN_MASTER_KEY": master})
        shutil.rmtree(tmp_path / "restored")


def test_a_database_that_does_not_answer_is_named(data_folder, back_up, restore, tmp_path):
    back_up(data_folder)
    with pytest.raises(UnavailableError, match="does not answer"):
        restore(database=f"postgresql+psycopg://livepin@/x?host={tmp_path}/nowhere")
    assert left(tmp_path) == set()


@pytest.mark.parametrize("make", ["file", "folder"])
def test_a_folder_that_is_there_is_left_alone(data_folder, back_up, restore, tmp_path, make):
    back_up(data_folder)
    place = tmp_path / "restored"
    if make == "file":
        place.write_text("mine")
    else:
        place.mkdir()
        (place / "mine").touch()
    with pytest.raises(ConfigurationError, match="exists already"):
        restore()
    assert left(tmp_path) == {"restored"}


def test_a_place_that_cannot_be_written_is_named(data_folder, back_up, restore):
    back_up(data_folder)
    with pytest.raises(ConfigurationError, match="cannot restore to /proc/nowhere"):
        restore(data=type(data_folder)("/proc/nowhere/restored"))


def test_a_file_that_is_not_there_is_named(restore, tmp_path):
    with pytest.raises(BackupError, match=r"cannot read .*gone.age: No such file") as caught:
        restore(tmp_path / "gone.age")
    assert caught.value.hint == "is it the right file?"
    assert left(tmp_path) == set()


@pytest.mark.parametrize("name", ["livepin.toml", "master.key", "tls/ca.pem", "tls/server.key"])
def test_a_backup_that_lacks_a_file_is_refused(
    data_folder, back_up, restore, tmp_path, rewrite, name
):
    back_up(data_folder)
    with pytest.raises(LivepinError):
        restore(rewrite(lambda each: not (isinstance(each, form.File) and each.path == name)))
    assert left(tmp_path) == {"rewritten.age"}


def test_a_backup_whose_documents_clients_would_refuse_is_refused(
    data_folder, open_folder, back_up, restore, tmp_path
):
    with open_folder(data_folder) as opened:
        opened.services.database.write(
            lambda each: each.execute(update(configs).values(document=b"x.y.z"))
        )
    back_up(data_folder)
    with pytest.raises(BackupError, match="documents of acme in it are not sound"):
        restore()
    assert left(tmp_path) == set()


@pytest.fixture
def rewrite(tmp_path, identity):
    """Write the backup again without the records that `keep` does not want."""

    def one(keep):
        def records(plain):
            reader = form.Reader(plain)
            yield reader.header
            yield from reader.files()
            count = 0
            for each in reader.rows():
                values = [list(row) for row in each.values]
                count += len(values)
                columns = list(each.columns)
                yield form.TableRows(table=each.table, columns=columns, values=values)
            yield form.End(rows=count)

        target = tmp_path / "rewritten.age"
        with (tmp_path / "b.age").open("rb") as sealed, age.opened(sealed, identity[1]) as plain:
            found = [each for each in records(plain) if keep(each)]
        with target.open("wb") as file:
            age.seal(form.written(found), file, identity[0])
        return target

    return one


# -- a renewal under way -------------------------------------------------------------------------


def test_delivery_keys_that_were_being_renewed_are_finished_as_on_the_lost_server(
    data_folder, back_up, restore, open_folder, tmp_path
):
    new = data_folder / "tls.new"
    shutil.copytree(data_folder / "tls", new)
    shutil.rmtree(data_folder / "tls")
    back_up(data_folder)
    pins = tls_identity.load(new).pins
    restore()
    with open_folder(tmp_path / "restored") as opened:
        assert opened.identity.pins == pins
    assert not (tmp_path / "restored" / "tls.new").exists()


# -- one transaction -----------------------------------------------------------------------------


def test_there_never_is_a_database_that_would_give_a_number_out_twice(
    data_folder, back_up, restore, empty_url, open_database, monkeypatch
):
    """What another process sees of it has the counter above everything, or is nothing at all."""
    back_up(data_folder)
    seen = []
    original = schema_version.restore

    def looked(database, revision, fill):
        def filling(connection, tables):
            result = fill(connection, tables)
            with open_database(empty_url).reading() as other:
                seen.append(rows.names(other))
            return result

        result = original(database, revision, filling)
        with open_database(empty_url).reading() as other:
            seen.append(other.scalar(select(accounts.c.last_version)))
        return result

    monkeypatch.setattr(schema_version, "restore", looked)
    restore(database=empty_url)
    assert seen == [set(), 1 + 3600 * 1000 + 1_000_000]
