"""Apps are registered, changed and removed; their keys are sealed, and shown to nobody."""

from __future__ import annotations

import msgspec
import pytest
from livepin_server.attestation.policy import AppPolicy, Policy
from livepin_server.attestation.registered import FORMATS, Registered
from livepin_server.bus.memory import TokensChanged
from livepin_server.errors import (
    ConflictError,
    CustodyError,
    InvalidError,
    NotFoundError,
)
from livepin_server.services import key_rows
from livepin_server.services.apps.model import AppChange, NewApp, NewRelease
from livepin_server.services.audit.log import Wanted
from livepin_server.storage.schema import apps, proofs
from sqlalchemy import insert, select, update

MANIFEST = f"{'0' * 64} 0 app.py\n"


@pytest.fixture
def read(services):
    """Return what verifiers are told of the apps of `acme`."""

    def one():
        with services.database.reading() as connection:
            return services.apps.read(connection, "acme")

    return one


@pytest.fixture
def heard(services):
    """What the bus told of tokens that change."""
    found = []
    services.bus.subscribe(found.append, TokensChanged)
    return found


def secrets_of(said):
    play = said["play"]
    return [play["decryption_key"], play["verification_key"]]


def test_there_is_none_at_first(services, read) -> None:
    assert services.apps.all("acme") == []
    assert read() == {}


def test_an_app_is_registered_with_an_identity_of_each_kind(services, shop, said, read) -> None:
    assert services.apps.all("acme") == [shop] == [services.apps.show("acme", "shop")]
    assert (shop.name, shop.proves, shop.releases) == ("shop", "hardware_app", 0)
    (found,) = read().values()
    for kind, members in said.items():
        verified = msgspec.to_builtins(getattr(found, kind))
        assert {name: verified[name] for name in members} == members
    assert services.tokens.load("acme").apps == {"shop": found}


def test_an_app_without_identities_proves_what_it_says_itself(services, intent, read) -> None:
    made = services.apps.add("acme", NewApp(name="desktop"), intent)
    assert made.proves == "self"
    assert read() == {"desktop": Registered()}


@pytest.mark.parametrize(
    ("kinds", "level"),
    [
        (["workload"], "platform"),
        (["workload", "apple"], "hardware_app"),
        (["android"], "hardware_app"),
        (["play"], "hardware_app"),
    ],
)
def test_it_tells_the_highest_level_that_can_be_proved(services, said, intent, kinds, level):
    new = NewApp(name="x", **{each: said[each] for each in kinds})
    assert services.apps.add("acme", new, intent).proves == level


def test_what_is_not_said_stays_and_what_is_said_is_replaced_whole(
    services, shop, said, intent, read
):
    apple = {"team": "ZZZZZZZZZZ", "bundle": "com.example.other"}
    services.apps.set("acme", "shop", AppChange(apple=apple, remove=["android"]), intent)
    found = read()["shop"]
    assert (found.apple.id, found.android) == ("ZZZZZZZZZZ.com.example.other", None)
    assert found.play.decryption_key == said["play"]["decryption_key"]
    assert found.workload.subject == "shop"


def test_keys_are_replaced_and_end_with_their_identity(
    services, shop, said, service_account, intent, read
):
    package = {name: said["play"][name] for name in ("package", "certificates")}
    change = AppChange(play={**package, "service_account": service_account})
    view = services.apps.set("acme", "shop", change, intent)
    assert view.identities.play.service_account == service_account["client_email"]
    found = read()["shop"].play
    assert found.decryption_key is None
    assert found.service_account.private_key == service_account["private_key"]
    services.apps.set("acme", "shop", AppChange(remove=["play"]), intent)
    assert read()["shop"].play is None
    with services.database.reading() as connection:
        assert connection.execute(select(apps)).one().sealed is None


def test_a_removed_app_is_gone_with_its_releases(services, shop, intent, read) -> None:
    services.releases.add("acme", "shop", NewRelease(version="1", manifest=MANIFEST), intent)
    assert services.apps.remove("acme", "shop", intent).releases == 1
    assert read() == {}
    services.apps.add("acme", NewApp(name="shop"), intent)
    assert services.releases.all("acme", "shop") == []


