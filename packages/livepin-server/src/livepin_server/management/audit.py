"""The audit log of an account, and of the server: to look at, to ship, and what proves it."""

from __future__ import annotations

from typing import Annotated

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, Parameter

from livepin_server.services.audit import SERVER
from livepin_server.services.audit.log import LogPage, Signed, Wanted
from livepin_server.services.composition import Services
from livepin_server.services.model import Area, Role

from .asking import Since, since_of

_OF_ACCOUNT = "/v1/accounts/{account:str}/audit"
_OF_SERVER = "/v1/audit"
_LINES = "application/jsonl"

_Number = Annotated[int, Parameter(ge=0, le=2**53 - 1)]
_Before = Annotated[int | None, Parameter(ge=1, le=2**53 - 1)]
_Limit = Annotated[int, Parameter(ge=1, le=1000)]
_Action = Annotated[str, Parameter(max_length=64)]
_Author = Annotated[str | None, Parameter(max_length=200)]


@get(_OF_ACCOUNT, role=Role.VIEWER, area=Area.AUDIT, sync_to_thread=True)
def list_entries(
    services: NamedDependency[Services],
    account: FromPath[str],
    limit: _Limit = 50,
    before: _Before = None,
    action: _Action = "",
    author: _Author = None,
    since: Since = None,
) -> LogPage:
    """Return entries of an account's audit log, the newest first; `action` is how it begins."""
    wanted = Wanted(action=action, author=author, since=since_of(since))
    return services.audit.log(account, wanted, limit=limit, before=before)


@get(
    _OF_ACCOUNT + "/entries",
    role=Role.VIEWER,
    area=Area.AUDIT,
    media_type=_LINES,
    sync_to_thread=True,
)
def export_entries(
    services: NamedDependency[Services],
    account: FromPath[str],
    after: _Number = 0,
    since: Since = None,
) -> Response[bytes]:
    """Return the entries after a number as JSON lines, exactly as they are kept."""
    return Response(
        services.audit.export(account, after=after, since=since_of(since)), media_type=_LINES
    )


@get(_OF_ACCOUNT + "/signed", role=Role.VIEWER, area=Area.AUDIT, sync_to_thread=True)
def list_signed(
    services: NamedDependency[Services], account: FromPath[str], after: _Number = 0
) -> Signed:
    """Return the roots, and the configs after a version: their heads prove the audit log."""
    return services.audit.signed(account, after=after)


@get(_OF_SERVER, role=Role.VIEWER, area=Area.AUDIT, server_wide=True, sync_to_thread=True)
def list_server_entries(
    services: NamedDependency[Services],
    limit: _Limit = 50,
    before: _Before = None,
    action: _Action = "",
    author: _Author = None,
    since: Since = None,
) -> LogPage:
    """Return entries of the server's own audit log, the newest first."""
    wanted = Wanted(action=action, author=author, since=since_of(since))
    return services.audit.log(SERVER, wanted, limit=limit, before=before)


@get(
    _OF_SERVER + "/entries",
    role=Role.VIEWER,
    area=Area.AUDIT,
    server_wide=True,
    media_type=_LINES,
    sync_to_thread=True,
)
def export_server_entries(
    services: NamedDependency[Services], after: _Number = 0, since: Since = None
) -> Response[bytes]:
    """Return the entries of the server's own log after a number as JSON lines."""
    return Response(
        services.audit.export(SERVER, after=after, since=since_of(since)), media_type=_LINES
    )


HANDLERS = [
    list_entries,
    export_entries,
    list_signed,
    list_server_entries,
    export_server_entries,
]
