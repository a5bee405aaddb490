"""Accounts: prepared, then created under a root that their own key signed."""

import datetime as dt
import json

import pytest
from livepin.documents import Root
from livepin.documents.root import TYP
from livepin.errors import VerificationError
from livepin.jose import PrivateKey, sign_general
from livepin.trust import TrustedState
from livepin_server.errors import ConflictError, InvalidError, NotFoundError
from livepin_server.services.model import Intent, Role
from livepin_server.storage.schema import keys
from sqlalchemy import select

INTENT = Intent(author="bob")

KEY = PrivateKey.generate()
OTHER = PrivateKey.generate()


def jwks(*found):
    return [dict(each.public.jwk()) for each in found]


def signed(payload, *signers, **members):
    if members:
        payload = json.dumps(json.loads(payload) | members).encode()
    return sign_general(payload, typ=TYP, signers=list(signers or (KEY,)))


@pytest.fixture
def accounts(services):
    return services.accounts


def names(accounts):
    return [each.name for each in accounts.all()]


def test_an_account_is_made_in_two_steps_and_its_root_key_never_comes_here(services, accounts):
    payload = accounts.prepare("beta", jwks(KEY), INTENT)
    assert names(accounts) == ["acme"]
    found = accounts.create("beta", signed(payload), INTENT)
    assert (found.account, found.stream, found.version, found.root_version) == (
        "beta", "main", 1, 1,
    )  # fmt: skip
    assert (found.author, found.reason) == ("bob", "account beta created")
    assert names(accounts) == ["acme", "beta"]
    assert not accounts.all()[1].root_online
    with services.database.reading() as connection:
        held = connection.execute(select(keys).where(keys.c.account == "beta")).all()
    assert {row.role for row in held} == {"config", "override"}
    assert KEY.public.kid not in {row.kid for row in held}


def test_root_1_lasts_three_years_and_names_a_key_for_each_role(accounts, clock):
    clock.advance(microseconds=123)
    root = Root.parse(accounts.prepare("beta", jwks(KEY, OTHER), INTENT, threshold=2))
    assert (root.account, root.version) == ("beta", 1)
    assert root.issued == dt.datetime(2026, 11, 23, 12, tzinfo=dt.timezone.utc)
    assert root.expires - root.issued == dt.timedelta(days=3 * 365)
    assert set(root.roles["root"].keys) == {KEY.public.kid, OTHER.public.kid}
    assert root.roles["root"].threshold == 2
    online = {kid for role in ("config", "override") for kid in root.roles[role].keys}
    assert len(online) == 2
    assert not online & set(root.roles["root"].keys)


def test_a_client_trusts_the_first_config(services, accounts):
    accounts.create("beta", signed(accounts.prepare("beta", jwks(KEY), INTENT)), INTENT)
    state = TrustedState.from_bootstrap(services.published.bootstrap("beta", "main"))
    assert (state.account, state.order, state.config.domains) == ("beta", (1, 1), ())


def test_a_new_account_is_announced(services, accounts):
    heard = []
    services.bus.subscribe(heard.append)
    payload = accounts.prepare("beta", jwks(KEY), INTENT)
    assert heard == []
    accounts.create("beta", signed(payload), INTENT)
    assert [(each.account, each.version) for each in heard] == [("beta", 1)]


def test_preparing_again_starts_over(services, accounts):
    first = accounts.prepare("beta", jwks(KEY), INTENT)
    second = accounts.prepare("beta", jwks(KEY), INTENT)
    with pytest.raises(InvalidError, match="does not name the prepared config key") as caught:
        accounts.create("beta", signed(first), INTENT)
    assert caught.value.hint == "prepare, then sign"
    accounts.create("beta", signed(second), INTENT)
    with services.database.reading() as connection:
        assert len(connection.execute(select(keys).where(keys.c.account == "beta")).all()) == 2


def test_the_prepared_keys_of_both_roles_must_be_named(accounts):
    payload = json.loads(accounts.prepare("beta", jwks(KEY), INTENT))
    payload["roles"]["override"] = {"threshold": 1, "keys": jwks(OTHER)}
    with pytest.raises(InvalidError, match="the prepared override key"):
        accounts.create("beta", signed(json.dumps(payload).encode()), INTENT)


