"""Roots after the first: prepared, signed elsewhere, and published with every stream under them."""

import dataclasses
import datetime as dt
import hashlib
import json

import pytest
from livepin.documents import Role, Root
from livepin.documents.root import TYP
from livepin.jose import PrivateKey, parse_general, sign_general
from livepin.trust import TrustedState
from livepin_server.errors import ConflictError, InvalidError, NotFoundError
from livepin_server.services.model import Intent, NewDomain, NewPin, NewStream, NextRoot
from livepin_server.services.overrides.model import NewOverride
from livepin_server.storage.schema import keys as key_table
from livepin_server.storage.schema import roots as root_table
from sqlalchemy import select

INTENT = Intent(author="bob", reason="the server was stolen")
DAY = dt.timedelta(days=1)
ALICE, BOB, CAROL = (PrivateKey.generate() for _ in range(3))


def jwk(key):
    return dict(key.public.jwk())


MANY = [jwk(PrivateKey.generate()) for _ in range(32)]


def role(*keys, threshold=1):
    return Role(keys={key.public.kid: key.public for key in keys}, threshold=threshold)


def signed(root, *signers):
    payload = root if isinstance(root, bytes) else root.payload()
    return sign_general(payload, typ=TYP, signers=list(signers or (ALICE,)))


@pytest.fixture
def acme(services):
    """The account `beta`, whose root key is alice's and offline."""
    payload = services.accounts.prepare("beta", [jwk(ALICE)], INTENT)
    services.accounts.create("beta", signed(payload), INTENT)
    return "beta"


@pytest.fixture
def roots(services, acme):
    return services.roots


@pytest.fixture
def prepare(roots):
    """Prepare the next root of `beta`; return it."""

    def one(**members):
        return Root.parse(roots.prepare("beta", NextRoot(**members), INTENT)[0])

    return one


@pytest.fixture
def publish(roots):
    """Publish a root of `beta`, signed by these keys."""
    return lambda root, *signers: roots.publish("beta", signed(root, *signers), INTENT)


@pytest.fixture
def held(services):
    """Return the keys of `beta` that the server holds, by role."""

    def one():
        with services.database.reading() as connection:
            query = select(key_table).where(key_table.c.account == "beta")
            return {(row.role, row.kid) for row in connection.execute(query)}

    return one


@pytest.fixture
def refused(services, roots, held):
    """Expect that a root is refused in words, and that nothing at all was changed."""

    def state():
        with services.database.reading() as connection:
            known = connection.execute(select(root_table)).all()
        return known, held(), services.published.history("beta", "main")

    def one(kind, document, match):
        before = state()
        with pytest.raises(kind, match=match) as caught:
            roots.publish("beta", document, INTENT)
        assert state() == before
        assert caught.value.hint
        assert "\n" not in str(caught.value)

    return one


def online(root):
    return {kid for name in ("config", "override") for kid in root.roles[name].keys}


def test_who_publishes_a_root_hears_which_overrides_it_ends(roots, services, prepare):
    pins = [NewPin(sha256=f"sha256/{'A' * 43}=")]
    services.domains.add("beta", NewDomain(pattern="api.example.com", pins=pins), INTENT)
    new = NewOverride(installation="t" * 43, domains=["api.example.com"], mode="off")
    made = services.overrides.create("beta", new, INTENT, tested=False)
    services.streams.add("beta", NewStream(name="canary"), INTENT)
    done = roots.publish("beta", signed(prepare(replace_online=True)), INTENT)
    (warning,) = [each for one in done for each in one.warnings]
    assert warning.startswith(f"the override {made.version} of the installation")
    (listed,) = services.overrides.all("beta", tested=False)
    assert (listed.in_force, listed.ended_by) == (False, "root 2")
    # Under the new root, and by its key, there may be one anew.
    again = services.overrides.create("beta", new, INTENT, tested=False)
    assert (again.root_version, again.in_force) == (2, True)
    assert not services.overrides.all("beta", tested=False)[1].in_force


# -- show ----------------------------------------------------------------------------------------


