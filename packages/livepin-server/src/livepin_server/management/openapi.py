"""The OpenAPI document of the management API: what Litestar knows of the routes, made readable."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Litestar
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from litestar.routes import HTTPRoute
from litestar.types import ControllerRouterHandler
from litestar.utils.sync import AsyncCallable

from livepin_server import __version__
from livepin_server.services.model import Area, Role
from livepin_server.services.rights import named
from livepin_server.web.auth import areas_of, roles_of
from livepin_server.web.problems import CONTENT_TYPE, Problem

from .asking import how

_DESCRIPTION = """\
Private API of a Livepin server; the commands speak it. Paths under /v1 only ever gain members.

Each request names an API key: `Authorization: Bearer lpk_...`. A key has one role, for one account
or for the whole server. An admin may do what an operator may, an operator what a viewer may;
`pentest` stands beside them, and reaches the operations that name it and no others. A key may have
scopes: then it reaches only the operations that need one of these. An account that a key is not
for does not exist, as far as the key can tell (404).

Each error is a problem (RFC 9457). A refused request has changed nothing. Every change of pins is
published before it is answered: `publication` names the config version that carries it. With
`stage` or `at` it is kept for later instead, and answered with 202."""

_KEY_DESCRIPTION = "An API key, made by `livepin api-key create` or `livepin init`."

_PROBLEMS = {
    "400": "The request is malformed; `detail` says where.",
    "401": "The API key is missing, unknown, expired, rotated or revoked.",
    "403": "The role or the scopes of the API key do not reach, or it cannot give what is asked.",
    "404": "What the path names is not there, or not for this API key.",
    "408": "The body did not arrive in time.",
    "409": "It is there already, or its state does not allow this; `hint` says what to do.",
    "412": "It has changed since the caller looked; `detail` says how.",
    "413": "The body is larger than 256 KiB, or with a manifest 17 MiB.",
    "421": "The Host header names another server.",
    "422": "The content is not what was expected; `detail` says where.",
    "429": "Too many requests, or wrong API keys, from this address; see Retry-After.",
    "500": "A fault of the server; its log has it.",
    "503": "The database or a private key is out of reach, or it took too long; see Retry-After.",
}
_ANY = ("421", "429", "500", "503")
_OF_BODY = ("400", "404", "408", "413", "422")


def document(routes: Sequence[ControllerRouterHandler]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of these routes."""
    app = Litestar(routes, dependencies=_nothing(), openapi_config=_config(), logging_config=None)
    found = app.openapi_schema.to_schema()
    for path, handler in _handlers(app):
        for method in handler.http_methods:
            operation = found["paths"].get(path, {}).get(method.lower())
            if operation is not None:
                _describe(operation, handler)
                _close(found["components"]["schemas"], handler)
    found["components"]["schemas"] |= _components(Problem)
    found["components"]["responses"] = {f"Problem{s}": _problem(t) for s, t in _PROBLEMS.items()}
    found["paths"] = dict(sorted(found["paths"].items()))
    found["components"]["schemas"] = dict(sorted(found["components"]["schemas"].items()))
    return found


def _config() -> OpenAPIConfig:
    scheme = SecurityScheme(type="http", scheme="bearer", description=_KEY_DESCRIPTION)
    return OpenAPIConfig(
        title="Livepin management API",
        version=__version__,
        description=_DESCRIPTION,
        components=Components(security_schemes={"apiKey": scheme}),
        security=[{"apiKey": []}],
        use_handler_docstrings=True,
    )


def _nothing() -> dict[str, Provide]:
    """Name what is injected, so that it is not taken for a parameter of the query."""
    names = ("services", "metrics", "ask_database", "delivery_expires", "probes", "schema")
    nothing = {name: Provide(lambda: None, sync_to_thread=False) for name in names}
    return nothing | {"how": Provide(how, sync_to_thread=False)}


def _handlers(app: Litestar) -> Iterator[tuple[str, HTTPRouteHandler]]:
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                yield route.path_format, handler


