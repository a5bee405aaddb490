"""The log in the database: one number after the other, whoever appends, and given out in pages."""

import datetime as dt
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from livepin.jose import PrivateKey
from livepin_server.errors import ConflictError, NotFoundError
from livepin_server.services.audit import SERVER, entry_of
from livepin_server.services.audit import log as log_module
from livepin_server.services.audit.chain import FIRST, Walk, text
from livepin_server.services.audit.entry import decode
from livepin_server.services.audit.log import Wanted
from livepin_server.services.audit.seals import head_of
from livepin_server.services.changes import SetDelivery
from livepin_server.services.delivery_settings import DeliveryChange
from livepin_server.services.model import Intent, NewStream, Role
from livepin_server.storage.schema import audit, configs
from sqlalchemy import delete, select, update

WHO = Intent(author="alice", reason="rotation", key_id="0123456789ab", origin="192.0.2.7")
HERE = Intent(author="alice", origin="192.0.2.7")
HOST = "api.example.com"
ALL = Wanted()


@pytest.fixture
def rows(services):
    """Return the rows of a log."""

    def one(account="acme"):
        query = select(audit).where(audit.c.account == account).order_by(audit.c.number)
        with services.database.reading() as connection:
            return connection.execute(query).all()

    return one


@pytest.fixture
def entries(rows):
    """Return the entries of a log."""
    return lambda account="acme": [decode(row.entry) for row in rows(account)]


@pytest.fixture
def record(services, clock):
    """Append an entry to the log of an account."""

    def one(account="acme", action="probe", who=WHO, **members):
        entry = entry_of(who, account=account, action=action, now=clock(), **members)
        services.audit.record(entry)

    return one


@pytest.fixture
def walked(services):
    """Walk along a whole log."""

    def one(account="acme"):
        found = Walk(account)
        while page := services.audit.export(account, after=found.number):
            for line in page.splitlines(keepends=True):
                found.take(line)
        found.end()
        return found

    return one


# -- what appends --------------------------------------------------------------------------------


def test_entries_are_numbered_from_one_in_each_log(record, rows, walked):
    before = len(rows())
    for number in range(3):
        record(target=f"{number}")
    record(SERVER)
    assert [row.number for row in rows()] == list(range(1, before + 4))
    assert [row.number for row in rows(SERVER)] == [1, 2, 3]
    assert walked().number == before + 3
    assert walked(SERVER).number == 3


def test_an_entry_of_an_account_names_the_head_of_the_servers_log(record, rows, entries):
    record(SERVER)
    record()
    assert entries()[-1].server == text(rows(SERVER)[-1].digest)
    assert entries(SERVER)[-1].server is None


def test_the_first_log_of_all_names_no_head(services, intent, clock):
    def transaction(connection):
        connection.exec_driver_sql("DROP TABLE audit")
        audit.create(connection)
        entry = entry_of(intent, account="acme", action="probe", now=clock())
        services.audit.append(connection, entry)
        return connection.scalars(select(audit.c.entry)).one()

    assert decode(services.database.write(transaction)).server is None


def test_a_change_that_is_refused_leaves_no_entry(services, rows, intent):
    before = rows()

    def change(connection, _now):
        entry = entry_of(intent, account="acme", action="probe", now=services.clock())
        services.audit.append(connection, entry)
        raise ConflictError("no")

    with pytest.raises(ConflictError):
        services.publisher.republish("acme", "main", intent, claim=change)
    assert rows() == before


def test_an_account_that_there_is_not_has_no_log(services, record):
    for use in (
        lambda: record("nobody"),
        lambda: services.audit.log("nobody", ALL),
        lambda: services.audit.export("nobody"),
        lambda: services.audit.signed("nobody"),
    ):
        with pytest.raises(NotFoundError, match="there is no account 'nobody'") as caught:
            use()
        assert caught.value.hint == "there is acme"


def test_many_at_once_leave_one_order_without_a_gap(record, rows, walked):
    before = len(rows())
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: record(target=f"{number}"), range(40)))
    assert [row.number for row in rows()] == list(range(1, before + 41))
    assert walked().number == before + 40


# -- what the use cases leave --------------------------------------------------------------------


def test_a_publication_and_its_head_are_of_one_transaction(services, add_domain, rows, entries):
    add_domain()
    publication, raw = services.published.version("acme", "main")
    assert head_of(raw) == rows()[-1].digest
    found = entries()[-1]
    assert (found.action, found.target, found.config) == ("config.publish", "main", 2)
    assert (found.author, found.reason) == ("alice", "rotation")
    assert found.before == {"version": 1, "root_version": 1}
    members = {"mode": "enforce", "token": False, "stale": "enforce", "pin_set": HOST}
    (domain,) = services.domains.all("acme")
    assert found.after == {
        "version": 2,
        "root_version": 1,
        "changed": publication.changed,
        "domains": {HOST: members},
        "pin_sets": {HOST: [{"sha256": domain.pins[0].sha256.removeprefix("sha256/")}]},
    }