def test_it_shows_the_keys_and_where_they_are(roots, services):
    found = roots.show("beta")
    assert (found.account, found.version, found.online, found.prepared) == ("beta", 1, False, [])
    assert found.roles["root"].threshold == 1
    (root_key,) = found.roles["root"].keys
    assert (root_key.kid, root_key.held) == (ALICE.public.kid, None)
    for name in ("config", "override"):
        assert [each.held for each in found.roles[name].keys] == ["sealed on the server"]
    raw = services.published.documents("beta").roots[1]
    payload = parse_general(raw, typ=TYP).payload
    assert found.sha256 == hashlib.sha256(payload).hexdigest()
    assert found.warnings == []


def test_it_shows_a_root_key_that_is_on_the_server(roots):
    found = roots.show("acme")
    assert found.online
    assert [each.held for each in found.roles["root"].keys] == ["sealed on the server"]
    assert found.warnings == ["the root key of acme is on the server"]


def test_it_warns_from_90_days_before_and_names_the_command(roots, clock):
    clock.advance(days=3 * 365 - 89)
    assert roots.show("beta").warnings == [
        "root 1 of beta expires on 2029-11-22: livepin root prepare --account beta"
    ]


def test_an_account_that_there_is_not_has_no_root(roots):
    for use in (
        roots.show,
        lambda name: roots.prepare(name, NextRoot(), INTENT),
        lambda name: roots.sign(name, b"{}", INTENT),
    ):
        with pytest.raises(NotFoundError):
            use("gamma")


# -- prepare -------------------------------------------------------------------------------------


def test_new_keys_of_the_server_wait_until_the_root_is_published(prepare, roots, held, services):
    root = prepare(replace_online=True)
    assert (root.account, root.version) == ("beta", 2)
    assert root.roles["root"].keys.keys() == {ALICE.public.kid}
    assert roots.show("beta").version == 1
    assert set(roots.show("beta").prepared) == online(root)
    assert online(root) <= {kid for _, kid in held()}
    # Until then the old ones sign.
    found = services.publisher.republish("beta", "main", INTENT)
    assert found.root_version == 1


def test_preparing_again_drops_what_was_prepared_before(prepare, held, refused):
    first, second = prepare(replace_online=True), prepare(replace_online=True)
    assert len(held()) == 4
    assert online(second) <= {kid for _, kid in held()}
    refused(ConflictError, signed(first), "the server holds no config key that root 2 of beta")
    prepare(days=2000)
    assert len(held()) == 2


def test_root_keys_come_and_go(prepare):
    root = prepare(add_keys=[jwk(BOB), jwk(CAROL)], remove_keys=[ALICE.public.kid], threshold=2)
    found = root.roles["root"]
    assert (set(found.keys), found.threshold) == ({BOB.public.kid, CAROL.public.kid}, 2)


def test_a_root_lives_three_years_unless_said(prepare, clock):
    clock.advance(days=2, microseconds=5)
    root = prepare()
    assert root.issued == clock().replace(microsecond=0)
    assert root.expires - root.issued == 1095 * DAY
    root = prepare(days=10_000)
    assert root.expires - root.issued == 10_000 * DAY


@pytest.mark.parametrize(
    ("members", "kind", "match"),
    [
        ({"add_keys": [{"kty": "EC"}]}, InvalidError, "expected a JWK"),
        ({"add_keys": [jwk(ALICE)]}, ConflictError, "is a root key of beta already"),
        ({"add_keys": [jwk(BOB), jwk(BOB)]}, ConflictError, "is a root key of beta already"),
        ({"remove_keys": ["x" * 43]}, NotFoundError, "there is no root key"),
        ({"remove_keys": [ALICE.public.kid]}, InvalidError, "expected a threshold of 1 to 0"),
        ({"threshold": 2}, InvalidError, "expected a threshold of 1 to 1"),
        ({"add_keys": MANY}, InvalidError, "1 to 32 keys"),
        ({}, ConflictError, "would change nothing"),
    ],
)  # fmt: skip
def test_what_is_no_root_is_not_prepared(prepare, held, members, kind, match):
    before = held()
    with pytest.raises(kind, match=match):
        prepare(replace_online=bool(members), **members)
    assert held() == before


def test_a_key_of_the_server_is_no_root_key(prepare, roots, services):
    raw = services.published.documents("beta").roots[1]
    config = next(
        iter(Root.parse(parse_general(raw, typ=TYP).payload).roles["config"].keys.values())
    )
    with pytest.raises(InvalidError, match="expected one role a key"):
        prepare(add_keys=[dict(config.jwk())])


# -- publish -------------------------------------------------------------------------------------


