"""Overrides: signed for one device, replaced, ended, forgotten; and everything else as it was."""

from __future__ import annotations

from datetime import timedelta

import pytest
from livepin.documents import Mode, Override, override
from livepin.errors import RollbackError, VerificationError
from livepin.jose import parse_compact
from livepin.trust import TrustedState
from livepin_server.bus.memory import OverridesChanged
from livepin_server.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from livepin_server.services.audit.log import Wanted
from livepin_server.services.model import NewStream
from livepin_server.services.overrides import overrides as module
from livepin_server.services.overrides import rows
from livepin_server.storage.schema import accounts, keys, roots
from livepin_server.storage.schema import overrides as table
from msgspec import structs
from sqlalchemy import delete, func, insert, select

HOST = "api.example.com"
OTHER = "o" * 43
HOUR = timedelta(hours=1)


def parsed(raw: bytes) -> Override:
    return Override.parse(parse_compact(raw, typ=override.TYP).payload)


def entries(services):
    return [each.entry for each in services.audit.log("acme", Wanted(action="override")).items]


def last_version(services):
    with services.database.reading() as connection:
        return connection.scalar(select(accounts.c.last_version))


@pytest.mark.parametrize("data_folder", ["sqlite", "postgresql"], indirect=True)
def test_a_device_is_unpinned_for_a_day_and_pinned_again(device, create, clock, intent, services):
    found = create(device.id)
    assert (found.version, found.root_version, found.stream) == (3, 1, "main")
    assert (found.installation, found.thumbprint) == (device.id, device.thumbprint)
    assert (found.domains, found.mode, found.pins) == ([HOST], "off", [])
    assert (found.issued, found.expires) == (clock(), clock() + timedelta(days=1))
    assert (found.author, found.reason) == (intent.author, intent.reason)
    assert (found.in_force, found.ended, found.ended_by) == (True, None, None)
    state = device.trusts(clock())
    assert state.lookup(HOST).mode is Mode.OFF
    assert state.lookup(HOST).token
    assert services.overrides.all("acme", tested=False) == [found]
    # It ends by itself: at the server, and in the app by the same second.
    clock.advance(days=1)
    assert device.delivered(clock()) is None
    assert state.with_run_time(timedelta(), now=clock()).lookup(HOST).mode is Mode.ENFORCE
    (listed,) = services.overrides.all("acme", tested=False)
    assert (listed.in_force, listed.ended) == (False, None)


def test_it_is_signed_by_the_override_key_for_that_device_alone(device, create, clock, services):
    create()
    raw = device.delivered(clock())
    found = parsed(raw)
    assert (found.account, found.installation) == ("acme", device.thumbprint)
    (signature,) = parse_compact(raw, typ=override.TYP).signatures
    (key,) = services.roots.show("acme").roles["override"].keys
    assert signature.kid == key.kid
    state = TrustedState.from_bootstrap(services.published.bootstrap("acme", "main"))
    with pytest.raises(VerificationError, match="another installation"):
        state.advance_override(raw, thumbprint=OTHER, now=clock())


def test_the_fleet_sees_nothing_but_a_number_that_is_left_out(device, create, services, intent):
    before = services.published.documents("acme")
    create()
    assert services.published.documents("acme") == before
    assert last_version(services) == 3
    assert services.publisher.republish("acme", "main", intent).version == 4
    assert [each.version for each in services.published.history("acme", "main")] == [4, 2, 1]


def test_tokens_are_made_as_before(device, create, services):
    before = services.tokens.load("acme")
    create()
    after = services.tokens.load("acme")
    assert set(after.overrides) == {device.thumbprint}
    for name in ("issuer", "streams", "published", "settings", "rules"):
        assert getattr(after, name) == getattr(before, name)


def test_one_that_never_asked_for_a_token_is_named_by_its_thumbprint(
    services, create, add_domain, intent
):
    add_domain(HOST)
    found = create(OTHER)
    assert (found.thumbprint, found.stream) == (OTHER, "main")
    ended = services.overrides.end("acme", found.installation, intent, tested=False)
    assert ended.version == found.version
    with pytest.raises(NotFoundError, match=r"the key of .* is not known") as refused:
        create("1" * 22)
    assert "client.installation_thumbprint" in refused.value.hint


def test_by_its_thumbprint_it_is_the_one_that_asked(device, create):
    assert create(device.thumbprint).installation == device.id


