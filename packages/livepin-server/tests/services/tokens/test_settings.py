"""What stands in tokens: for the account, and for each domain."""

from __future__ import annotations

import pytest
from livepin_server.bus.memory import TokensChanged
from livepin_server.errors import InvalidError, NotFoundError
from livepin_server.services.audit.log import Wanted
from livepin_server.services.tokens.model import (
    AccountTokens,
    AccountTokensChange,
    DomainTokens,
    DomainTokensChange,
    NewTokenKey,
)

HOST = "api.example.com"


def test_nothing_is_set_at_first(services):
    assert services.token_settings.all("acme") == (AccountTokens(), {})


def test_the_issuer_can_be_set_and_unset(services, intent):
    issuer = AccountTokensChange(issuer="https://id.example.com")
    services.token_settings.change_account("acme", issuer, intent)
    assert services.token_settings.all("acme")[0] == AccountTokens(issuer=issuer.issuer)
    services.token_settings.change_account("acme", AccountTokensChange(), intent)
    assert services.tokens.load("acme").issuer == "https://id.example.com"
    services.token_settings.change_account("acme", AccountTokensChange(issuer=""), intent)
    assert services.tokens.load("acme").issuer == "https://pins.example.com:8443/v1/acme"


def test_what_is_not_said_stays(services, intent):
    change = services.token_settings.change_domain
    change("acme", "API.example.com", DomainTokensChange(lives=60, audience="shop"), intent)
    after = change("acme", HOST, DomainTokensChange(profile="livepin"), intent)
    assert after == DomainTokens(lives=60, audience="shop")
    assert services.token_settings.all("acme")[1] == {HOST: after}
    assert change("acme", HOST, DomainTokensChange(audience=""), intent).audience is None


def test_a_key_must_be_there_and_fit(services, intent):
    change = services.token_settings.change_domain
    services.token_keys.add("acme", NewTokenKey(name="es"), intent)
    new = NewTokenKey(name="secret", algorithm="HS256", domain=HOST)
    services.token_keys.add("acme", new, intent)
    with pytest.raises(NotFoundError) as caught:
        change("acme", HOST, DomainTokensChange(key="secrt"), intent)
    assert caught.value.hint == "did you mean secret?"
    with pytest.raises(InvalidError, match=r"that of api\.example\.com alone"):
        change("acme", "other.example.com", DomainTokensChange(key="secret"), intent)
    for key in ("es", "main"):
        with pytest.raises(InvalidError, match="needs an HS256 key"):
            change("acme", HOST, DomainTokensChange(key=key, profile="approov"), intent)
    assert services.token_settings.all("acme")[1] == {}
    change("acme", HOST, DomainTokensChange(key="secret", profile="approov"), intent)


def test_a_change_takes_effect_at_once_on_every_server(services, intent, monkeypatch):
    """Others are told with the commit, this one afterwards."""
    here, elsewhere = [], []
    services.bus.subscribe(here.append, TokensChanged)
    monkeypatch.setattr(services.bus, "enclose", lambda _, news: elsewhere.append(news))
    settings, keys = services.token_settings, services.token_keys
    new = NewTokenKey(name="s", algorithm="HS256", domain=HOST)
    changes = (
        lambda: settings.change_account("acme", AccountTokensChange(issuer="x"), intent),
        lambda: settings.change_domain("acme", HOST, DomainTokensChange(lives=60), intent),
        lambda: keys.add("acme", new, intent),
        lambda: keys.rotate("acme", "s", intent),
    )
    for number, change in enumerate(changes, 1):
        change()
        assert here == elsewhere == [TokensChanged(account="acme")] * number
    keys.secret("acme", "s", intent)  # which changes nothing
    assert len(here) == len(elsewhere) == len(changes)


def test_of_an_account_that_is_not_there_nothing_is_set(services, intent):
    for step in (
        lambda: services.token_settings.all("beta"),
        lambda: services.token_settings.change_account("beta", AccountTokensChange(), intent),
        lambda: services.token_settings.change_domain("beta", HOST, DomainTokensChange(), intent),
    ):
        with pytest.raises(NotFoundError, match="account"):
            step()


def test_it_is_in_the_log(services, intent):
    services.token_settings.change_domain("acme", HOST, DomainTokensChange(lives=60), intent)
    entry = services.audit.log("acme", Wanted()).items[0].entry
    assert (entry.action, entry.target) == ("tokens.set", HOST)
    assert (entry.before["lives"], entry.after["lives"]) == (300, 60)