def test_a_root_is_published_with_a_config_of_every_stream_under_it(
    services, prepare, publish, held, clock
):
    services.streams.add("beta", NewStream(name="canary"), INTENT)
    state = TrustedState.from_bootstrap(services.published.bootstrap("beta", "main"))
    heard = []
    services.bus.subscribe(heard.append)
    root = prepare(replace_online=True)
    clock.advance(days=1)
    done = publish(root)
    assert {(each.stream, each.root_version) for each in done} == {("main", 2), ("canary", 2)}
    assert {each.reason for each in done} == {"the server was stolen"}
    assert [(each.root_version, each.version) for each in heard] == [
        (2, each.version) for each in done
    ]
    assert {kid for _, kid in held()} == online(root)
    documents = services.published.documents("beta")
    state = state.advance_root(documents.roots[2])
    state = state.advance_config(documents.configs["main"].raw)
    assert state.order == (2, next(each.version for each in done if each.stream == "main"))


def test_the_history_says_what_the_root_changed(services, prepare, publish):
    publish(prepare(add_keys=[jwk(BOB)]))
    (found, *_) = services.published.history("beta", "main")
    assert found.changed == [
        f"+ root key {BOB.public.kid}, by root 2",
        "* 1 of 2 root keys must sign, by root 2; it was 1 of 1",
    ]


def test_apps_of_every_age_follow_through_many_roots(services, prepare, publish, clock):
    starts = [services.published.bootstrap("beta", "main")]
    for number in range(2, 8):
        clock.advance(days=1)
        publish(prepare(replace_online=bool(number % 2)))
        starts.append(services.published.bootstrap("beta", "main"))
    documents = services.published.documents("beta")
    for start in starts:
        state = TrustedState.from_bootstrap(start)
        for version in state.missing_roots(documents.configs["main"].raw):
            state = state.advance_root(documents.roots[version])
        assert state.advance_config(documents.configs["main"].raw).root.version == 7


def test_root_keys_change_hands(services, prepare, publish):
    publish(prepare(add_keys=[jwk(BOB)], threshold=2), ALICE, BOB)
    publish(prepare(add_keys=[jwk(CAROL)], remove_keys=[ALICE.public.kid]), ALICE, BOB, CAROL)
    found = services.roots.show("beta")
    assert found.version == 3
    assert {each.kid for each in found.roles["root"].keys} == {BOB.public.kid, CAROL.public.kid}


def test_both_thresholds_count(services, prepare, refused, publish):
    root = prepare(add_keys=[jwk(BOB)], threshold=2)
    for signers in ((ALICE,), (BOB,), (ALICE, ALICE), (BOB, CAROL), (ALICE, BOB, CAROL)):
        refused(ConflictError, signed(root, *signers), r"clients would refuse this root: rule [23]")
    publish(root, ALICE, BOB)


def test_a_damaged_signature_refuses_however_many_are_right(prepare, refused):
    document = json.loads(signed(prepare(add_keys=[jwk(BOB)]), ALICE, BOB))
    document["signatures"][1]["signature"] = document["signatures"][0]["signature"]
    refused(ConflictError, json.dumps(document).encode(), "rule 3")