def test_the_config_of_its_stream_says_which_hosts_there_are(
    device, services, create, clock, intent, add_domain
):
    services.streams.add("acme", NewStream(name="canary"), intent)
    add_domain("new.example.com", stream="canary")
    with pytest.raises(InvalidError, match="the config of main does not list new"):
        create(device.id, "new.example.com")
    assert create(device.id, "new.example.com", stream="canary").stream == "canary"
    device.asks(clock() + HOUR, stream="canary")
    assert create(device.id, "new.example.com").stream == "canary"
    with pytest.raises(NotFoundError, match="there is no stream 'none'"):
        create(device.id, stream="none")


def test_what_an_app_would_refuse_is_not_signed(device, create, services, add_domain):
    add_domain("*.example.com")
    with pytest.raises(InvalidError, match=r"the app would refuse .*covers a delivery host"):
        create(device.id, "*.example.com")  # delivery is at pins.example.com
    assert last_version(services) == 3
    assert services.overrides.all("acme", tested=False) == []
    assert entries(services) == []


def test_it_needs_a_reason_and_an_account(device, services, create, intent):
    new = module.NewOverride(installation=device.id, domains=[HOST], mode="off")
    for step in (
        lambda: services.overrides.create(
            "acme", new, structs.replace(intent, reason=""), tested=False
        ),
    ):
        with pytest.raises(InvalidError, match="expected a reason"):
            step()
    for step in (
        lambda: services.overrides.create("beta", new, intent, tested=False),
        lambda: services.overrides.end("beta", device.id, intent, tested=False),
        lambda: services.overrides.all("beta", tested=False),
    ):
        with pytest.raises(NotFoundError, match="account"):
            step()


# -- replaced and ended --------------------------------------------------------------------------


def test_a_new_one_takes_the_place_of_the_one_before(device, create, clock, services):
    first = create()
    old = device.trusts(clock())
    clock.advance(minutes=5)
    second = create(mode="report", lives=3600)
    assert device.trusts(clock(), old).lookup(HOST).mode is Mode.REPORT
    listed = services.overrides.all("acme", tested=False)
    assert [each.version for each in listed] == [second.version, first.version]
    assert (listed[1].ended, listed[1].ended_by) == (clock(), "alice")
    # Who was away while the second was in force hears that the first has ended.
    clock.advance(hours=2)
    state = device.trusts(clock(), old)
    assert state.lookup(HOST).mode is Mode.ENFORCE
    assert state.override_floor == second.version
    clock.advance(hours=22)
    assert device.delivered(clock()) is None


def test_an_end_is_delivered_until_the_ended_one_would_have_expired(
    device, create, clock, services, intent
):
    found = create()
    old = device.trusts(clock())
    raw = device.delivered(clock())
    clock.advance(hours=1)
    ended = services.overrides.end("acme", str(found.version), intent, tested=False)
    assert (ended.version, ended.in_force) == (found.version, False)
    assert (ended.ended, ended.ended_by) == (clock(), intent.author)
    assert services.overrides.all("acme", tested=False) == [ended]
    clock.advance(hours=22, minutes=59)
    state = device.trusts(clock(), old)
    assert state.lookup(HOST).mode is Mode.ENFORCE
    assert parsed(device.delivered(clock())).domains == ()
    with pytest.raises(RollbackError):  # replayed after the end
        state.advance_override(raw, thumbprint=device.thumbprint, now=clock())
    clock.advance(minutes=1)
    assert device.delivered(clock()) is None


def test_who_is_unpinned_anew_after_an_end_takes_it(device, create, clock, services, intent):
    create()
    state = device.trusts(clock())
    services.overrides.end("acme", "latest", intent, tested=False)
    state = device.trusts(clock(), state)
    assert state.lookup(HOST).mode is Mode.ENFORCE
    create(lives=60)
    assert device.trusts(clock(), state).lookup(HOST).mode is Mode.OFF


def test_what_is_over_is_not_ended_again(device, create, clock, services, intent):
    def end(name):
        return services.overrides.end("acme", name, intent, tested=False)

    with pytest.raises(ConflictError, match=r"no override of .* is in force"):
        end(device.id)
    first, second = create(), create()
    with pytest.raises(ConflictError, match=f"the override {first.version} of .* is over already"):
        end(str(first.version))
    assert end(device.thumbprint).version == second.version
    for name in (device.id, "latest"):
        with pytest.raises(ConflictError, match="no override of"):
            end(name)
    for name in ("99", str(second.version + 1)):  # the latter is the number of the end
        with pytest.raises(NotFoundError, match=f"there is no override {name} of acme"):
            end(name)
    third = create(lives=60)
    clock.advance(minutes=1)
    with pytest.raises(ConflictError, match="is over already"):
        end(str(third.version))
    with pytest.raises(InvalidError, match="22 characters"):
        end("12345678901234567")


