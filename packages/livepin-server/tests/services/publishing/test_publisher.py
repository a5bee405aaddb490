"""Publishing: one counter, one signature, one transaction; then, and only then, the news."""

import contextlib
import datetime as dt
import logging
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest
from livepin.documents import Config
from livepin.documents.config import TYP
from livepin.errors import LivepinError
from livepin.jose import parse_compact
from livepin.trust import TrustedState
from livepin_server.custody.sealed import load_master_key
from livepin_server.errors import (
    InvalidError,
    NotFoundError,
    UnavailableError,
)
from livepin_server.services.changes import SetDelivery
from livepin_server.services.delivery_settings import DeliveryChange
from livepin_server.services.model import Intent
from livepin_server.services.publishing.publisher import Publisher
from livepin_server.storage.schema import accounts, configs, keys
from sqlalchemy import select, update


@pytest.fixture
def heard(services):
    found = []
    services.bus.subscribe(found.append)
    return found


def rows(services, account="acme"):
    query = select(configs).where(configs.c.account == account).order_by(configs.c.version)
    with services.database.reading() as connection:
        return connection.execute(query).all()


def counter(services, account="acme"):
    query = select(accounts.c.last_version).where(accounts.c.name == account)
    with services.database.reading() as connection:
        return connection.scalar(query)


# -- a version -----------------------------------------------------------------------------------


def test_a_publication_says_who_and_why_and_what(publisher, published, clock):
    clock.advance(hours=1, microseconds=5)
    intent = Intent(author="alice", reason="key rotation")
    found = publisher.republish("acme", "main", intent, ["+ this", "- that"])
    assert (found.account, found.stream, found.root_version, found.version) == (
        "acme", "main", 1, 2,
    )  # fmt: skip
    assert (found.author, found.reason, found.changed) == (
        "alice", "key rotation", ["+ this", "- that"],
    )  # fmt: skip
    assert found.issued == dt.datetime(2026, 11, 23, 13, tzinfo=dt.timezone.utc)
    assert found.expires - found.issued == dt.timedelta(days=14)
    assert published.version("acme", "main")[0] == found


def test_the_document_says_the_same_as_the_record(published, publish):
    found = publish()
    _, raw = published.version("acme", "main")
    document = Config.parse(parse_compact(raw, typ=TYP).payload)
    for name in ("account", "stream", "root_version", "version", "issued", "expires"):
        assert getattr(document, name) == getattr(found, name)


def test_the_change_and_its_config_are_one_transaction(services, publisher, intent):
    def change(connection, _):
        connection.execute(update(accounts).values(last_version=41))

    assert publisher.republish("acme", "main", intent, claim=change).version == 42


def test_a_change_that_is_refused_costs_no_number(services, publisher, publish, intent, heard):
    def change(*_):
        raise InvalidError("no")

    with pytest.raises(InvalidError):
        publisher.republish("acme", "main", intent, claim=change)
    assert heard == []
    assert counter(services) == 1
    assert publish().version == 2


def test_streams_of_an_account_share_one_counter(published, publish, add_stream):
    add_stream("canary")
    found = [publish(stream=name).version for name in ("canary", "main", "canary", "main")]
    assert found == [2, 3, 4, 5]
    assert [each.version for each in published.history("acme", "main")] == [5, 3, 1]
    assert published.version("acme", "canary")[0].version == 4


def test_accounts_count_apart(publish, beta):
    assert publish().version == 2
    assert publish("beta").version == 2


def test_a_published_version_never_changes(services, publish, add_domain, clock):
    seen = {}
    for number in range(5):
        clock.advance(days=8)
        add_domain(f"h{number}.example.com")
        services.publisher.resign_due()
        for row in rows(services):
            assert seen.setdefault(row.version, row) == row
    assert len(seen) == 6


def test_clients_follow_every_version_from_the_first_on(services, publish, add_domain, clock):
    states = []
    for number in range(4):
        states.append(TrustedState.from_bootstrap(services.published.bootstrap("acme", "main")))
        clock.advance(days=3)
        add_domain(f"h{number}.example.com")
    _, raw = services.published.version("acme", "main")
    assert {state.advance_config(raw).order for state in states} == {(1, 5)}


