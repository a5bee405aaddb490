"""Backups of real data folders, on SQLite and on PostgreSQL, and servers restored from them."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from livepin.documents import config as config_document
from livepin.documents import root as root_document
from livepin.jose import PrivateKey, parse_compact, parse_general, sign_compact, sign_general
from livepin.testing import FakeClock
from livepin_server.backups import making, restoring
from livepin_server.backups.making import Made
from livepin_server.backups.restoring import Restored, RestorePlan
from livepin_server.custody import age
from livepin_server.custody.age import Opening, Seal
from livepin_server.custody.sealed import Label, load_master_key
from livepin_server.exports.static.documents import Documents
from livepin_server.folder import Folder
from livepin_server.storage.schema import keys, roots
from sqlalchemy import insert, select


@pytest.fixture(params=["data_folder", "postgres_folder"])
def either_folder(request: pytest.FixtureRequest) -> Path:
    """A data folder with the account `acme`, on each database in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def identity(tmp_path: Path, clock: FakeClock) -> tuple[Seal, Opening]:
    """What seals to an identity of the test's own, and what opens that."""
    path = tmp_path / "identity.txt"
    recipient = age.new_identity(path, now=clock())
    return Seal(recipients=(recipient,)), Opening(identities=age.read_identities(path))


@pytest.fixture
def back_up(
    tmp_path: Path, clock: FakeClock, identity: tuple[Seal, Opening]
) -> Callable[..., Made]:
    """Make a backup of a data folder, at the time of the clock."""

    def one(data: Path, **environment: str) -> Made:
        return making.make(data, environment, tmp_path / "b.age", identity[0], now=clock())

    return one


@pytest.fixture
def restore(
    tmp_path: Path, clock: FakeClock, identity: tuple[Seal, Opening]
) -> Callable[..., Restored]:
    """Restore the backup into `restored`, an hour after it was made unless said."""

    def one(file: Path | None = None, **members: Any) -> Restored:
        environment = members.pop("environment", {})
        at = members.pop("at", clock() + dt.timedelta(hours=1))
        plan = RestorePlan(
            **{
                "file": file or tmp_path / "b.age",
                "data": tmp_path / "restored",
                "opening": identity[1],
                "offline": True,
                **members,
            }
        )
        return restoring.restore(plan, environment, clock=lambda: at)

    return one


# -- what a lost server may have left out there ----------------------------------------------------


class Signed:
    """The documents of `acme` on an opened folder, and what else its keys can sign."""

    def __init__(self, opened: Folder) -> None:
        self.opened = opened
        self.root_key, self.config_key = (self._key(each) for each in ("root", "config"))

    def documents(self) -> Documents:
        """Return what delivery serves."""
        found = self.opened.services.published.documents("acme")
        configs = {stream: each.raw for stream, each in found.configs.items()}
        return Documents(account="acme", roots=found.roots, configs=configs)

    def config(self, *, signer: PrivateKey | None = None, **members: Any) -> bytes:
        """Return the newest config with members changed, signed by the config key."""
        raw = self.documents().configs["main"]
        payload = json.loads(parse_compact(raw, typ=config_document.TYP).payload) | members
        data = json.dumps(payload).encode()
        return sign_compact(data, typ=config_document.TYP, signer=signer or self.config_key)

    def root(
        self, version: int = 2, *, config_key: PrivateKey | None = None, signer: Any = None
    ) -> bytes:
        """Return a root of another version, which may name another config key."""
        raw = self.documents().roots[1]
        payload = json.loads(parse_general(raw, typ=root_document.TYP).payload)
        payload["version"] = version
        if config_key is not None:
            payload["roles"]["config"]["keys"] = [dict(config_key.public.jwk())]
        data = json.dumps(payload).encode()
        return sign_general(data, typ=root_document.TYP, signers=[signer or self.root_key])

    def keep(self, version: int, raw: bytes) -> None:
        """Have the server hold a root, as if it had been published."""
        expires = self.opened.services.clock() + dt.timedelta(days=900)
        row = {"account": "acme", "version": version, "document": raw}
        row |= {"expires": expires, "created": self.opened.services.clock()}
        self.opened.services.database.write(lambda each: each.execute(insert(roots).values(**row)))

    def _key(self, role: str) -> PrivateKey:
        with self.opened.services.database.reading() as connection:
            row = connection.execute(select(keys).where(keys.c.role == role)).one()
        vault = load_master_key(self.opened.data / "master.key", None)
        return vault.open(row.sealed, Label("acme", role, row.kid))


@pytest.fixture
def signed(opened: Folder) -> Signed:
    """The documents of the data folder, and what else its keys can sign."""
    return Signed(opened)


@dataclass
class Site:
    """A web server that answers what it is told to; other paths are not found."""

    url: str = ""
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    until: threading.Event | None = None  # what a body waits for after its first byte

    def put(self, path: str, body: bytes, status: int = 200, **headers: str) -> None:
        """Answer a path."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[f"/{path}"] = status, named, body

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer a request."""
        self.asked.append(request.path)
        status, headers, body = self.answers.get(request.path, (404, {}, b""))
        request.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        if self.until is not None:
            request.wfile.write(body[:1])
            request.wfile.flush()
            self.until.wait(30)
            body = body[1:]
        with contextlib.suppress(ConnectionError):
            request.wfile.write(body)


@pytest.fixture
def site() -> Iterator[Callable[[], Site]]:
    """Start web servers."""
    with contextlib.ExitStack() as stack:

        def one() -> Site:
            found = Site()

            class Handler(BaseHTTPRequestHandler):
                def do_GET(self) -> None:
                    found.answer(self)

                def log_message(self, *_: Any) -> None:
                    """Say nothing."""

            server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            found.url = f"http://127.0.0.1:{server.server_port}"
            return found

        yield one
