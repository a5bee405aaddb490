"""The schema: moments are exact, and what belongs together is held together by the database."""

import datetime as dt
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from livepin_server.storage.schema import Moment, accounts, configs, pins
from sqlalchemy import delete, insert, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import IntegrityError

DIALECT = sqlite.dialect()


@pytest.fixture(params=["sqlite", "postgresql"])
def data_folder(request, tmp_path):
    """A data folder for each database in turn."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgres_folder")
    data = tmp_path / "data"
    shutil.copytree(request.getfixturevalue("data_template"), data)
    return data


@given(st.datetimes(timezones=st.timezones() | st.just(dt.timezone.utc)))
@settings(deadline=None, max_examples=100)
def test_a_moment_comes_back_exactly_in_utc(moment):
    kept = Moment().process_bind_param(moment, DIALECT)
    assert isinstance(kept, int)
    try:
        expected = moment.astimezone(dt.timezone.utc)
    except OverflowError:
        return  # beyond the years that datetime has
    found = Moment().process_result_value(kept, DIALECT)
    assert found == expected
    assert found.tzinfo is dt.timezone.utc


def test_no_moment_stays_none():
    assert Moment().process_bind_param(None, DIALECT) is None
    assert Moment().process_result_value(None, DIALECT) is None


def test_a_moment_without_a_zone_is_refused():
    with pytest.raises(TypeError, match="offset-naive"):
        Moment().process_bind_param(dt.datetime(2026, 1, 1), DIALECT)  # noqa: DTZ001


def test_two_configs_of_one_number_cannot_be_kept(services):
    with services.database.reading() as connection:
        row = connection.execute(select(configs)).one()._asdict()
    with pytest.raises(IntegrityError, match=r"configs\.account, configs\.version|pk_configs"):
        services.database.write(lambda each: each.execute(insert(configs).values(**row)))


def test_one_pin_cannot_be_kept_twice_in_a_set(services, add_domain):
    add_domain()
    with services.database.reading() as connection:
        row = connection.execute(select(pins)).one()._asdict()
    del row["id"]
    with pytest.raises(IntegrityError, match=r"pins\.sha256|uq_pins_sha256"):
        services.database.write(lambda each: each.execute(insert(pins).values(**row)))


def test_an_account_with_documents_cannot_be_deleted(services):
    with pytest.raises(IntegrityError, match=r"FOREIGN KEY|foreign key"):
        services.database.write(lambda each: each.execute(delete(accounts)))
