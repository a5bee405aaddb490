"""Accounts, and who is asking."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from livepin.jose import b64url_encode

from livepin_server.services.changes import SetDelivery
from livepin_server.services.composition import Services
from livepin_server.services.delivery_settings import DeliveryChange, DeliverySettings
from livepin_server.services.model import AccountView, Area, How, Principal, Role, Staged

from .asking import answered, intent, tagged
from .shapes import (
    NewDelivery,
    PrepareAccount,
    Publications,
    Published,
    RootPayload,
    SignedRoot,
)

_Request = Request[Principal, Any, Any]


@get("/v1/whoami", role=Role.VIEWER, beside=Role.PENTEST, area=tuple(Area), sync_to_thread=False)
def whoami(request: _Request) -> Principal:
    """Return the caller."""
    return request.user


@get("/v1/accounts", role=Role.VIEWER, area=(Area.ACCOUNTS, Area.SERVER), sync_to_thread=True)
def list_accounts(services: NamedDependency[Services], request: _Request) -> list[AccountView]:
    """Return the accounts that the caller may see."""
    only = request.user.account
    return [view for view in services.accounts.all() if only in (None, view.name)]


@post(
    "/v1/accounts/{account:str}/prepare",
    role=Role.ADMIN,
    area=Area.ACCOUNTS,
    server_wide=True,
    status_code=200,
    sync_to_thread=True,
)
def prepare_account(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    data: JSONBody[PrepareAccount],
) -> RootPayload:
    """Make the online keys of a new account; return the root to be signed."""
    payload = services.accounts.prepare(
        account, data.root_keys, intent(request), threshold=data.threshold
    )
    return RootPayload(payload=b64url_encode(payload).decode())


@put(
    "/v1/accounts/{account:str}/root",
    role=Role.ADMIN,
    area=Area.ACCOUNTS,
    server_wide=True,
    sync_to_thread=True,
)
def create_account(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    data: JSONBody[SignedRoot],
) -> Published:
    """Take the signed root 1, and publish the first config."""
    document = msgspec.json.encode(data.document)
    publication = services.accounts.create(account, document, intent(request))
    return Published(publication=publication)


@get(
    "/v1/accounts/{account:str}/delivery", role=Role.VIEWER, area=Area.DELIVERY, sync_to_thread=True
)
def show_delivery(
    services: NamedDependency[Services], account: FromPath[str]
) -> Response[DeliverySettings]:
    """Return where the documents of an account are delivered."""
    version = services.published.newest(account)  # first: it may be too old, never too new
    return tagged(services.published.delivery(account), version)


@put(
    "/v1/accounts/{account:str}/delivery", role=Role.ADMIN, area=Area.DELIVERY, sync_to_thread=True
)
def set_delivery(
    services: NamedDependency[Services],
    request: _Request,
    how: NamedDependency[How],
    account: FromPath[str],
    data: JSONBody[NewDelivery],
) -> Publications | Staged:
    """Change where the documents are delivered, in every stream, and publish.

    What is not said stays.
    """
    members = {name: getattr(data, name) for name in DeliveryChange.__struct_fields__}
    change = SetDelivery(wanted=DeliveryChange(**members))
    return answered(
        services.stage.make(account, change, intent(request, data.reason, how)),
        lambda done: Publications(items=done),
    )


HANDLERS = [
    whoami,
    show_delivery,
    set_delivery,
    list_accounts,
    prepare_account,
    create_account,
]
