"""The server itself: status, health, metrics, and how a live endpoint looks from here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from litestar import MediaType, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from livepin_server import __version__
from livepin_server.errors import InvalidError
from livepin_server.probing.child import probe_in_child
from livepin_server.probing.probe import Observation, Target
from livepin_server.services import expiry
from livepin_server.services.api_keys import ApiKeys
from livepin_server.services.audit import entry_of
from livepin_server.services.composition import Services
from livepin_server.services.model import ApiKeyView, Area, BackupMade, Principal, Role
from livepin_server.services.rights import may
from livepin_server.telemetry.metrics import CONTENT_TYPE, Metrics

from .asking import intent
from .monitoring import untold
from .shapes import BackupNoted, ProbeTarget, Status

_Request = Request[Principal, Any, Any]


@get("/v1/status", role=Role.VIEWER, area=Area.SERVER, sync_to_thread=True)
def status(
    services: NamedDependency[Services],
    metrics: NamedDependency[Metrics],
    delivery_expires: NamedDependency[datetime | None],
    request: _Request,
) -> Status:
    """Return how the server fares, and what needs attention in the caller's accounts."""
    only, now = request.user.account, services.clock()
    accounts = [each for each in services.accounts.all() if only in (None, each.name)]
    warnings = [text for each in accounts for text in each.warnings]
    configs = (each for each in services.published.expiries() if each.kind == "config")
    warnings += expiry.warnings((each for each in configs if only in (None, each.account)), now)
    warnings += [text for each in accounts for text in services.stage.warnings(each.name)]
    warnings += [text for each in accounts for text in services.overrides.warnings(each.name)]
    warnings += services.audit.warnings(only)
    warnings += [] if only else services.private_keys.warnings()
    warnings += [
        f"the server holds no config key that root {version} of {name} names, so nothing can be "
        f"published there; make root {version + 1} with its keys: livepin root prepare"
        for name, version in services.accounts.unsigned()
        if only in (None, name)
    ]
    if services.database.problem is not None:
        warnings.append(f"the last change was refused: {services.database.problem}")
    if delivery_expires is not None:
        of_delivery = expiry.delivery_warning(delivery_expires, now)
        warnings += [] if of_delivery is None else [of_delivery]
    warnings += expiry.key_warnings(_keys_to_warn_of(services.api_keys, request.user), now)
    warnings += metrics.attention.texts(only)
    warnings += untold(services, [each.name for each in accounts])
    return Status(version=__version__, accounts=len(accounts), warnings=warnings)


def _keys_to_warn_of(api_keys: ApiKeys, caller: Principal) -> list[ApiKeyView]:
    """Return the keys that a caller may see: at least the one that he uses."""
    found = api_keys.all(caller.account)
    if may(caller, Role.ADMIN, Area.KEYS):
        return found
    return [key for key in found if key.id == caller.key_id]


@post(
    "/v1/accounts/{account:str}/probes",
    role=Role.OPERATOR,
    area=Area.PROBES,
    status_code=200,
)
async def probe(
    services: NamedDependency[Services],
    request: _Request,
    probes: NamedDependency[asyncio.Semaphore],
    account: FromPath[str],
    data: JSONBody[ProbeTarget],
) -> Observation:
    """Look at a live endpoint from the server."""
    try:
        target = Target(**{n: getattr(data, n) for n in ProbeTarget.__struct_fields__}).checked()
    except ValueError as exc:
        raise InvalidError(str(exc)) from exc
    entry = entry_of(
        intent(request),
        account=account,
        action="probe",
        now=services.clock(),
        target=target.host,
        after={"port": target.port, "connect": target.connect},
    )
    await asyncio.to_thread(services.audit.record, entry)
    async with probes:
        return await probe_in_child(target)


@post(
    "/v1/backups",
    role=Role.ADMIN,
    area=Area.SERVER,
    server_wide=True,
    status_code=200,
    sync_to_thread=True,
)
def note_backup(
    services: NamedDependency[Services],
    metrics: NamedDependency[Metrics],
    request: _Request,
    data: JSONBody[BackupMade],
) -> BackupNoted:
    """Note that a backup was made: beside the server, from its data folder, never here."""
    moment = services.backups.record(data, intent(request))
    metrics.backed_up.set(moment.timestamp())
    return BackupNoted(noted=moment)


@get(
    "/metrics",
    role=Role.VIEWER,
    area=Area.METRICS,
    server_wide=True,
    include_in_schema=False,
    sync_to_thread=True,
)
def metrics(metrics: NamedDependency[Metrics]) -> Response[bytes]:
    """Return the metrics for Prometheus."""
    return Response(metrics.text(), media_type=CONTENT_TYPE)


@get("/healthz", media_type=MediaType.TEXT, sync_to_thread=False)
def healthz() -> str:
    """Return ok: the process answers."""
    return "ok\n"


@get("/readyz", media_type=MediaType.TEXT, sync_to_thread=True)
def readyz(ask_database: NamedDependency[Callable[[], object]]) -> str:
    """Return ok if the database answers too, and takes changes."""
    ask_database()
    return "ok\n"


@get("/openapi.json", include_in_schema=False, sync_to_thread=False)
def openapi(schema: NamedDependency[dict[str, Any]]) -> Response[bytes]:
    """Return the OpenAPI document of this API."""
    return Response(msgspec.json.encode(schema), media_type="application/vnd.oai.openapi+json")


WATCHING = [metrics, healthz, readyz]  # also where delivery is served alone
HANDLERS = [status, probe, note_backup, *WATCHING, openapi]
