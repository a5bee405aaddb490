"""Token keys: made, published before they sign, rotated with an overlap, never shown."""

from __future__ import annotations

import base64
import json
from datetime import timedelta

import pytest
from livepin import tokens
from livepin.tokens import TokenKey
from livepin_server.errors import ConflictError, CustodyError, InvalidError, NotFoundError
from livepin_server.services.audit.log import Wanted
from livepin_server.services.tokens.keys import OVERLAP, OVERLAP_OF_SECRETS
from livepin_server.services.tokens.model import DomainTokensChange, NewTokenKey
from livepin_server.storage.schema import token_keys
from sqlalchemy import select, update

pytestmark = pytest.mark.parametrize("data_folder", ["sqlite", "postgresql"], indirect=True)
HOST = "api.example.com"
REST = tokens.LIFETIME + tokens.LEEWAY
MINUTE = timedelta(minutes=1)


def rows(services):
    with services.database.reading() as connection:
        return connection.execute(select(token_keys)).all()


def kids(services, clock, *, restricted=False):
    issuing = services.tokens.load("acme")
    return list(tokens.parse_jwks(issuing.jwks(clock(), restricted=restricted)))


def signed_by(answer):
    token = answer().tokens[HOST].token
    return json.loads(tokens.b64url_decode(token.split(".")[0].encode()))["kid"]


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
def test_a_key_is_made_and_listed_without_its_secret(services, intent, clock, algorithm):
    made = services.token_keys.add("acme", NewTokenKey(name="shop", algorithm=algorithm), intent)
    assert (made.name, made.algorithm, made.domain, made.signs) == ("shop", algorithm, None, True)
    assert services.token_keys.all("acme") == [made]
    (row,) = rows(services)
    assert {row.sealed[:1], row.decoy[:1]} == {b"\x01"}
    key, decoy = services.token_keys.open(row)
    assert key.kid == decoy.kid == made.kid
    assert not decoy.public().verifies(key.sign(b"x"), b"x")
    public = TokenKey.from_jwk(json.loads(row.public))
    assert public.verifies(key.sign(b"x"), b"x")
    assert tokens.thumbprint(public) == made.kid


def test_a_secret_is_for_one_domain_and_is_exported_for_its_backend(services, intent):
    new = NewTokenKey(name="shop", algorithm="HS256", domain="API.example.com")
    made = services.token_keys.add("acme", new, intent)
    assert made.domain == HOST
    view, secret = services.token_keys.secret("acme", "shop", intent)
    assert view == made
    assert len(secret) == 64
    (row,) = rows(services)
    assert row.public is None
    key, decoy = services.token_keys.open(row)
    assert (key.key, len(decoy.key)) == (secret, 64)
    assert decoy.key != secret


@pytest.mark.parametrize(
    "new",
    [
        NewTokenKey(name="x", algorithm="HS256"),
        NewTokenKey(name="x", algorithm="ES256", domain=HOST),
        NewTokenKey(name="x", algorithm="HS256", domain="no host"),
    ],
)
def test_a_secret_without_a_domain_and_a_domain_without_a_secret_are_refused(services, intent, new):
    with pytest.raises(InvalidError):
        services.token_keys.add("acme", new, intent)
    assert rows(services) == []


def test_a_name_is_taken_once(services, intent):
    services.token_keys.add("acme", NewTokenKey(name="shop"), intent)
    with pytest.raises(ConflictError, match="already") as caught:
        services.token_keys.add("acme", NewTokenKey(name="shop"), intent)
    assert caught.value.hint == "livepin token-key rotate shop"


def test_the_first_key_is_made_when_a_domain_asks_for_tokens(services, protected, clock):
    assert rows(services) == []
    services.tokens.load("acme")
    services.tokens.load("acme")
    (key,) = services.token_keys.all("acme")
    assert (key.name, key.algorithm, key.signs) == ("main", "ES256", True)


def test_no_key_is_made_where_no_domain_asks_for_tokens(services):
    services.tokens.load("acme")
    assert rows(services) == []