def test_every_way_to_publish_says_how_it_came_about(services, add_domain, entries, clock, intent):
    known = len(entries())
    add_domain()
    services.streams.add("acme", NewStream(name="canary"), intent)
    services.stage.make("acme", SetDelivery(wanted=DeliveryChange(refresh_interval=60)), intent)
    services.publisher.set_delivery_of_all(DeliveryChange(refresh_interval=90), intent)
    clock.advance(days=8)
    services.publisher.resign_due()
    assert [(each.action, each.target) for each in entries()[known:]] == [
        ("config.publish", "main"),
        ("stream.add", "canary"),
        ("delivery.set", "canary"),
        ("delivery.set", "main"),
        ("delivery.renew-keys", "canary"),
        ("delivery.renew-keys", "main"),
        ("config.resign", "canary"),
        ("config.resign", "main"),
    ]
    assert entries()[-1].author == "livepin"
    assert entries()[known + 1].before is None  # the first version of its stream


def test_an_account_begins_with_how_it_was_made(entries):
    (kid,) = entries()[1].after["root_keys"]
    assert [(each.action, each.target) for each in entries()] == [
        ("root-key.keep", kid), ("account.create", "acme"), ("config.publish", "main"),
    ]  # fmt: skip
    prepared, made = entries(SERVER)
    assert (prepared.action, prepared.target) == ("account.prepare", "acme")
    assert prepared.after == {"root_keys": [kid], "threshold": 1}
    assert made.action == "api-key.create"


def test_an_account_that_was_only_prepared_is_in_the_servers_log(services, entries):
    key = PrivateKey.generate()
    services.accounts.prepare("beta", [dict(key.public.jwk())], WHO)
    assert entries("beta") == []
    assert entries(SERVER)[-1].target == "beta"
    assert entries(SERVER)[-1].origin == "192.0.2.7"


@pytest.mark.parametrize(("account", "log"), [(None, SERVER), ("acme", "acme")])
def test_an_api_key_is_told_of_where_it_counts_and_never_its_secret(
    services, entries, rows, account, log
):
    view, text = services.api_keys.create("ci", Role.OPERATOR, account, HERE)
    _, second = services.api_keys.rotate(view.id, HERE)
    services.api_keys.revoke(view.id, HERE)
    told = entries(log)[-3:]
    assert [each.action for each in told] == ["api-key.create", "api-key.rotate", "api-key.revoke"]
    assert {each.target for each in told} == {view.id}
    made, rotated, revoked = told
    assert (made.before, revoked.after) == (None, None)
    for found in (made.after, rotated.before, rotated.after, revoked.before):
        assert (found["name"], found["role"], found["account"]) == ("ci", "operator", account)
    for secret in (text, second):
        assert secret[17:].encode() not in b"".join(row.entry for row in rows(log))


# -- what is looked for --------------------------------------------------------------------------


def targets(page):
    return [each.entry.target for each in page.items]


def test_the_newest_come_first_and_the_rest_on_the_next_page(services, record, rows):
    for number in range(5):
        record(target=f"{number}")
    first = services.audit.log("acme", ALL, limit=2)
    assert targets(first) == ["4", "3"]
    assert first.items[0].number == len(rows())
    assert first.items[0].digest == text(rows()[-1].digest)
    second = services.audit.log("acme", ALL, limit=2, before=first.before)
    assert targets(second) == ["2", "1"]
    last = services.audit.log("acme", ALL, limit=50, before=second.before)
    assert targets(last)[0] == "0"
    assert (last.items[-1].number, last.before) == (1, None)


def test_what_is_wanted_is_found_by_action_author_and_moment(services, record, clock):
    record(target="old")
    clock.advance(days=1)
    since = clock()
    record(target="bob's", who=Intent(author="bob"))
    record(target="alice's")
    record(target="made", action="api-key.create")

    def found(**wanted):
        return targets(services.audit.log("acme", Wanted(**wanted)))

    assert found(since=since) == ["made", "alice's", "bob's"]
    assert found(action="api-key") == ["made"]
    assert found(author="bob") == ["bob's"]
    assert found(author="bob", action="config") == []
    assert found(since=since + dt.timedelta(microseconds=1)) == []
    assert found(action="probe", author="alice", since=since) == ["alice's"]


