"""API keys: those of the whole server, and those of one account for its own admins."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from litestar import Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from livepin_server.services.composition import Services
from livepin_server.services.model import ApiKeyView, Area, Principal, Role

from .asking import Reason, intent
from .shapes import AccountApiKey, ApiKeyMade, NewApiKey, RotateApiKey

_Request = Request[Principal, Any, Any]
_ALL = "/v1/api-keys"
_OF_ACCOUNT = "/v1/accounts/{account:str}/api-keys"
_ONE = "/{key_id:str}"
_NEEDS: dict[str, Any] = {"role": Role.ADMIN, "area": Area.KEYS, "sync_to_thread": True}
_SERVER: dict[str, Any] = {**_NEEDS, "server_wide": True}


@get(_ALL, **_SERVER)
def list_api_keys(services: NamedDependency[Services]) -> list[ApiKeyView]:
    """Return all API keys, without secrets."""
    return services.api_keys.all()


@post(_ALL, **_SERVER)
def create_api_key(
    services: NamedDependency[Services], request: _Request, data: JSONBody[NewApiKey]
) -> ApiKeyMade:
    """Make an API key."""
    return _made(services, request, data, data.account)


@get(_ALL + _ONE, **_SERVER)
def show_api_key(services: NamedDependency[Services], key_id: FromPath[str]) -> ApiKeyView:
    """Return one API key by its ID or name, without its secret."""
    return services.api_keys.show(key_id)


@post(_ALL + _ONE + "/rotate", status_code=200, **_SERVER)
def rotate_api_key(
    services: NamedDependency[Services],
    request: _Request,
    key_id: FromPath[str],
    data: JSONBody[RotateApiKey],
) -> ApiKeyMade:
    """Give an API key a new secret; the one of until now is taken until the overlap ends."""
    return _rotated(services, request, key_id, data, None)


@delete(_ALL + _ONE, status_code=200, **_SERVER)
def revoke_api_key(
    services: NamedDependency[Services],
    request: _Request,
    key_id: FromPath[str],
    reason: Reason = "",
) -> ApiKeyView:
    """Make an API key invalid from now on."""
    return services.api_keys.revoke(key_id, intent(request, reason))


@get(_OF_ACCOUNT, **_NEEDS)
def list_account_api_keys(
    services: NamedDependency[Services], account: FromPath[str]
) -> list[ApiKeyView]:
    """Return the API keys of an account, without secrets."""
    return services.api_keys.all(account)


@post(_OF_ACCOUNT, **_NEEDS)
def create_account_api_key(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    data: JSONBody[AccountApiKey],
) -> ApiKeyMade:
    """Make an API key for an account."""
    return _made(services, request, data, account)


@get(_OF_ACCOUNT + _ONE, **_NEEDS)
def show_account_api_key(
    services: NamedDependency[Services], account: FromPath[str], key_id: FromPath[str]
) -> ApiKeyView:
    """Return one API key of an account by its ID or name, without its secret."""
    return services.api_keys.show(key_id, account)


@post(_OF_ACCOUNT + _ONE + "/rotate", status_code=200, **_NEEDS)
def rotate_account_api_key(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    key_id: FromPath[str],
    data: JSONBody[RotateApiKey],
) -> ApiKeyMade:
    """Give an API key of an account a new secret; the old one is taken until the overlap ends."""
    return _rotated(services, request, key_id, data, account)


@delete(_OF_ACCOUNT + _ONE, status_code=200, **_NEEDS)
def revoke_account_api_key(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    key_id: FromPath[str],
    reason: Reason = "",
) -> ApiKeyView:
    """Make an API key of an account invalid from now on."""
    return services.api_keys.revoke(key_id, intent(request, reason), account=account)


def _made(
    services: Services, request: _Request, data: AccountApiKey, account: str | None
) -> ApiKeyMade:
    view, text = services.api_keys.create(
        data.name,
        data.role,
        account,
        intent(request, data.reason),
        scopes=data.scopes,
        expires=data.expires,
    )
    return ApiKeyMade(view=view, key=text)


def _rotated(
    services: Services, request: _Request, key: str, data: RotateApiKey, account: str | None
) -> ApiKeyMade:
    view, text = services.api_keys.rotate(
        key,
        intent(request, data.reason),
        overlap=timedelta(seconds=data.overlap),
        account=account,
    )
    return ApiKeyMade(view=view, key=text)


HANDLERS = [
    list_api_keys,
    create_api_key,
    show_api_key,
    rotate_api_key,
    revoke_api_key,
    list_account_api_keys,
    create_account_api_key,
    show_account_api_key,
    rotate_account_api_key,
    revoke_account_api_key,
]