def test_a_new_root_ends_those_under_the_old_one(device, create, clock, services):
    found = create()
    clock.advance(hours=1)
    with services.database.reading() as connection:
        document = connection.scalar(select(roots.c.document))
    services.database.write(
        lambda connection: connection.execute(
            insert(roots).values(
                account="acme", version=2, document=document, expires=clock(), created=clock()
            )
        )
    )
    assert services.published.overrides("acme") == {device.thumbprint: None}
    (listed,) = services.overrides.all("acme", tested=False)
    assert (listed.version, listed.in_force) == (found.version, False)
    assert (listed.ended, listed.ended_by) == (clock(), "root 2")
    assert services.overrides.warnings("acme") == []


def test_of_a_config_of_the_future_none_is_signed_that_has_expired_there(
    device, create, clock, services, intent
):
    clock.advance(days=2)
    services.publisher.republish("acme", "main", intent)
    clock.advance(days=-2)
    with pytest.raises(ConflictError, match=r"for expired: its config was issued at 2026-11-25"):
        create()
    assert create(lives=7 * 86400).in_force


def test_without_its_key_the_server_signs_none(device, create, services):
    services.database.write(
        lambda connection: connection.execute(delete(keys).where(keys.c.role == "override"))
    )
    with pytest.raises(ConflictError, match="holds no override key that root 1 of acme names"):
        create()


# -- bounds --------------------------------------------------------------------------------------


def test_few_of_a_device_are_kept_and_the_log_has_them_all(device, create, services, monkeypatch):
    monkeypatch.setattr(rows, "MOST_KEPT", 3)
    made = [create().version for _ in range(5)]
    listed = services.overrides.all("acme", tested=False)
    assert [each.version for each in listed] == made[:1:-1]
    assert len(entries(services)) == 5


def test_few_devices_of_an_account_have_one(device, create, services, monkeypatch, clock):
    monkeypatch.setattr(module, "MOST", 1)
    create(lives=60)
    with pytest.raises(ConflictError, match="1 installations of acme have an override"):
        create(OTHER)
    create(lives=60)  # another for the same one
    clock.advance(minutes=1)
    create(OTHER)
    with pytest.raises(ConflictError, match="have an override"):
        create(device.id)  # its own has expired


def test_what_ended_is_forgotten_and_what_has_not_is_kept(device, create, clock, services):
    create(lives=60)
    create(OTHER, lives=7 * 86400)
    services.overrides.forget(clock() + timedelta(days=1))
    assert [each.thumbprint for each in services.overrides.all("acme", tested=False)] == [OTHER]


# -- told ----------------------------------------------------------------------------------------


def test_each_change_is_announced_and_in_the_log(device, create, services, intent, monkeypatch):
    told, elsewhere = [], []
    monkeypatch.setattr(services.bus, "enclose", lambda _, news: elsewhere.append(news))
    stop = services.bus.subscribe(told.append, OverridesChanged)
    first = create()
    second = create(mode="report")
    services.overrides.end("acme", device.id, intent, tested=False)
    stop()
    assert told == elsewhere == [OverridesChanged(account="acme")] * 3
    end, replaced, made = entries(services)
    assert [each.action for each in (made, replaced, end)] == [
        "override.create", "override.create", "override.end",
    ]  # fmt: skip
    assert {each.target for each in (made, replaced, end)} == {device.id}
    assert (made.before, made.after["version"], made.after["mode"]) == (None, first.version, "off")
    assert made.after["domains"] == [HOST]
    assert made.after["thumbprint"] == device.thumbprint
    assert (replaced.before["version"], replaced.after["mode"]) == (first.version, "report")
    assert end.before["version"] == second.version
    assert end.after == {"version": second.version + 1}
    assert {each.config for each in (made, replaced, end)} == {None}


def test_what_is_over_was_not_replaced_says_the_log(device, create, services, clock, intent):
    create(lives=60)
    clock.advance(hours=1)
    create()
    assert entries(services)[0].before is None
    services.overrides.end("acme", device.id, intent, tested=False)
    create()
    assert entries(services)[0].before is None