def test_a_new_key_is_published_before_it_signs_and_the_old_one_until_its_tokens_end(
    protected, answer, intent, clock
):
    old = signed_by(answer)
    new = protected.token_keys.rotate("acme", "main", intent)
    assert new.signs_from == clock() + OVERLAP
    assert kids(protected, clock) == [old, new.kid]
    clock.advance(seconds=(OVERLAP - MINUTE).total_seconds())
    assert signed_by(answer) == old
    clock.advance(minutes=1)
    assert signed_by(answer) == new.kid
    clock.advance(seconds=(REST - timedelta(seconds=1)).total_seconds())
    assert kids(protected, clock) == [old, new.kid]
    clock.advance(seconds=1)
    assert kids(protected, clock) == [new.kid]
    assert [each.kid for each in protected.token_keys.all("acme")] == [new.kid]


def test_a_stolen_key_is_taken_no_more_at_once(protected, answer, intent, clock):
    old = signed_by(answer)
    new = protected.token_keys.rotate("acme", "main", intent, overlap=timedelta(0))
    for seconds in (0, -5):  # also by the clock of another server, which is behind
        clock.advance(seconds=seconds)
        assert kids(protected, clock) == [new.kid] != [old]
        assert signed_by(answer) == new.kid


def test_a_rotation_under_way_is_not_begun_again_but_for_a_theft(protected, answer, intent, clock):
    answer()
    waiting = protected.token_keys.rotate("acme", "main", intent)
    with pytest.raises(ConflictError, match="signs from"):
        protected.token_keys.rotate("acme", "main", intent)
    new = protected.token_keys.rotate("acme", "main", intent, overlap=timedelta(0))
    assert kids(protected, clock) == [new.kid] != [waiting.kid]


@pytest.mark.parametrize("overlap", [timedelta(minutes=9), timedelta(days=31)])
def test_an_overlap_is_longer_than_backends_keep_the_keys(protected, answer, intent, overlap):
    answer()
    with pytest.raises(InvalidError, match="overlap"):
        protected.token_keys.rotate("acme", "main", intent, overlap=overlap)


def test_the_bounds_of_an_overlap_are_within_it(protected, answer, intent, clock):
    answer()
    rotate, longest = protected.token_keys.rotate, timedelta(days=30)
    assert rotate("acme", "main", intent, overlap=OVERLAP).signs_from == clock() + OVERLAP
    assert [each.signs for each in protected.token_keys.all("acme")] == [True, False]
    new = NewTokenKey(name="s", algorithm="HS256", domain=HOST)
    protected.token_keys.add("acme", new, intent)
    # Nobody keeps a secret for five minutes: people bring it, and may be quick.
    assert rotate("acme", "s", intent, overlap=MINUTE).signs_from == clock() + MINUTE
    protected.token_keys.add("acme", NewTokenKey(name="k"), intent)
    assert rotate("acme", "k", intent, overlap=longest).signs_from == clock() + longest


def test_who_made_and_who_took_a_key_is_in_the_log(services, intent):
    new = NewTokenKey(name="s", algorithm="HS256", domain=HOST)
    services.token_keys.add("acme", new, intent)
    services.token_keys.rotate("acme", "s", intent)
    view, secret = services.token_keys.secret("acme", "s", intent)
    entries = [each.entry for each in services.audit.log("acme", Wanted()).items[:3]]
    assert [each.action for each in entries] == [
        "token-key.export", "token-key.rotate", "token-key.add",
    ]  # fmt: skip
    assert {(each.author, each.target) for each in entries} == {("alice", "s")}
    assert entries[0].after["kid"] == view.kid
    told = services.audit.export("acme")
    for text in (secret.hex().encode(), base64.b64encode(secret)[:20]):
        assert text not in told


def test_of_an_account_that_is_not_there_no_key_is_made(services, intent):
    keys = services.token_keys
    for step in (
        lambda: keys.all("beta"),
        lambda: keys.add("beta", NewTokenKey(name="k"), intent),
        lambda: keys.rotate("beta", "k", intent),
        lambda: keys.secret("beta", "k", intent),
    ):
        with pytest.raises(NotFoundError, match="account"):
            step()


def test_people_have_a_day_to_bring_a_secret_to_its_backend(services, intent, clock):
    new = NewTokenKey(name="shop", algorithm="HS256", domain=HOST)
    services.token_keys.add("acme", new, intent)
    made = services.token_keys.rotate("acme", "shop", intent)
    assert made.signs_from == clock() + OVERLAP_OF_SECRETS
    assert services.token_keys.secret("acme", "shop", intent)[0] == made


