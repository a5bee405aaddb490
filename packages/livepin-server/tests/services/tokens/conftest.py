"""An account whose domain asks for tokens, an installation, and what it gets."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from livepin.documents.token_request import TokenRequest
from livepin.jose import PrivateKey
from livepin_server.services.composition import Services
from livepin_server.services.model import Intent, NewDomain, NewPin
from livepin_server.services.tokens.issuing import Answer

HOST = "api.example.com"


@pytest.fixture
def data_folder(request: pytest.FixtureRequest, data_template: Path, tmp_path: Path) -> Path:
    """A data folder of this test's own, on SQLite, or on what the test names."""
    if getattr(request, "param", "sqlite") == "postgresql":
        found: Path = request.getfixturevalue("postgres_folder")
        return found
    data = tmp_path / "data"
    shutil.copytree(data_template, data)
    return data


@pytest.fixture
def installation() -> PrivateKey:
    """The key of an installation."""
    return PrivateKey.generate()


@pytest.fixture
def protected(services: Services, new_pin: Callable[..., NewPin], intent: Intent) -> Services:
    """The use cases; `api.example.com` of `acme` asks for tokens."""
    services.domains.add("acme", NewDomain(pattern=HOST, pins=[new_pin()], token=True), intent)
    return services


@pytest.fixture
def request_of(installation: PrivateKey) -> Callable[..., TokenRequest]:
    """Return a request by the installation for a token for `api.example.com`."""

    def one(**changes: Any) -> TokenRequest:
        base: dict[str, Any] = {
            "account": "acme", "app": "com.example.app", "key": installation.public,
            "challenge": None, "stream": "main", "root_version": 1, "config_version": 1,
            "hosts": {HOST: None},
        }  # fmt: skip
        return TokenRequest(**(base | changes))

    return one


@pytest.fixture
def answer(
    protected: Services, request_of: Callable[..., TokenRequest], clock: Callable[[], Any]
) -> Callable[..., Answer]:
    """Return what the installation is answered now, by what is in the database."""

    def one(**changes: Any) -> Answer:
        issuing = protected.tokens.load("acme")
        return issuing.answer(request_of(**changes), "next", clock())

    return one
