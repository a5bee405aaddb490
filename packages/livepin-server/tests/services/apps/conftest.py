"""Identities of each kind, as people say them, and an app that has them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc.jwk import ECKey
from livepin_server.services.apps.model import AppView, NewApp
from livepin_server.services.composition import Services
from livepin_server.services.model import Intent
from minted_play import Keys
from msgspec import to_builtins

DIGEST = "ab" * 32


@pytest.fixture
def data_folder(data_template: Path, tmp_path: Path) -> Path:
    """A data folder of this test's own, on SQLite."""
    data = tmp_path / "data"
    shutil.copytree(data_template, data)
    return data


@pytest.fixture(scope="session")
def said() -> dict[str, dict[str, Any]]:
    """An identity of each kind."""
    play = to_builtins(Keys().app())
    jwks = {"keys": [{**ECKey.generate_key("P-256").as_dict(private=False), "kid": "one"}]}
    return {
        "android": {"package": "com.example.shop", "certificates": [DIGEST]},
        "apple": {"team": "A1B2C3D4E5", "bundle": "com.example.shop"},
        "play": {name: each for name, each in play.items() if each is not None},
        "workload": {
            "profile": "oidc",
            "issuer": "https://issuer.example.com",
            "audience": "livepin",
            "subject": "shop",
            "jwks": jwks,
        },
    }


@pytest.fixture(scope="session")
def service_account() -> dict[str, str]:
    """A service account that asks Google, with a key of its own."""
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {"client_email": "shop@example.iam.gserviceaccount.com", "private_key": pem.decode()}


@pytest.fixture
def shop(services: Services, said: dict[str, dict[str, Any]], intent: Intent) -> AppView:
    """The app `shop`, with an identity of each kind."""
    return services.apps.add("acme", NewApp(name="shop", **said), intent)