def test_keys_for_backends_only_are_in_no_public_set(services, protected, intent, clock):
    made = services.token_keys.add("acme", NewTokenKey(name="ed", algorithm="EdDSA"), intent)
    services.token_keys.add("acme", NewTokenKey(name="s", algorithm="HS256", domain=HOST), intent)
    assert made.kid not in kids(services, clock)
    assert made.kid in kids(services, clock, restricted=True)
    assert len(kids(services, clock, restricted=True)) == 2


def test_what_is_not_there_is_not_found(services, intent):
    services.token_keys.add("acme", NewTokenKey(name="shop"), intent)
    for step in (services.token_keys.rotate, services.token_keys.secret):
        with pytest.raises(NotFoundError) as caught:
            step("acme", "shpo", intent)
        assert caught.value.hint == "did you mean shop?"
    with pytest.raises(InvalidError, match="found ES256"):
        services.token_keys.secret("acme", "shop", intent)


def test_there_are_at_most_a_hundred(services, intent, monkeypatch):
    monkeypatch.setattr("livepin_server.services.tokens.keys._MOST", 1)
    services.token_keys.add("acme", NewTokenKey(name="one"), intent)
    with pytest.raises(ConflictError, match="at most 1 token keys"):
        services.token_keys.add("acme", NewTokenKey(name="two"), intent)


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
def test_a_new_master_key_seals_token_keys_too(services, protected, answer, intent, algorithm):
    """Each in its place: who kept the public keys of before takes the tokens of afterwards."""
    services.token_keys.add("acme", NewTokenKey(name="k", algorithm=algorithm), intent)
    services.token_settings.change_domain("acme", HOST, DomainTokensChange(key="k"), intent)
    services.token_keys.rotate("acme", "k", intent)
    kept = tokens.parse_jwks(services.tokens.load("acme").jwks(services.clock(), restricted=True))
    before = {row.kid: (row, *services.token_keys.open(row)) for row in rows(services)}
    assert len(before) == 3  # with that of domains that name no other
    services.private_keys.rekey(intent)
    for row in rows(services):
        old, *opened = before.pop(row.kid)
        assert {old.sealed, old.decoy}.isdisjoint({row.sealed, row.decoy})
        assert list(map(_private, services.token_keys.open(row))) == list(map(_private, opened))
    assert before == {}
    token = answer().tokens[HOST].token
    tokens.verify(token, kept, audience=HOST, now=services.clock())


def _private(key):
    return key.kid, key.key.pkcs8() if key.algorithm == "ES256" else key.key.private_bytes_raw()


def test_a_new_master_key_seals_secrets_too(services, protected, answer, intent):
    new = NewTokenKey(name="s", algorithm="HS256", domain=HOST)
    services.token_keys.add("acme", new, intent)
    services.token_settings.change_domain("acme", HOST, DomainTokensChange(key="s"), intent)
    view, secret = services.token_keys.secret("acme", "s", intent)
    (old,) = rows(services)
    services.private_keys.rekey(intent)
    (row,) = rows(services)
    assert {old.sealed, old.decoy}.isdisjoint({row.sealed, row.decoy})
    assert services.token_keys.secret("acme", "s", intent) == (view, secret)
    key = TokenKey.from_secret(secret, kid=view.kid)
    token = answer().tokens[HOST].token
    tokens.verify(token, {view.kid: key}, audience=HOST, now=services.clock())


def test_a_decoy_that_takes_the_place_of_the_key_does_not_open(services, protected, answer):
    answer()
    (row,) = rows(services)
    services.database.write(
        lambda connection: connection.execute(update(token_keys).values(sealed=row.decoy))
    )
    with pytest.raises(CustodyError):
        services.tokens.load("acme")


def test_a_damaged_key_is_an_error_in_words(services, protected, answer):
    answer()
    services.database.write(
        lambda connection: connection.execute(update(token_keys).values(algorithm="EdDSA"))
    )
    with pytest.raises(CustodyError, match="is damaged"):
        services.tokens.load("acme")
