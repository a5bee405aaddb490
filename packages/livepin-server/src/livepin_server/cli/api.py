"""The commands' way to the management API: a running server, or the same application in here."""

from __future__ import annotations

import asyncio
import json
import shlex
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, cast
from urllib.parse import quote

import httpx
from cyclopts import Parameter

from livepin_server.layout import OPERATOR_KEY, RUN_FILE, TLS
from livepin_server.lock import DataFolderBusyError, holding
from livepin_server.settings import FILE

from .files import reason
from .output import (
    REFUSED,
    UNEXPECTED,
    UNREACHABLE,
    USAGE,
    CommandError,
    Kept,
    confirm,
    err,
    say,
    warn,
    working,
)
from .parameters import Yes, moment
from .places import Folder, Names, Server, find, find_folder

_TIMEOUT = 60.0  # seconds; the server probes with a timeout of its own
_KEPT = 202
_PATIENCE = 10.0  # seconds to wait for another command on the same data folder
_CODES = {400: USAGE, 422: USAGE, 413: USAGE, 429: UNREACHABLE, 503: UNREACHABLE}
_HINTS = {
    401: "is {} right, and neither expired nor revoked?",
    403: "it needs an API key with more rights: {}",
}

DataFolder = Annotated[
    Path | None,
    Parameter(metavar="FOLDER", help="The data folder; else LIVEPIN_DATA, or ./livepin-data."),
]
Json = Annotated[bool, Parameter(help="Print JSON.")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Place:
    """Which server or data folder a command is meant for."""

    data: DataFolder = None
    profile: Annotated[
        str | None, Parameter(metavar="NAME", help="A server by its name; else LIVEPIN_PROFILE.")
    ] = None

    @property
    def again(self) -> str:
        """The options with which a next command finds the same place."""
        if self.profile is not None:
            return f" --profile {shlex.quote(self.profile)}"
        return "" if self.data is None else f" --data {shlex.quote(str(self.data))}"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Local(Place):
    """What commands on a place take."""

    json: Json = False


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Common(Local):
    """What commands on an account take."""

    account: Annotated[
        str | None, Parameter(metavar="NAME", help="The account; needed if there are several.")
    ] = None

    @property
    def again(self) -> str:
        """The options with which a next command finds the same place."""
        named = "" if self.account is None else f" --account {shlex.quote(self.account)}"
        return named + super().again


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Agreeing(Common):
    """What commands take that may ask whether a person agrees."""

    yes: Yes = False

    def how(self) -> dict[str, Any]:
        """Return how a change is to be made, as the management API takes it."""
        return {}


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Publishing(Agreeing):
    """What commands that publish take."""

    at: Annotated[
        str | None, Parameter(metavar="TIME", help="Publish it then, such as 2027-01-31T12:00Z.")
    ] = None
    force: Annotated[
        bool, Parameter(help="Publish though apps may be shut out; needs --reason.")
    ] = False

    def how(self) -> dict[str, Any]:
        """Return how a change is to be made, as the management API takes it."""
        found: dict[str, Any] = {"force": "true"} if self.force else {}
        if self.at is not None:
            found["at"] = moment(self.at, option="--at")
        return found


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Changing(Publishing):
    """What commands that change something take."""

    stage: Annotated[
        bool, Parameter(help="Keep the change for later: see livepin diff, livepin publish.")
    ] = False

    def how(self) -> dict[str, Any]:
        """Return how a change is to be made, as the management API takes it."""
        return super().how() | ({"stage": "true"} if self.stage else {})


class _UnconfirmedError(CommandError):
    """The server asks whether a person agrees."""


class Api:
    """The management API as the commands see it.

    `served` tells whether a server runs, `key_file` where the key is kept that they use, if in a
    file, `named` which account was said, and `seen` the newest config version of what was read
    last, as its ETag says.
    """

    def __init__(
        self,
        send: Callable[..., httpx.Response],
        key: str,
        account: str | None,
        *,
        names: Names,
        served: str | None = None,
        key_file: Path | None = None,
    ) -> None:
        self._send = send
        self._key = key
        self._account = account
        self._names = names
        self.changing: Agreeing | None = None
        self.named = account
        self.served = served
        self.key_file = key_file
        self.seen: str | None = None

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        **query: Any,
    ) -> Any:
        """Return the answer's JSON; a problem becomes a `CommandError`."""
        if method == "GET" and isinstance(self.changing, Changing) and self.changing.stage:
            query["staged"] = "true"
        return self._json(self._answer(method, path, body, query))

    def change(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        confirmed: bool = False,
        expected: str | None = None,
        **query: Any,
    ) -> Any:
        """Make a change as the command line says, and return the answer's JSON.

        `expected` is the ETag of what was shown to its author.

        Raises:
            Kept: it is not published yet.
        """
        assert self.changing is not None
        query |= self.changing.how()
        if confirmed:
            query["confirmed"] = "true"
        headers = {} if expected is None else {"If-Match": expected}
        try:
            response = self._answer(method, path, body, query, headers)
        except _UnconfirmedError as exc:
            confirm(str(exc), yes=self.changing.yes)
            query["confirmed"] = "true"
            response = self._answer(method, path, body, query, headers)
        found = self._json(response)
        if response.status_code == _KEPT:
            raise Kept(found, again=self.changing.again, json=self.changing.json)
        for text in _warnings(found):
            warn(text)
        return found

    def fetch(self, path: str, **query: Any) -> bytes:
        """Return an answer that is no JSON value, as it is."""
        return self._answer("GET", path, None, query).content

    def _answer(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        query: Mapping[str, Any],
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        options: dict[str, Any] = {"headers": {"Authorization": f"Bearer {self._key}"}}
        options["headers"] |= headers or {}
        if body is not None:
            options["json"] = body
        if query:
            options["params"] = query
        try:
            with working(f"waiting for {self.served or 'the database'}"):
                response = self._send(method, path, **options)
        except (httpx.HTTPError, OSError) as exc:
            raise self._unreachable(exc) from exc
        if response.status_code >= 400:
            raise self._refused(response)
        self.seen = response.headers.get("etag", self.seen)
        return response

    def _json(self, response: httpx.Response) -> Any:
        try:
            return response.json()
        except ValueError as exc:
            raise self._stranger() from exc

    @cached_property
    def caller(self) -> dict[str, Any]:
        """Whom the server takes these commands for: the API key that they use."""
        found: dict[str, Any] = self.call("GET", "/v1/whoami")
        return found

    @property
    def base(self) -> str:
        """The path of the account in use."""
        return f"/v1/accounts/{quote(self.account, safe='')}"

    @property
    def account(self) -> str:
        """The account that was named, that of the key, or the only one there is."""
        if self._account is None:
            self._account = self.caller["account"]
        if self._account is None:
            names = [each["name"] for each in self.call("GET", "/v1/accounts")]
            if len(names) != 1:
                raise CommandError(
                    f"expected the name of an account, there are {len(names)}",
                    hint=f"--account with one of: {', '.join(names)}" if names else None,
                )
            self._account = names[0]
        return self._account

    def _unreachable(self, exc: Exception) -> CommandError:
        hint = "is it running? start it with: livepin serve"
        if isinstance(_first(exc), socket.gaierror):
            hint = f"the name does not resolve to an address; is {self._names.url} right?"
        if "CERTIFICATE_VERIFY_FAILED" in str(exc):
            hint = f"is {self._names.ca} the file tls/ca.pem of its data folder?"
        said = str(exc) or type(exc).__name__
        return CommandError(
            f"the server at {self.served} does not answer: {said}", hint=hint, code=UNREACHABLE
        )

    def _stranger(self, status: int | None = None) -> CommandError:
        what = "" if status is None else f" ({status})"
        return CommandError(
            f"{self.served} answers{what}, but not as a Livepin server",
            hint=f"is {self._names.url} the address of management?",
            code=UNREACHABLE,
        )

    def _refused(self, response: httpx.Response) -> CommandError:
        status = response.status_code
        try:
            found = response.json()
            message, hint = found.get("detail") or found["title"], found.get("hint")
        except (ValueError, LookupError, AttributeError):
            return self._stranger(status)
        if isinstance(found.get("to_confirm"), list):
            return _UnconfirmedError("; ".join(found["to_confirm"]), hint="--yes", code=REFUSED)
        if status == 401:
            message = "the server does not take this API key"
        if status == 500 and self.served is None:
            return CommandError(
                "unexpected: a fault in the management API",
                hint="with LIVEPIN_DEBUG=1 it shows where",
                code=UNEXPECTED,
            )
        hint = hint or _HINTS.get(status, "").format(self._names.key)
        return CommandError(message, hint=hint, code=_CODES.get(status, REFUSED))


def _warnings(found: dict[str, Any]) -> list[str]:
    """Return what guards say to what was published; of several streams, each text once."""
    publications = [*found.get("items", ()), found.get("publication") or {}]
    return [*dict.fromkeys(text for each in publications for text in each.get("warnings", ()))]


def data_folder(place: Place) -> Path:
    """Return the data folder to use, for what works on a data folder only."""
    return find_folder(place.data, place.profile)


@contextmanager
def connected(common: Local) -> Iterator[Api]:
    """Give the API of the server that is meant; where it is not the default one, say which."""
    meant = find(common.data, common.profile)
    if meant.profile is not None:
        say(f"profile {meant.profile}: {meant.where}", "bold", to=err())
    account = common.account if isinstance(common, Common) else None
    changing = common if isinstance(common, Agreeing) else None
    with reaching(meant, account or meant.account, changing) as api:
        yield api


@contextmanager
def reaching(
    meant: Server | Folder, account: str | None = None, changing: Agreeing | None = None
) -> Iterator[Api]:
    """Give the API of a server elsewhere, of the one that runs on a data folder, or in process."""
    with ExitStack() as stack:
        if isinstance(meant, Server):
            client = stack.enter_context(_client(meant.url, meant.ca))
            api = Api(
                client.request,
                meant.key,
                account,
                names=meant.names,
                served=meant.url,
                key_file=meant.key_file,
            )
        else:
            api = _of_server(meant, stack, account) or _in_here(meant, stack, account)
        api.changing = changing
        yield api


@contextmanager
def opening(data: Path) -> Iterator[None]:
    """Say in words why a data folder cannot be used; touch nothing that is none."""
    if not (data / FILE).is_file():
        raise CommandError(
            f"{data} is not a Livepin data folder",
            hint="--data FOLDER or LIVEPIN_DATA names one; livepin init makes one",
        )
    try:
        yield
    except (OSError, UnicodeDecodeError) as exc:
        raise CommandError(f"cannot use {data}: {reason(exc)}") from exc


def _of_server(folder: Folder, stack: ExitStack, account: str | None) -> Api | None:
    """Return the API of the server that holds the data folder, or None where nobody holds it.

    The lock says whether a server runs: a run file may be left from one that was killed.
    """
    data = folder.data
    with opening(data):
        if _is_free(data):
            return None
        found = _run_file(data)
        if found is None:
            with working(f"another process works on {data}"):
                found = _wait_for_server(data)
        if found is None:
            return None
        key_file = data / OPERATOR_KEY
        key = key_file.read_text().strip()
    client = stack.enter_context(_client(found, str(data / TLS / "ca.pem")))
    # Wherever management listens, its certificate has this name.
    send = partial(client.request, extensions={"sni_hostname": "localhost"})
    return Api(send, key, account, names=folder.names, served=found, key_file=key_file)


def _wait_for_server(data: Path) -> str | None:
    """Wait for a command that ends soon, or a server that is starting; return its address."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        time.sleep(0.1)
        found = _run_file(data)
        if found is not None or _is_free(data):
            return found
        if time.monotonic() > deadline:
            raise DataFolderBusyError(f"another process works on {data}", hint="try again later")


def _is_free(data: Path) -> bool:
    try:
        with holding(data):
            return True
    except DataFolderBusyError:
        return False


def _run_file(data: Path) -> str | None:
    try:
        found = json.loads((data / RUN_FILE).read_text())
        host, port = str(found["host"]), int(found["port"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"https://{f'[{host}]' if ':' in host else host}:{port}"


def _in_here(folder: Folder, stack: ExitStack, account: str | None) -> Api:
    with opening(folder.data), working(f"opening {folder.data}"):
        from livepin_server.main import in_process  # it takes a while

        app, key = stack.enter_context(in_process(folder.data))
    runner = stack.enter_context(asyncio.Runner())
    transport = httpx.ASGITransport(app=cast("Any", app), raise_app_exceptions=False)

    def send(method: str, path: str, **options: Any) -> httpx.Response:
        async def one() -> httpx.Response:
            async with httpx.AsyncClient(transport=transport, base_url="https://livepin") as client:
                return await client.request(method, path, timeout=_TIMEOUT, **options)

        return runner.run(one())

    return Api(send, key, account, names=folder.names, key_file=folder.data / OPERATOR_KEY)


def _client(url: str, ca: str | None) -> httpx.Client:
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as exc:
        said = "no PEM certificates" if isinstance(exc, ssl.SSLError) else reason(exc)
        raise CommandError(
            f"cannot read the CA file {ca}: {said}",
            hint="it is the file tls/ca.pem of the server's data folder",
        ) from exc
    return httpx.Client(base_url=url, verify=context, timeout=_TIMEOUT, trust_env=False)


def _first(exc: BaseException) -> BaseException:
    """Return the error from which the others came."""
    while (cause := exc.__cause__ or exc.__context__) is not None:
        exc = cause
    return exc
