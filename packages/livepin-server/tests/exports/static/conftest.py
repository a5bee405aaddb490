"""Targets of exports: a folder, and real servers that speak as S3 and as Azure Blob Storage do.

S3 is moto's server, Azure is Azurite. Google Cloud Storage has no server here that takes what the
library sends: fake-gcs-server does not know the uploads of its XML API.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import hashlib
import hmac
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from livepin_server.exports.static import Documents, Target, target
from livepin_server.folder import Folder
from livepin_server.services.composition import Services

_AZURE = "devstoreaccount1"
# The key that Azurite's documentation gives to everybody.
_AZURE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


@dataclass
class Store:
    """A server of objects: where its targets are, what reaches it, and what apps get of it."""

    scheme: str
    port: int
    environment: dict[str, str]
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def base(self) -> str:
        """The URL under which everybody gets the objects."""
        account = f"{_AZURE}/" if self.scheme == "az" else ""
        return f"http://127.0.0.1:{self.port}/{account}bucket"

    def get(self, prefix: str, path: str) -> httpx.Response:
        """Fetch an object as an app does."""
        return httpx.get(f"{self.base}/{prefix}/{path}", trust_env=False)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        assert process.poll() is None, "the store ended"
        assert time.monotonic() < deadline, "the store did not start"
        time.sleep(0.05)


def _s3(program: str) -> Store:
    port = _free_port()
    command = [program, "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _wait(port, process)
    url, public = f"http://127.0.0.1:{port}/bucket", {"x-amz-acl": "public-read"}
    httpx.put(url, headers=public, trust_env=False).raise_for_status()
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "topsecret",
    }  # fmt: skip
    return Store("s3", port, environment, process)


def _azure(program: str) -> Store:
    port = _free_port()
    command = [
        program, "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent",
        "--blobHost", "127.0.0.1", "--blobPort", str(port),
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _wait(port, process)
    _make_container(port)
    environment = {
        "AZURE_STORAGE_ENDPOINT": f"http://127.0.0.1:{port}/{_AZURE}", "AZURE_ALLOW_HTTP": "true",
        "AZURE_STORAGE_ACCOUNT_NAME": _AZURE, "AZURE_STORAGE_ACCOUNT_KEY": _AZURE_KEY,
    }  # fmt: skip
    return Store("az", port, environment, process)


def _make_container(port: int) -> None:
    """Make a container that everybody may read, as its owner does."""
    headers = {
        "x-ms-blob-public-access": "blob",
        "x-ms-date": f"{dt.datetime.now(dt.timezone.utc):%a, %d %b %Y %H:%M:%S} GMT",
        "x-ms-version": "2021-08-06",
    }
    named = "".join(f"{name}:{value}\n" for name, value in headers.items())
    text = f"PUT{chr(10) * 12}{named}/{_AZURE}/{_AZURE}/bucket\nrestype:container"
    mac = hmac.new(base64.b64decode(_AZURE_KEY), text.encode(), hashlib.sha256).digest()
    headers["Authorization"] = f"SharedKey {_AZURE}:{base64.b64encode(mac).decode()}"
    url = f"http://127.0.0.1:{port}/{_AZURE}/bucket?restype=container"
    httpx.put(url, headers=headers, trust_env=False).raise_for_status()


@pytest.fixture(scope="session")
def start_store(counterpart: Callable[[str], str]) -> Iterator[Callable[[str], Store]]:
    """Start a store of a kind; the end of the session ends it."""
    with contextlib.ExitStack() as stack:

        def one(kind: str) -> Store:
            store = (
                _s3(counterpart("moto_server"))
                if kind == "s3"
                else _azure(counterpart("azurite-blob"))
            )
            stack.callback(store.process.wait, 30)
            stack.callback(store.process.terminate)
            return store

        yield one


@pytest.fixture(scope="session")
def stores(start_store: Callable[[str], Store]) -> Callable[[str], Store]:
    """The store of each kind that the tests of a session share."""
    found: dict[str, Store] = {}

    def one(kind: str) -> Store:
        if kind not in found:
            found[kind] = start_store(kind)
        return found[kind]

    return one


@pytest.fixture
def reach(monkeypatch: pytest.MonkeyPatch) -> Callable[[Store], None]:
    """Set the variables by which a store is reached, as its operators do."""

    def one(store: Store) -> None:
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)

    return one


@dataclass
class Place:
    """A target, and how to see what is in it."""

    target: Target
    get: Callable[[str], bytes | None]
    headers: Callable[[str], dict[str, str]] | None = None

    def put(self, path: str, body: bytes) -> None:
        """Put something there as anybody might."""
        from livepin_server.exports.static.documents import StaticFile

        held = self.target.read(path, limit=10**7)
        file = StaticFile(path=path, body=body, content_type="x/y", caching="no-store")
        with self.target.working():
            self.target.write(file, over=held)


@pytest.fixture(params=["folder", "s3", "az"])
def place(request: pytest.FixtureRequest, tmp_path: Path, reach: Any) -> Place:
    """An empty target of each kind in turn."""
    if request.param == "folder":
        folder = tmp_path / "www"
        folder.mkdir()

        def get(path: str) -> bytes | None:
            file = folder / path
            return file.read_bytes() if file.exists() else None

        return Place(target(str(folder), {}), get)
    store: Store = request.getfixturevalue("stores")(request.param)
    reach(store)
    prefix = f"test/{secrets.token_hex(6)}"

    def fetch(path: str) -> bytes | None:
        answer = store.get(prefix, path)
        return None if answer.status_code == 404 else answer.raise_for_status().content

    def headers(path: str) -> dict[str, str]:
        return dict(store.get(prefix, path).raise_for_status().headers)

    url = f"{store.scheme}://bucket/{prefix}"
    return Place(target(url, os.environ), fetch, headers)


@pytest.fixture
def documents(opened: Folder) -> Callable[[], Documents]:
    """Return what delivery serves of `acme` now."""

    def one() -> Documents:
        return documents_of(opened.services)

    return one


def documents_of(services: Services) -> Documents:
    """Return what delivery serves of `acme`."""
    found = services.published.documents("acme")
    configs = {stream: each.raw for stream, each in found.configs.items()}
    return Documents(account="acme", roots=found.roots, configs=configs)


@pytest.fixture
def another(data_template: Path, tmp_path: Path, open_folder: Any) -> Iterator[Folder]:
    """Another server of the same account: another copy of its data folder."""
    data = tmp_path / "another"
    shutil.copytree(data_template, data)
    with open_folder(data) as found:
        yield found
