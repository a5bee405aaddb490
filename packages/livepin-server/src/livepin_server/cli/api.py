"""The commands' way to the management API: a running server, or the same application in here."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import httpx
from cyclopts import Parameter
from livepin.errors import LivepinError

from livepin_server.folder import OPERATOR_KEY
from livepin_server.lock import DataFolderBusyError
from livepin_server.serving import RUN_FILE

from .output import REFUSED, UNREACHABLE, CommandError

_TIMEOUT = 60.0  # seconds; the server probes with a timeout of its own


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Common:
    """What every command takes."""

    account: Annotated[str | None, Parameter(help="The account; needed if there are several.")] = (
        None
    )
    data: Annotated[
        Path | None, Parameter(help="The data folder; else LIVEPIN_DATA, else ./livepin-data.")
    ] = None
    json: Annotated[bool, Parameter(help="Print JSON.", negative="")] = False


class Api:
    """The management API as the commands see it."""

    def __init__(self, send: Callable[..., httpx.Response], key: str, account: str | None) -> None:
        self._send = send
        self._key = key
        self._account = account

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        **query: Any,
    ) -> Any:
        """Return the answer's JSON; a problem becomes a `CommandError`."""
        options: dict[str, Any] = {"headers": {"Authorization": f"Bearer {self._key}"}}
        if body is not None:
            options["json"] = body
        if query:
            options["params"] = query
        try:
            response = self._send(method, path, **options)
        except (httpx.HTTPError, OSError) as exc:
            raise CommandError(
                f"the server does not answer: {exc}",
                hint="is it running? start it with: livepin serve",
                code=UNREACHABLE,
            ) from exc
        if response.status_code >= 400:
            raise _refused(response)
        return response.json()

    @property
    def base(self) -> str:
        """The path of the account in use."""
        return f"/v1/accounts/{self.account}"

    @property
    def account(self) -> str:
        """The account that was named, or the only one there is."""
        if self._account is None:
            names = [each["name"] for each in self.call("GET", "/v1/accounts")]
            if len(names) != 1:
                raise CommandError(
                    f"expected the name of an account, there are {len(names)}",
                    hint=f"--account with one of: {', '.join(names)}" if names else None,
                )
            self._account = names[0]
        return self._account


def data_folder(common: Common | None) -> Path:
    """Return the data folder to use."""
    named = common.data if common is not None else None
    return named or Path(os.environ.get("LIVEPIN_DATA", "livepin-data"))


@contextmanager
def connected(common: Common) -> Iterator[Api]:
    """Give the API: at LIVEPIN_URL, of the server that runs on the data folder, or in process."""
    with ExitStack() as stack:
        url = os.environ.get("LIVEPIN_URL")
        if url and common.data is None:
            key = os.environ.get("LIVEPIN_API_KEY", "")
            if not key:
                raise CommandError("LIVEPIN_URL is set, LIVEPIN_API_KEY is not")
            client = stack.enter_context(_client(url, os.environ.get("LIVEPIN_CA")))
            yield Api(client.request, key.strip(), common.account)
            return
        data = data_folder(common)
        try:
            yield _of_folder(data, stack, common.account)
        except DataFolderBusyError:
            raise
        except LivepinError as exc:
            raise CommandError(str(exc), hint=exc.hint) from exc


def _of_folder(data: Path, stack: ExitStack, account: str | None) -> Api:
    running = data / RUN_FILE
    if running.exists():
        try:
            found = json.loads(running.read_text())
            key = (data / OPERATOR_KEY).read_text().strip()
        except (OSError, ValueError) as exc:
            raise CommandError(f"cannot read {data}: {exc}") from exc
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(found["host"], found["host"])  # noqa: S104
        url = f"https://{f'[{host}]' if ':' in host else host}:{found['port']}"
        if _is_alive(found["pid"]):
            client = stack.enter_context(_client(url, str(data / "tls" / "ca.pem")))
            return Api(client.request, key, account)
    from livepin_server.main import in_process

    app, key = stack.enter_context(in_process(data))
    runner = stack.enter_context(asyncio.Runner())
    transport = httpx.ASGITransport(app=cast("Any", app), raise_app_exceptions=False)

    def send(method: str, path: str, **options: Any) -> httpx.Response:
        async def one() -> httpx.Response:
            async with httpx.AsyncClient(transport=transport, base_url="https://livepin") as client:
                return await client.request(method, path, timeout=_TIMEOUT, **options)

        return runner.run(one())

    return Api(send, key, account)


def _client(url: str, ca: str | None) -> httpx.Client:
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as exc:
        raise CommandError(f"cannot read the CA file {ca}: {exc}") from exc
    return httpx.Client(base_url=url, verify=context, timeout=_TIMEOUT, trust_env=False)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _refused(response: httpx.Response) -> CommandError:
    try:
        found = response.json()
        return CommandError(
            found.get("detail") or found["title"], hint=found.get("hint"), code=REFUSED
        )
    except (ValueError, LookupError, AttributeError):
        return CommandError(f"the server answers {response.status_code}", code=REFUSED)