def _components(shape: Any) -> dict[str, Any]:
    template = "#/components/schemas/{name}"
    return dict(msgspec.json.schema_components([shape], ref_template=template)[1])


def _close(schemas: dict[str, Any], handler: HTTPRouteHandler) -> None:
    """Say of what stands in a body that no other members are taken, and which items of a list."""
    body = handler.parsed_fn_signature.parameters.get("data")
    for name, shape in _components(body.raw).items() if body else ():
        if "additionalProperties" in shape:
            schemas[name]["additionalProperties"] = shape["additionalProperties"]
        for member, said in shape.get("properties", {}).items():
            shown = _items(schemas[name]["properties"][member])
            for items, more in zip(shown, _items(said), strict=True):
                items.update(more)


def _items(said: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what is said of the items of a list, or of what may be one."""
    kinds = [said, *said.get("anyOf", ()), *said.get("oneOf", ())]
    return [each["items"] for each in kinds if "items" in each]


def _describe(operation: dict[str, Any], handler: HTTPRouteHandler) -> None:
    """Say what an operation is called, what it needs, and how it refuses."""
    function = _written(handler)
    public = not isinstance(handler.opt.get("role"), Role)
    operation["operationId"] = function.__name__
    operation["summary"] = (inspect.getdoc(function) or "").partition("\n")[0].removesuffix(".")
    operation["description"] = "Open to all." if public else _needs(handler)
    if public:
        operation["security"] = []
    operation.pop("deprecated", None)
    for parameter in operation.get("parameters", ()):
        parameter.pop("deprecated", None)
    answers = operation["responses"]
    answers.pop("400", None)
    for status, answer in answers.items():
        answer.pop("headers", None)
        answer["description"] = HTTPStatus(int(status)).phrase
    _part_staged(answers)
    for status in _refusals(operation, handler, public=public):
        answers[status] = {"$ref": f"#/components/responses/Problem{status}"}


def _part_staged(answers: dict[str, Any]) -> None:
    """Say with which status a change is answered that is kept for later."""
    for answer in list(answers.values()):
        for content in answer.get("content", {}).values():
            kinds = content["schema"].get("oneOf", [])
            staged = [each for each in kinds if each.get("$ref", "").endswith("/Staged")]
            if staged:
                (content["schema"],) = [each for each in kinds if each not in staged]
                kept = {"application/json": {"schema": staged[0]}}
                answers["202"] = {"description": "Kept for later.", "content": kept}


def _written(handler: HTTPRouteHandler) -> Callable[..., Any]:
    """Return the function as it was written: those that run in threads are wrapped, twice even."""
    function: Callable[..., Any] = handler.fn
    while isinstance(function, AsyncCallable):
        function = function.func
    return function


def _needs(handler: HTTPRouteHandler) -> str:
    whole = " for the whole server" if handler.opt.get("server_wide") else ""
    needed = f"Needs an API key{whole} with the role {roles_of(handler)}"
    areas = areas_of(handler)
    if {*areas} == {*Area}:
        return f"{needed}, whatever its scopes."
    return f"{needed}; if it has scopes, {named(areas)} among them."


def _refusals(operation: dict[str, Any], handler: HTTPRouteHandler, *, public: bool) -> list[str]:
    parameters = handler.parsed_fn_signature.parameters
    changes = "GET" not in handler.http_methods
    # What is staged may contradict what was published since, also where it is only looked at.
    staged = "staged" in parameters or any("/stages/" in each for each in handler.paths)
    found = {*_ANY} | ({"409"} if changes or staged else set())
    if not public:
        found |= {"401", "403"}
    if operation.get("parameters"):
        found |= {"400", "404", "422"}
    if operation.get("requestBody"):
        found |= {*_OF_BODY}
    if "how" in parameters:
        found |= {"412"}
    return sorted(found)


def _problem(text: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": text, "content": {CONTENT_TYPE: {"schema": schema}}}