def test_publishing_with_the_clock_set_back_still_goes_forward(services, publish, clock):
    start = TrustedState.from_bootstrap(services.published.bootstrap("acme", "main"))
    clock.advance(days=-30)
    publish()
    _, raw = services.published.version("acme", "main")
    assert start.advance_config(raw).order == (1, 2)


# -- many at once --------------------------------------------------------------------------------


def test_publishes_from_many_threads_never_share_a_number(services, add_domain, heard):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: add_domain(f"h{n}.example.com"), range(40)))
    versions = [each.version for each in found]
    assert sorted(versions) == list(range(2, 42))
    assert sorted(each.version for each in heard) == list(range(2, 42))
    assert counter(services) == 41
    for publication in found:
        # Each version holds exactly what was there when it was made: one domain more.
        _, raw = services.published.version("acme", "main", publication.version)
        document = Config.parse(parse_compact(raw, typ=TYP).payload)
        assert len(document.domains) == publication.version - 1


def test_two_servers_on_one_database_never_share_a_number(opened, open_folder, intent):
    # On SQLite that is not allowed, and the lock prevents it; it would hold nevertheless.
    with open_folder(opened.data) as other, ThreadPoolExecutor(2) as pool:

        def run(folder):
            publisher = folder.services.publisher
            return [publisher.republish("acme", "main", intent).version for _ in range(10)]

        first, second = pool.map(run, (opened, other))
    assert sorted(first + second) == list(range(2, 22))


# -- the news ------------------------------------------------------------------------------------


def test_a_version_is_announced_once_it_can_be_fetched(services, publish):
    seen = []

    def subscriber(announcement):
        found, _ = services.published.version(
            announcement.account, announcement.stream, announcement.version
        )
        seen.append((found.root_version, found.version))

    services.bus.subscribe(subscriber)
    publish()
    assert seen == [(1, 2)]


def test_a_subscriber_that_fails_does_not_undo_a_publication(services, publish, heard, caplog):
    def failing(_):
        raise RuntimeError("the loop has ended")

    unsubscribe = services.bus.subscribe(failing)
    assert publish().version == 2
    unsubscribe()
    assert "the loop has ended" in caplog.text
    assert [each.version for each in heard] == [2]


# -- troubles ------------------------------------------------------------------------------------


@pytest.mark.parametrize("data_folder", ["sqlite"], indirect=True)
def test_a_lock_of_another_process_refuses_and_loses_nothing(
    services, opened, publish, heard, pragma
):
    pragma("busy_timeout=20")
    publish()
    path = opened.data / "livepin.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError, match="locked by another process"):
            publish()
        assert services.published.version("acme", "main")[0].version == 2
        other.execute("ROLLBACK")
    assert [each.version for each in heard] == [2]
    assert publish().version == 3


@pytest.mark.parametrize("data_folder", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("setting", "match"), [("query_only=1", "is read-only"), ("max_page_count=1", "disk is full")]
)
def test_a_database_that_cannot_be_written_refuses_and_loses_nothing(
    services, add_domain, heard, pragma, setting, match
):
    add_domain("a.example.com")
    before = rows(services)
    pragma(setting)
    with pytest.raises(UnavailableError, match=match):
        add_domain("b.example.com", *range(500))
    assert rows(services) == before
    assert [each.version for each in heard] == [2]
    pragma("query_only=0")
    pragma("max_page_count=10000")
    assert add_domain("b.example.com").version == 3


def test_another_master_key_signs_nothing(data_folder, open_folder, intent):
    with open_folder(data_folder, LIVEPIN_MASTER_KEY="A" * 43 + "=") as opened:
        with pytest.raises(LivepinError, match=r"the config key .* of acme does not open"):
            opened.services.publisher.republish("acme", "main", intent)
        assert counter(opened.services) == 1
        assert len(rows(opened.services)) == 1


# -- signing again -------------------------------------------------------------------------------


def test_a_config_is_signed_again_at_half_its_life_and_not_before(services, publisher, clock):
    clock.advance(days=7, seconds=-1)
    assert publisher.resign_due() == []
    clock.advance(seconds=1)
    (found,) = publisher.resign_due()
    assert (found.version, found.author, found.changed) == (2, "livepin", [])
    assert found.reason == "re-signed at half its lifetime"
    assert found.issued == clock()
    assert publisher.resign_due() == []


