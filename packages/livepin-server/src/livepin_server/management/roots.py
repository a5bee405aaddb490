"""Roots: the newest, the next, and its publishing."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from livepin.errors import MalformedError
from livepin.jose import b64url_decode, b64url_encode

from livepin_server.errors import InvalidError
from livepin_server.services.composition import Services
from livepin_server.services.model import Area, NextRoot, Principal, Role, RootView

from .asking import intent
from .shapes import (
    PrepareRoot,
    Publications,
    PublishRoot,
    RootPrepared,
    SignedRoot,
    SignRoot,
)

_Request = Request[Principal, Any, Any]
_BASE = "/v1/accounts/{account:str}/root"


@get(_BASE, role=Role.VIEWER, area=Area.ROOT, sync_to_thread=True)
def show_root(services: NamedDependency[Services], account: FromPath[str]) -> RootView:
    """Return the newest root of an account, and where its keys are."""
    return services.roots.show(account)


@post(_BASE + "/prepare", role=Role.ADMIN, area=Area.ROOT, status_code=200, sync_to_thread=True)
def prepare_root(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    data: JSONBody[PrepareRoot],
) -> RootPrepared:
    """Return the next root, to be signed; make the keys of the server that it names."""
    members = {name: getattr(data, name) for name in NextRoot.__struct_fields__}
    payload, previous = services.roots.prepare(
        account, NextRoot(**members), intent(request, data.reason)
    )
    return RootPrepared(
        payload=b64url_encode(payload).decode(), previous=msgspec.json.decode(previous)
    )


@post(_BASE + "/sign", role=Role.ADMIN, area=Area.ROOT, status_code=200, sync_to_thread=True)
def sign_root(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    data: JSONBody[SignRoot],
) -> SignedRoot:
    """Sign the next root with the root key that is on the server; where none is, refuse."""
    try:
        payload = b64url_decode(data.payload.encode("ascii"))
    except (MalformedError, UnicodeEncodeError) as exc:
        raise InvalidError("expected the payload in base64url") from exc
    document = services.roots.sign(account, payload, intent(request, data.reason))
    return SignedRoot(document=msgspec.json.decode(document))


@post(_BASE + "/publish", role=Role.ADMIN, area=Area.ROOT, status_code=200, sync_to_thread=True)
def publish_root(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    data: JSONBody[PublishRoot],
) -> Publications:
    """Take the signed next root, and publish a config of every stream under it."""
    document = msgspec.json.encode(data.document)
    return Publications(
        items=services.roots.publish(account, document, intent(request, data.reason))
    )


HANDLERS = [show_root, prepare_root, sign_root, publish_root]