def test_a_search_looks_at_a_bounded_number_of_entries(services, record, monkeypatch):
    monkeypatch.setattr(log_module, "_MOST_LOOKED_AT", 3)
    record(target="far away", who=Intent(author="bob"))
    for _ in range(4):
        record()
    first = services.audit.log("acme", Wanted(author="bob"))
    assert (first.items, first.before is None) == ([], False)
    second = services.audit.log("acme", Wanted(author="bob"), before=first.before)
    assert targets(second) == ["far away"]


# -- what is given out ---------------------------------------------------------------------------


def test_an_export_has_the_entries_to_the_byte(services, record, rows):
    record(who=Intent(author="alice", reason='ü\x1b[2J\n"'))
    lines = services.audit.export("acme").splitlines(keepends=True)
    previous = FIRST
    for line, row in zip(lines, rows(), strict=True):
        found = json.loads(line)
        assert (found["number"], found["digest"]) == (row.number, text(row.digest))
        assert found["previous"] == text(previous)
        assert line.endswith(b'"entry":' + row.entry + b"}\n")
        previous = row.digest


def test_an_export_goes_on_after_a_number(services, record, rows):
    record()
    whole, newest = services.audit.export("acme"), rows()[-1].number
    for after in range(newest):
        lines = services.audit.export("acme", after=after).splitlines()
        assert lines == whole.splitlines()[after:]
    assert services.audit.export("acme", after=newest) == b""
    with pytest.raises(NotFoundError, match=f"no entry {newest + 1}: the log ends at entry"):
        services.audit.export("acme", after=newest + 1)


def test_an_export_begins_with_the_first_entry_of_a_day(services, record, rows, clock):
    known = len(rows())
    for day in range(4):
        clock.advance(days=1)
        record(target=f"{day}")

    def first(since, after=0):
        page = services.audit.export("acme", since=since, after=after)
        return json.loads(page.splitlines()[0])["number"] if page else None

    assert first(clock() - dt.timedelta(days=1)) == known + 3
    assert first(clock() - dt.timedelta(days=1), after=known + 3) == known + 4
    assert first(clock() - dt.timedelta(days=90)) == 1
    assert first(dt.datetime.min.replace(tzinfo=dt.timezone(dt.timedelta(hours=23)))) == 1
    assert first(clock() + dt.timedelta(seconds=1)) is None


def test_a_page_is_bounded_and_never_empty_before_the_end(services, record, monkeypatch, walked):
    monkeypatch.setattr(log_module, "_MOST_BYTES", 10)
    record()
    assert services.audit.export("acme").count(b"\n") == 1
    assert walked().number == 4
    page = services.audit.signed("acme")
    assert [each.version for each in page.configs] == [1]


def test_what_was_signed_comes_in_order_with_the_roots_first(services, add_domain, monkeypatch):
    for number in range(3):
        add_domain(f"h{number}.example.com")
    page = services.audit.signed("acme")
    assert [each.version for each in page.configs] == [1, 2, 3, 4]
    assert page.roots[0].encode() == services.published.documents("acme").roots[1]
    assert page.configs[3].document.encode() == services.published.version("acme", "main")[1]
    size = len(page.configs[1].document)
    monkeypatch.setattr(log_module, "_MOST_BYTES", 2 * size)
    later = services.audit.signed("acme", after=1)
    assert (later.roots, later.configs[0].version) == ([], 2)
    assert len(later.configs) < 3
    assert services.audit.signed("acme", after=4).configs == []


# -- a look at the newest ------------------------------------------------------------------------


def test_a_log_that_holds_is_not_warned_of(services, add_domain, intent):
    assert services.audit.warnings() == []
    add_domain()
    services.api_keys.create("ci", Role.VIEWER, "acme", intent)
    assert services.audit.warnings("acme") == []


def change(services, *statements):
    def transaction(connection):
        if connection.dialect.name == "sqlite":
            for name in ("update", "delete", "insert"):
                connection.exec_driver_sql(f"DROP TRIGGER audit_{name}")
        else:
            connection.exec_driver_sql("ALTER TABLE audit DISABLE TRIGGER USER")
        for each in statements:
            connection.execute(each)

    services.database.write(transaction)


def test_a_head_that_is_not_in_the_log_is_warned_of(services, add_domain):
    add_domain()
    change(services, delete(audit).where(audit.c.account == "acme", audit.c.number >= 4))
    (found,) = services.audit.warnings()
    assert found.startswith("the newest config of acme carries a head that its audit log does not")
    assert services.audit.warnings("acme") == [found]
    assert services.audit.warnings("beta") == []


def test_configs_that_are_gone_are_no_matter_of_the_log(services):
    services.database.write(lambda each: each.execute(delete(configs)))
    assert services.audit.warnings() == []


def test_a_config_that_is_none_is_warned_of(services):
    change(services, update(configs).values(document=b"nonsense"))
    assert len(services.audit.warnings()) == 1