@pytest.mark.parametrize("name", ["", "Acme", "a b", "-a", "a-", "a" * 64, "a/b", "é", "a\n"])
def test_what_is_no_name_is_refused(accounts, name):
    with pytest.raises(InvalidError, match="account name"):
        accounts.prepare(name, jwks(KEY), INTENT)


@pytest.mark.parametrize(
    ("root_keys", "threshold"),
    [
        ([], 1),
        (jwks(KEY), 0),
        (jwks(KEY), 2),
        (jwks(KEY, KEY), 2),
        ([{"kty": "EC"}], 1),
        ([{"kty": "oct", "k": "AAAA"}], 1),
    ],
)
def test_what_is_no_root_key_or_threshold_is_refused(accounts, root_keys, threshold):
    with pytest.raises(InvalidError):
        accounts.prepare("beta", root_keys, INTENT, threshold=threshold)
    assert names(accounts) == ["acme"]


def test_an_account_that_exists_cannot_be_prepared_or_created(services, accounts):
    with pytest.raises(ConflictError, match="the account acme exists already"):
        accounts.prepare("acme", jwks(KEY), INTENT)
    document = signed(accounts.prepare("beta", jwks(KEY), INTENT))
    accounts.create("beta", document, INTENT)
    with pytest.raises(ConflictError, match="the account beta exists already"):
        accounts.create("beta", document, INTENT)
    assert len(services.published.history("beta", "main")) == 1


def test_an_account_that_was_not_prepared_cannot_be_created(accounts):
    document = signed(accounts.prepare("beta", jwks(KEY), INTENT))
    with pytest.raises(ConflictError, match="the account gamma was not prepared"):
        accounts.create("gamma", document, INTENT)


@pytest.mark.parametrize("members", [{"account": "other"}, {"version": 2}], ids=str)
def test_another_root_is_refused(accounts, members):
    payload = accounts.prepare("beta", jwks(KEY), INTENT)
    with pytest.raises(InvalidError, match="expected root 1 of beta, found root"):
        accounts.create("beta", signed(payload, **members), INTENT)
    assert names(accounts) == ["acme"]


@pytest.mark.parametrize("document", [b"", b"{}", b"\xff", b'{"payload":"e30","signatures":[]}'])
def test_what_is_no_root_is_refused(accounts, document):
    accounts.prepare("beta", jwks(KEY), INTENT)
    with pytest.raises(InvalidError, match="not a signed root: "):
        accounts.create("beta", document, INTENT)


def test_a_root_that_its_own_keys_did_not_sign_is_refused_and_nothing_kept(services, accounts):
    payload = accounts.prepare("beta", jwks(KEY, OTHER), INTENT, threshold=2)
    for signers in ([PrivateKey.generate()], [KEY], [KEY, KEY]):
        with pytest.raises(ConflictError, match=r"rule [23]"):
            accounts.create("beta", signed(payload, *signers), INTENT)
    assert names(accounts) == ["acme"]
    with pytest.raises(NotFoundError):
        services.published.history("beta", "main")
    accounts.create("beta", signed(payload, KEY, OTHER), INTENT)


def test_no_key_can_be_made_for_an_account_that_is_only_prepared(services, accounts):
    accounts.prepare("beta", jwks(KEY), INTENT)
    with pytest.raises(NotFoundError):
        services.api_keys.create("early", Role.VIEWER, "beta", INTENT)
    accounts.prepare("beta", jwks(KEY), INTENT)  # nothing of it stands in the way


def test_accounts_do_not_see_each_other(services, accounts, add_domain):
    accounts.create("beta", signed(accounts.prepare("beta", jwks(KEY), INTENT)), INTENT)
    add_domain()
    assert services.domains.all("beta") == []
    assert services.published.version("beta", "main")[0].version == 1
    state = TrustedState.from_bootstrap(services.published.bootstrap("beta", "main"))
    with pytest.raises(VerificationError):
        state.advance_config(services.published.version("acme", "main")[1])