def test_signing_again_changes_nothing_that_the_config_says(
    services, publisher, published, add_domain, clock
):
    add_domain()
    _, before = published.version("acme", "main")
    clock.advance(days=8)
    publisher.resign_due()
    _, after = published.version("acme", "main")
    first, second = (Config.parse(parse_compact(raw, typ=TYP).payload) for raw in (before, after))
    assert first.domains == second.domains
    assert first.delivery == second.delivery
    assert second.expires == clock() + dt.timedelta(days=14)


def test_an_expired_config_is_signed_again(publisher, clock):
    clock.advance(days=400)
    assert [each.version for each in publisher.resign_due()] == [2]


def test_every_stream_of_every_account_is_signed_again(
    publisher, publish, add_stream, beta, clock, heard
):
    add_stream("canary")
    publish(stream="canary")
    del heard[:]
    clock.advance(days=8)
    found = {(each.account, each.stream, each.version) for each in publisher.resign_due()}
    assert {each[:2] for each in found} == {
        ("acme", "main"), ("acme", "canary"), ("beta", "main"),
    }  # fmt: skip
    assert sorted(version for account, _, version in found if account == "acme") == [3, 4]
    assert len(heard) == 3


def test_an_account_that_cannot_be_signed_again_does_not_hold_up_the_others(
    services, publisher, beta, clock, caplog
):
    services.database.write(
        lambda each: each.execute(
            update(keys).where(keys.c.account == "acme").values(sealed=b"damaged")
        )
    )
    clock.advance(days=8)
    with caplog.at_level(logging.ERROR):
        found = publisher.resign_due()
    assert [(each.account, each.version) for each in found] == [("beta", 2)]
    assert "the config of acme/main could not be signed again" in caplog.text
    assert "does not open" in caplog.text
    assert counter(services) == 1


def test_the_lifetime_is_the_publishers(services, opened, clock, intent):
    vault = load_master_key(opened.data / "master.key", None)
    short = Publisher(
        services.database,
        vault,
        services.bus,
        clock=clock,
        look=dict.fromkeys,
        lifetime=dt.timedelta(hours=2),
    )
    found = short.republish("acme", "main", intent)
    assert found.expires - found.issued == dt.timedelta(hours=2)
    clock.advance(hours=1)
    assert [each.version for each in short.resign_due()] == [3]


# -- delivery ------------------------------------------------------------------------------------


def test_new_delivery_settings_are_published_in_every_stream(
    publisher, published, publish, add_stream, intent
):
    add_stream("canary")
    publish(stream="canary")
    wanted = DeliveryChange(
        urls=["https://new.example.com"],
        recovery_urls=["http://cdn.example.com"],
        refresh_interval=60,
    )
    settings = wanted.over(published.delivery("acme"))
    found = publisher.publish("acme", [SetDelivery(wanted=wanted)], intent)
    assert sorted((each.stream, each.version) for each in found) in (
        [("canary", 3), ("main", 4)],
        [("canary", 4), ("main", 3)],
    )
    assert published.delivery("acme") == settings
    for stream in ("main", "canary"):
        publication, raw = published.version("acme", stream)
        document = Config.parse(parse_compact(raw, typ=TYP).payload)
        assert document.delivery == settings.document()
        assert document.refresh_interval == dt.timedelta(minutes=1)
        assert publication.changed == [
            "* delivery: URLs https://pins.example.com:8443 -> https://new.example.com",
            "* delivery: recovery URLs none -> http://cdn.example.com",
            "* delivery: refresh interval 300 s -> 60 s",
        ]


def test_bad_delivery_settings_change_nothing(publisher, published, services, intent):
    before = published.delivery("acme")
    for members in ({"urls": []}, {"pins": []}, {"urls": ["http://new.example.com"]}):
        with pytest.raises(InvalidError):
            publisher.publish("acme", [SetDelivery(wanted=DeliveryChange(**members))], intent)
    assert published.delivery("acme") == before
    assert counter(services) == 1


def test_delivery_settings_of_no_account_suggest_the_nearest(publisher, published, intent):
    wanted = DeliveryChange(refresh_interval=60)
    for use in (
        lambda: published.delivery("acmee"),
        lambda: publisher.publish("acmee", [SetDelivery(wanted=wanted)], intent),
        lambda: published.documents("acmee"),
        lambda: published.bootstrap("acmee", "main"),
    ):
        with pytest.raises(NotFoundError) as caught:
            use()
        assert caught.value.hint == "did you mean acme?"
