"""Tokens: the keys that sign them, and what stands in those of each domain."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

from litestar import Request, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from livepin_server.services.composition import Services
from livepin_server.services.model import Area, Principal, Role
from livepin_server.services.tokens.checking import Checked
from livepin_server.services.tokens.issuing import Token
from livepin_server.services.tokens.model import AccountTokens, DomainTokens, TokenKeyView

from .asking import intent
from .shapes import (
    AddTokenKey,
    ChangeAccountTokens,
    ChangeDomainTokens,
    CheckToken,
    ExampleToken,
    ExportTokenKey,
    RotateTokenKey,
    TokenSecret,
    TokensShown,
)

_Request = Request[Principal, Any, Any]
_KEYS = "/v1/accounts/{account:str}/token-keys"
_TOKENS = "/v1/accounts/{account:str}/tokens"
_SEES: dict[str, Any] = {"role": Role.VIEWER, "area": Area.TOKENS, "sync_to_thread": True}
_NEEDS: dict[str, Any] = {**_SEES, "role": Role.ADMIN}


@get(_KEYS, **_SEES)
def list_token_keys(
    services: NamedDependency[Services], account: FromPath[str]
) -> list[TokenKeyView]:
    """Return the keys that sign tokens or still verify some, without secrets."""
    return services.token_keys.all(account)


@post(_KEYS, **_NEEDS)
def add_token_key(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    data: JSONBody[AddTokenKey],
) -> TokenKeyView:
    """Make a key under a new name. Domains that name it are signed for by it from now on."""
    return services.token_keys.add(account, data, intent(request, data.reason))


@post(_KEYS + "/{name:str}/rotate", status_code=200, **_NEEDS)
def rotate_token_key(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    name: FromPath[str],
    data: JSONBody[RotateTokenKey],
) -> TokenKeyView:
    """Make the next key of a name, which signs after an overlap."""
    overlap = None if data.overlap is None else timedelta(seconds=data.overlap)
    who = intent(request, data.reason)
    return services.token_keys.rotate(account, name, who, overlap=overlap)


@post(_KEYS + "/{name:str}/export", status_code=200, **_NEEDS)
def export_token_key(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    name: FromPath[str],
    data: JSONBody[ExportTokenKey],
) -> TokenSecret:
    """Return the newest secret of a name, for the backend of its one domain."""
    view, secret = services.token_keys.secret(account, name, intent(request, data.reason))
    return TokenSecret(key=view, secret=base64.b64encode(secret).decode())


@get(_TOKENS, **_SEES)
def show_tokens(services: NamedDependency[Services], account: FromPath[str]) -> TokensShown:
    """Return how tokens are made: for the account, and for each domain that differs."""
    of_account, of_domains = services.token_settings.all(account)
    return TokensShown(account=of_account, domains=of_domains)


@patch(_TOKENS, **_NEEDS)
def change_tokens(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    data: JSONBody[ChangeAccountTokens],
) -> AccountTokens:
    """Change how tokens of an account are made."""
    return services.token_settings.change_account(account, data, intent(request, data.reason))


@patch(_TOKENS + "/{pattern:str}", **_NEEDS)
def change_domain_tokens(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    pattern: FromPath[str],
    data: JSONBody[ChangeDomainTokens],
) -> DomainTokens:
    """Change how tokens for a domain are made."""
    who = intent(request, data.reason)
    return services.token_settings.change_domain(account, pattern, data, who)


@post(_TOKENS + "/check", status_code=200, **_SEES)
def check_token(
    services: NamedDependency[Services], account: FromPath[str], data: JSONBody[CheckToken]
) -> Checked:
    """Tell whether a backend takes a token, and if not, why."""
    return services.tokens.check(account, data.token, data.bind)


@post(_TOKENS + "/example", status_code=200, **_NEEDS)
def make_example_token(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    data: JSONBody[ExampleToken],
) -> Token:
    """Return a token to try a backend with."""
    return services.tokens.example(account, data, intent(request, data.reason))


HANDLERS = [
    list_token_keys,
    add_token_key,
    rotate_token_key,
    export_token_key,
    show_tokens,
    change_tokens,
    change_domain_tokens,
    check_token,
    make_example_token,
]