def test_every_change_is_told_at_once_and_audited_without_keys(services, shop, said, intent, heard):
    services.apps.set("acme", "shop", AppChange(remove=["android"]), intent)
    services.apps.remove("acme", "shop", intent)
    assert heard == [TokensChanged(account="acme")] * 2
    page = services.audit.log("acme", Wanted(action="app."))
    entries = [each.entry for each in page.items]
    assert [each.action for each in entries] == ["app.remove", "app.set", "app.add"]
    removed, changed, added = entries
    assert (added.target, added.before, [*added.after]) == ("shop", None, [*said])
    assert ([*changed.before], "android" in changed.after) == ([*said], False)
    assert (removed.before, removed.after) == (changed.after, None)
    text = msgspec.json.encode(page.items).decode()
    assert not [each for each in secrets_of(said) if each in text]


def test_keys_are_kept_sealed_and_never_shown(services, shop, said) -> None:
    with services.database.reading() as connection:
        row = connection.execute(select(apps)).one()
    shown = repr(shop) + repr(services.tokens.load("acme").apps) + row.identities
    for each in secrets_of(said):
        assert each not in shown + msgspec.json.encode(shop).decode()
        assert each.encode() not in row.sealed


def test_a_new_master_key_seals_keys_of_apps_too(services, shop, said, intent, read) -> None:
    with services.database.reading() as connection:
        before = connection.execute(select(apps)).one().sealed
    services.private_keys.rekey(intent)
    with services.database.reading() as connection:
        row = connection.execute(select(apps)).one()
        assert row.sealed != before
        assert key_rows.app_keys(row) in key_rows.sealed(connection)
    assert read()["shop"].play.decryption_key == said["play"]["decryption_key"]


def test_they_open_after_a_restart(opened, open_folder, shop, said) -> None:
    with open_folder(opened.data) as again, again.services.database.reading() as connection:
        found = again.services.apps.read(connection, "acme")["shop"]
    assert found.play.verification_key == said["play"]["verification_key"]


def test_keys_of_an_app_do_not_open_for_another(services, shop, said, intent, read) -> None:
    """Whoever can write to the database moves no keys to an app of their own."""
    services.apps.add("acme", NewApp(name="other", play=said["play"]), intent)
    with services.database.reading() as connection:
        sealed = {row.name: row.sealed for row in connection.execute(select(apps))}
    swapped = update(apps).where(apps.c.name == "other").values(sealed=sealed["shop"])
    services.database.write(lambda connection: connection.execute(swapped))
    with pytest.raises(CustodyError, match="the play key other of acme does not open"):
        read()


def test_damaged_keys_are_an_error_in_words(services, shop, read) -> None:
    with services.database.reading() as connection:
        label = key_rows.app_keys(connection.execute(select(apps)).one()).label
    sealed = services.apps._sealed.keep_secret(b'{"package": 1}', label, beside=None)
    services.database.write(
        lambda connection: connection.execute(update(apps).values(sealed=sealed))
    )
    with pytest.raises(CustodyError, match="the keys of shop of acme are damaged"):
        read()


def test_where_they_are_all_that_is_sealed_the_master_key_is_known_by_them(services, shop):
    with services.database.reading() as connection:
        assert key_rows.one_sealed(connection).label.role != key_rows.PLAY
    services.database.write(_forget_other_keys)
    with services.database.reading() as connection:
        assert key_rows.one_sealed(connection).label.role == key_rows.PLAY
    services.database.write(lambda connection: connection.execute(update(apps).values(sealed=None)))
    with services.database.reading() as connection:
        assert key_rows.one_sealed(connection) is None


def _forget_other_keys(connection) -> None:
    for table in ("keys", "token_keys"):
        connection.exec_driver_sql(f"DELETE FROM {table}")


def test_reading_again_opens_no_keys_again_until_they_change(services, shop, intent, read) -> None:
    first = read()["shop"].play
    assert read()["shop"].play is first
    services.private_keys.rekey(intent)
    assert read()["shop"].play is not first


# -- what is refused -------------------------------------------------------------------------------


def test_a_name_is_taken_once(services, shop, intent) -> None:
    with pytest.raises(ConflictError, match="there is an app 'shop' already") as caught:
        services.apps.add("acme", NewApp(name="shop"), intent)
    assert caught.value.hint == "livepin app set shop"


def test_an_account_has_so_many_apps_at_most(services, shop, intent, monkeypatch) -> None:
    monkeypatch.setattr("livepin_server.services.apps.apps.MOST_APPS", 1)
    with pytest.raises(ConflictError, match="at most 1 apps in acme"):
        services.apps.add("acme", NewApp(name="more"), intent)