def test_a_person_is_told_while_one_is_in_force(device, create, services, clock, pin_text):
    assert services.overrides.warnings("acme") == []
    create()
    until = "until 2026-11-24 12:00 UTC, by alice"
    assert services.overrides.warnings("acme") == [
        f"an override unpins the installation {device.id} of acme at {HOST} {until}"
    ]
    create(pins=[pin_text(9)])
    assert services.overrides.warnings("acme") == [
        f"an override gives other pins to the installation {device.id} of acme at {HOST} {until}"
    ]
    clock.advance(days=1)
    assert services.overrides.warnings("acme") == []


def test_what_expires_is_announced_once(device, create, services, clock):
    told = []
    services.bus.subscribe(told.append, OverridesChanged)
    create(lives=60)
    told.clear()
    services.overrides.tell_expired()
    assert told == []
    clock.advance(minutes=1)
    services.overrides.tell_expired()
    assert told == [OverridesChanged(account="acme")]
    services.overrides.tell_expired()
    assert len(told) == 1


def test_after_a_restore_those_of_the_backup_are_ended(device, create, services, intent):
    old, new = create(), create(OTHER)
    services.overrides.end_up_to("acme", old.version, intent)
    listed = {each.version: each.in_force for each in services.overrides.all("acme", tested=False)}
    assert listed == {old.version: False, new.version: True}


# -- tagged --------------------------------------------------------------------------------------


def test_those_of_tagged_ones_are_listed_apart(device, create, services, intent):
    one, other = create(), create(OTHER)
    assert services.overrides.all("acme", tested=True) == []
    services.installations.tag("acme", device.id, ["test"], intent, by_admin=True)
    assert services.overrides.all("acme", tested=True) == [one]
    for name in (device.id, device.thumbprint, "latest"):
        assert services.overrides.all("acme", tested=True, installation=name) == [one]
    assert services.overrides.all("acme", tested=True, installation=OTHER) == []
    assert services.overrides.all("acme", tested=False, installation=OTHER) == [other]
    assert services.overrides.all("acme", tested=False, limit=1) == [other]
    with pytest.raises(InvalidError, match="22 characters"):
        services.overrides.all("acme", tested=False, installation="x")


def test_the_latest_is_the_latest_of_those_that_count(device, services, clock, intent):
    other = type(device)(services, OTHER)
    other.asks(clock() + HOUR)
    services.installations.tag("acme", device.id, ["test"], intent, by_admin=True)
    new = module.NewOverride(installation="latest", domains=[HOST], mode="off")
    assert services.overrides.create("acme", new, intent, tested=True).installation == device.id
    assert services.overrides.create("acme", new, intent, tested=False).installation == other.id


def test_the_same_is_said_of_one_without_the_tag_and_of_one_that_is_not_there(
    device, create, services, intent
):
    found = create()

    def said(step):
        with pytest.raises((ForbiddenError, NotFoundError)) as refused:
            step()
        return type(refused.value), str(refused.value), refused.value.hint

    def make(name):
        new = module.NewOverride(installation=name, domains=[HOST], mode="off")
        return lambda: services.overrides.create("acme", new, intent, tested=True)

    def end(name):
        return lambda: services.overrides.end("acme", name, intent, tested=True)

    nobody = "1" * 22
    for step in (make, end):
        kind, text, hint = said(step(device.id))
        assert kind is ForbiddenError
        assert (kind, text.replace(device.id, nobody), hint.replace(device.id, nobody)) == said(
            step(nobody)
        )
        assert said(step("latest"))[0] is NotFoundError
    number = str(found.version)
    kind, text, hint = said(end(number))
    assert (kind, text.replace(number, "77"), hint) == said(end("77"))
    assert services.overrides.all("acme", tested=False)[0].in_force


def test_an_end_takes_what_is_left_of_its_time_and_no_more(device, create, clock, services, intent):
    create(lives=7 * 86400)
    clock.advance(days=6, microseconds=5)
    create(lives=7 * 86400)
    services.overrides.end("acme", device.id, intent, tested=False)
    with services.database.reading() as connection:
        until = connection.scalar(select(func.max(table.c.until)))
    assert until == clock().replace(microsecond=0) + timedelta(days=7)
    assert parsed(device.delivered(clock())).lifetime == timedelta(days=7)
