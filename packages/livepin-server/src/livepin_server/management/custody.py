"""The master key, under which private keys are sealed. It is in no request and in no answer."""

from __future__ import annotations

from typing import Any

from litestar import Request, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from livepin_server.services.composition import Services
from livepin_server.services.model import Area, Principal, Role
from livepin_server.services.private_keys import Rekeyed

from .asking import intent
from .shapes import WhyRekey

_Request = Request[Principal, Any, Any]


@post(
    "/v1/custody/rekey",
    role=Role.ADMIN,
    area=Area.ROOT,
    server_wide=True,
    status_code=200,
    sync_to_thread=True,
)
def rekey(
    services: NamedDependency[Services], request: _Request, data: JSONBody[WhyRekey]
) -> Rekeyed:
    """Seal all private keys of the server under a new master key."""
    return services.private_keys.rekey(intent(request, data.reason))


HANDLERS = [rekey]
