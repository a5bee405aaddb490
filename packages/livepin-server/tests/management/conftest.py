"""What the tests of the management API share: a second account, and problems to look at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from livepin.documents import root
from livepin.jose import PrivateKey, sign_general
from livepin_server.services.composition import Services
from livepin_server.services.model import Intent

INTENT = Intent(author="bob")


def add_account(services: Services, name: str) -> None:
    """Make an account, as `livepin account add` does."""
    key = PrivateKey.generate()
    payload = services.accounts.prepare(name, [dict(key.public.jwk())], INTENT)
    services.accounts.create(name, sign_general(payload, typ=root.TYP, signers=[key]), INTENT)


@pytest.fixture(scope="module")
def two_accounts(server: Any) -> Any:
    """The running server, with the accounts `acme` and `beta`."""
    add_account(server.services, "beta")
    return server


@pytest.fixture(scope="session")
def assert_problem() -> Callable[..., Any]:
    """Check that an answer is a problem (RFC 9457) of a status, and no traceback; return it."""

    def one(answer: httpx.Response, status: int) -> Any:
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert "Traceback" not in answer.text
        assert ".py" not in answer.text
        found = answer.json()
        assert found["status"] == status
        assert found["title"]
        assert set(found) <= {"title", "status", "detail", "hint", "to_confirm"}
        return found

    return one