def test_more_keys_than_there_may_be_apps_are_not_remembered(
    services, shop, said, intent, read, monkeypatch
):
    monkeypatch.setattr("livepin_server.services.apps.apps.MOST_APPS", 1)
    first = read()["shop"].play
    services.private_keys.rekey(intent)
    assert read()["shop"].play is not first
    assert len(services.apps._opened) == 1


def test_a_wrong_name_suggests_the_right_one(services, shop, intent) -> None:
    change = AppChange(remove=["android"])
    for step in (
        lambda: services.apps.show("acme", "shp"),
        lambda: services.apps.set("acme", "shp", change, intent),
        lambda: services.apps.remove("acme", "shp", intent),
    ):
        with pytest.raises(NotFoundError, match="there is no app 'shp'") as caught:
            step()
        assert caught.value.hint == "did you mean shop?"


@pytest.mark.parametrize(
    "step",
    [
        lambda service, intent: service.all("nobody"),
        lambda service, intent: service.show("nobody", "shop"),
        lambda service, intent: service.add("nobody", NewApp(name="shop"), intent),
        lambda service, intent: service.remove("nobody", "shop", intent),
    ],
)
def test_an_account_that_is_not_there(services, intent, step) -> None:
    with pytest.raises(NotFoundError):
        step(services.apps, intent)


def test_a_change_of_nothing_or_of_both_is_refused(services, shop, said, intent) -> None:
    with pytest.raises(InvalidError, match="expected an identity"):
        services.apps.set("acme", "shop", AppChange(), intent)
    both = AppChange(apple=said["apple"], remove=["apple"])
    with pytest.raises(InvalidError, match="expected apple to be replaced or to end, found both"):
        services.apps.set("acme", "shop", both, intent)


def test_what_the_policy_in_force_needs_does_not_go(services, said, intent) -> None:
    new = NewApp(name="shop", apple=said["apple"], workload=said["workload"])
    services.apps.add("acme", new, intent)
    policy = Policy(apps={"shop": AppPolicy(level="hardware_app")})
    services.policies.set("acme", policy, intent)
    for step in (
        lambda: services.apps.set("acme", "shop", AppChange(remove=["apple"]), intent),
        lambda: services.apps.remove("acme", "shop", intent),
    ):
        with pytest.raises(ConflictError, match="needs the level hardware_app of shop") as caught:
            step()
        assert "livepin policy set" in caught.value.hint
    assert services.apps.show("acme", "shop").identities.apple is not None
    change = AppChange(android=said["android"], remove=["apple", "workload"])
    services.apps.set("acme", "shop", change, intent)  # it proves the level as well


def test_what_was_proved_by_an_identity_ends_with_it(services, shop, clock, intent) -> None:
    """Else whoever was taken by it stays in, with a key in hardware for good."""

    def proved() -> set[tuple[str, str]]:
        with services.database.reading() as connection:
            return {tuple(row) for row in connection.execute(select(proofs.c.app, proofs.c.format))}

    row = {
        "account": "acme", "level": "hardware_key", "bound": True, "said": "{}", "moment": clock(),
    }  # fmt: skip
    made = [
        {**row, "id": name[0] * 22, "app": name, "format": FORMATS[kind]}
        for name in ("shop", "other")
        for kind in ("android", "apple")
    ]
    services.database.write(lambda connection: connection.execute(insert(proofs), made))
    services.apps.set("acme", "shop", AppChange(remove=["android"]), intent)
    others = {("other", FORMATS["android"]), ("other", FORMATS["apple"])}
    assert proved() == {("shop", FORMATS["apple"]), *others}
    services.apps.remove("acme", "shop", intent)
    assert proved() == others


def test_what_it_needs_of_every_app_does_not_go_either(services, said, intent) -> None:
    services.apps.add("acme", NewApp(name="shop", workload=said["workload"]), intent)
    services.policies.set("acme", Policy(level="platform"), intent)
    with pytest.raises(ConflictError, match="needs the level platform of shop"):
        services.apps.remove("acme", "shop", intent)


def test_what_another_app_needs_does_not_matter(services, shop, said, intent) -> None:
    services.apps.add("acme", NewApp(name="other", apple=said["apple"]), intent)
    policy = Policy(apps={"shop": AppPolicy(level="hardware_app")}, level="hardware_app")
    services.policies.set("acme", policy, intent)
    services.apps.remove("acme", "other", intent)