WRONG = {
    "older": ({"version": 1}, ConflictError, "root 1 of beta is published already"),
    "too far": ({"version": 3}, ConflictError, "root 3 of beta is not the next"),
    "another account": ({"account": "acme"}, InvalidError, "expected a root of beta, found one of"),
    "expired": ({"expires": dt.datetime(2026, 11, 1, tzinfo=dt.timezone.utc)}, InvalidError,
                "expired on 2026-11-01"),
    "too short": ({"expires": dt.datetime(2026, 12, 6, tzinfo=dt.timezone.utc)}, InvalidError,
                  "expires on 2026-12-06, before the configs under it"),
    "of the future": ({"issued": dt.datetime(2027, 1, 1, tzinfo=dt.timezone.utc)}, InvalidError,
                      "was made on 2027-01-01, which is in the future"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_root_that_nobody_can_want_is_refused(prepare, refused, what):
    members, kind, match = WRONG[what]
    root = dataclasses.replace(prepare(replace_online=True), **members)
    refused(kind, signed(root), match)


def test_a_root_without_the_keys_of_the_server_is_refused(prepare, refused):
    root = prepare(replace_online=True)
    for name in ("config", "override"):
        roles = root.roles | {name: role(PrivateKey.generate())}
        other = dataclasses.replace(root, roles=roles)
        refused(ConflictError, signed(other), f"the server holds no {name} key that root 2 of beta")


def test_a_key_in_two_roles_is_refused(prepare, refused):
    root = prepare(replace_online=True)
    roles = root.roles | {"root": role(ALICE), "override": role(ALICE)}
    refused(InvalidError, signed(dataclasses.replace(root, roles=roles)), "expected one role a key")


def test_a_key_that_changes_its_role_is_refused(services, prepare, refused, roots):
    raw = services.published.documents("beta").roots[1]
    before = Root.parse(parse_general(raw, typ=TYP).payload)
    root = prepare(replace_online=True)
    stolen = before.roles["config"].keys
    roles = root.roles | {"root": Role(keys=root.roles["root"].keys | stolen)}
    refused(
        InvalidError,
        signed(dataclasses.replace(root, roles=roles)),
        "was a config key and would become a root key",
    )


def test_a_root_that_changes_nothing_is_refused(services, prepare, refused, clock, publish):
    raw = services.published.documents("beta").roots[1]
    before = Root.parse(parse_general(raw, typ=TYP).payload)
    same = dataclasses.replace(before, version=2)
    refused(ConflictError, signed(same), "would change nothing: the same keys, and no day longer")
    publish(dataclasses.replace(same, expires=same.expires + DAY))


@pytest.mark.parametrize("document", [b"", b"{}", b"\xff", b'{"payload":"e30","signatures":[]}'])
def test_what_is_no_root_is_refused(roots, acme, document):
    with pytest.raises(InvalidError, match="not a signed root: "):
        roots.publish("beta", document, INTENT)


def test_of_two_that_publish_one_root_the_second_is_told(publish, prepare, refused):
    root = prepare(replace_online=True)
    publish(root)
    refused(
        ConflictError, signed(root), "root 2 of beta is published already: the newest is root 2"
    )


# -- a root key that is on the server --------------------------------------------------------------


def test_a_root_key_on_the_server_signs_there(services):
    payload, _ = services.roots.prepare("acme", NextRoot(replace_online=True), INTENT)
    document = services.roots.sign("acme", payload, INTENT)
    assert services.roots.publish("acme", document, INTENT)[0].root_version == 2
    again, _ = services.roots.prepare("acme", NextRoot(replace_online=True), INTENT)
    services.roots.publish("acme", services.roots.sign("acme", again, INTENT), INTENT)


def test_a_root_key_leaves_the_server(services):
    view = services.roots.show("acme")
    (old,) = [each.kid for each in view.roles["root"].keys]
    payload, _ = services.roots.prepare(
        "acme", NextRoot(add_keys=[jwk(ALICE)], remove_keys=[old]), INTENT
    )
    here = json.loads(services.roots.sign("acme", payload, INTENT))
    there = json.loads(signed(payload))
    both = {**here, "signatures": here["signatures"] + there["signatures"]}
    services.roots.publish("acme", json.dumps(both).encode(), INTENT)
    found = services.roots.show("acme")
    assert not found.online
    assert services.accounts.all()[0].root_online is False
    payload, _ = services.roots.prepare("acme", NextRoot(replace_online=True), INTENT)
    with pytest.raises(ConflictError, match="no root key of acme is on the server"):
        services.roots.sign("acme", payload, INTENT)


def test_the_server_signs_nothing_that_would_not_be_published(services, acme):
    payload, _ = services.roots.prepare("acme", NextRoot(replace_online=True), INTENT)
    root = Root.parse(payload)
    wrong = [
        dataclasses.replace(root, version=3),
        dataclasses.replace(root, account="beta"),
        dataclasses.replace(root, expires=root.issued),
        dataclasses.replace(root, roles=root.roles | {"config": role(ALICE)}),
    ]
    for each in wrong:
        with pytest.raises((ConflictError, InvalidError)):
            services.roots.sign("acme", each.payload(), INTENT)
    with pytest.raises(InvalidError, match="not a root: "):
        services.roots.sign("acme", b"{}", INTENT)
    payload, _ = services.roots.prepare("beta", NextRoot(replace_online=True), INTENT)
    with pytest.raises(ConflictError, match="no root key of beta is on the server") as caught:
        services.roots.sign("beta", payload, INTENT)
    assert caught.value.hint == "sign where the root key is: livepin root sign FILE --key FILE"
