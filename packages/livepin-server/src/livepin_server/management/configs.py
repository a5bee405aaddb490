"""Published configs, and the bootstrap that apps embed."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, Parameter
from livepin.documents import config
from livepin.jose import parse_compact

from livepin_server.errors import InvalidError
from livepin_server.services.changes import RestoreConfig
from livepin_server.services.composition import Services
from livepin_server.services.model import Area, How, Principal, Role, Staged
from livepin_server.services.nearest import not_found
from livepin_server.services.publishing.comparing import Comparison, compare
from livepin_server.services.publishing.stage import only

from .asking import Stream, answered, intent, tagged
from .shapes import (
    ConfigShown,
    Publications,
    Published,
    RaiseVersions,
    StaticDocuments,
    StaticRoot,
    Why,
)

_Request = Request[Principal, Any, Any]
_BASE = "/v1/accounts/{account:str}"


@get(_BASE + "/configs", role=Role.VIEWER, area=Area.CONFIGS, sync_to_thread=True)
def list_configs(
    services: NamedDependency[Services],
    account: FromPath[str],
    stream: Stream = "main",
    limit: Annotated[int, Parameter(ge=1, le=1000)] = 50,
) -> Publications:
    """Return the config versions of a stream, the newest first."""
    return Publications(items=services.published.history(account, stream, limit=limit))


@get(_BASE + "/configs/{version:str}", role=Role.VIEWER, area=Area.CONFIGS, sync_to_thread=True)
def show_config(
    services: NamedDependency[Services],
    account: FromPath[str],
    version: FromPath[str],
    stream: Stream = "main",
) -> Response[ConfigShown]:
    """Return one config version, or the `latest`."""
    publication, raw = services.published.version(account, stream, _number(version))
    payload = msgspec.json.decode(parse_compact(raw, typ=config.TYP).payload, type=dict[str, Any])
    shown = ConfigShown(publication=publication, payload=payload, document=raw.decode("ascii"))
    return tagged(shown, publication.version)


@get(_BASE + "/documents", role=Role.VIEWER, area=Area.CONFIGS, sync_to_thread=True)
def show_documents(
    services: NamedDependency[Services],
    account: FromPath[str],
    stream: Stream = "main",
) -> StaticDocuments:
    """Return what delivery serves of a stream, as signed: every root, and the newest config."""
    found = services.published.documents(account)
    if stream not in found.configs:
        raise not_found("stream", stream, found.configs)
    config = found.configs[stream]
    return StaticDocuments(
        roots=[
            StaticRoot(version=version, document=raw.decode("ascii"))
            for version, raw in sorted(found.roots.items())
        ],
        root_version=config.root_version,
        version=config.version,
        document=config.raw.decode("ascii"),
    )


@post(
    _BASE + "/versions",
    role=Role.ADMIN,
    area=Area.CONFIGS,
    status_code=200,
    sync_to_thread=True,
)
def raise_versions(
    services: NamedDependency[Services],
    request: _Request,
    account: FromPath[str],
    data: JSONBody[RaiseVersions],
) -> Publications:
    """Publish every stream again, unchanged, with versions above one that apps hold."""
    items = services.versions.raise_above(account, data.above, intent(request, data.reason))
    return Publications(items=items)


@get(
    _BASE + "/configs/{version:str}/diff/{other:str}",
    role=Role.VIEWER,
    area=Area.CONFIGS,
    sync_to_thread=True,
)
def diff_configs(
    services: NamedDependency[Services],
    account: FromPath[str],
    version: FromPath[str],
    other: FromPath[str],
    stream: Stream = "main",
) -> Comparison:
    """Return what another config version of the stream, or the `latest`, says otherwise."""
    first, second = _number(version), _number(other)
    return compare(services.published, services.database, account, stream, first, second)


@post(
    _BASE + "/configs/{version:str}/restore",
    role=Role.OPERATOR,
    area=Area.CONFIGS,
    status_code=200,
    sync_to_thread=True,
)
def restore_config(
    services: NamedDependency[Services],
    request: _Request,
    how: NamedDependency[How],
    account: FromPath[str],
    version: FromPath[str],
    data: JSONBody[Why],
    stream: Stream = "main",
) -> Published | Staged:
    """Publish the domains and pins of an old version as a new one. Delivery stays as it is."""
    number = _number(version)
    if number is None:
        raise InvalidError("expected the version to go back to, found the latest")
    change = RestoreConfig(version=number, stream=stream)
    return answered(
        only(services.stage.make(account, change, intent(request, data.reason, how))),
        lambda done: Published(publication=done),
    )


@get(_BASE + "/bootstrap", role=Role.VIEWER, area=Area.CONFIGS, sync_to_thread=True)
def bootstrap(
    services: NamedDependency[Services], account: FromPath[str], stream: Stream = "main"
) -> dict[str, Any]:
    """Return the bootstrap of today. It holds no secret."""
    found = services.published.bootstrap(account, stream)
    return msgspec.json.decode(found.to_json(), type=dict[str, Any])


def _number(version: str) -> int | None:
    """Return the number of a version, None for the latest."""
    if version == "latest":
        return None
    if not (version.isascii() and version.isdecimal() and len(version) <= 16):
        raise InvalidError(f"expected a version number or latest, found {version[:40]!r}")
    return int(version)


HANDLERS = [
    list_configs,
    show_config,
    diff_configs,
    restore_config,
    show_documents,
    raise_versions,
    bootstrap,
]
