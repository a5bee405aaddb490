"""What the tests of the management API share: a second account, and problems to look at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from livepin.documents import root
from livepin.jose import PrivateKey, sign_general
from livepin_server.services.composition import Services
from livepin_server.services.model import Intent, NewDomain, NewPin
from livepin_server.services.monitoring.incidents.taking import take
from livepin_server.services.monitoring.model import HERE, Finding, Judged
from livepin_server.storage.schema import endpoints
from sqlalchemy import select

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


def incident_of(services: Services, host: str) -> int:
    """Open an incident: the certificate of a domain, which is added for it, expires soon."""
    pin = NewPin(sha256=f"sha256/{'A' * 43}=")
    services.domains.add("acme", NewDomain(pattern=host, pins=[pin]), INTENT)
    services.endpoints.sync("acme")
    with services.database.reading() as connection:
        query = select(endpoints.c.id).where(endpoints.c.host == host)
        endpoint = connection.scalars(query).one()
    finding = Finding(
        kind="at_risk", code="expires", severity="warning", key=f"expires:{host}",
        cause=f"expires:{host}", host=host, port=443, pattern=host, stream="main",
        sentence=f"the certificate of {host} expires in 5 days", apps="apps that follow main",
        command=f"livepin domain check {host}",
    )  # fmt: skip
    judged = Judged(
        account="acme", endpoint=endpoint, vantage=HERE, host=host, port=443, findings=[finding]
    )
    now = services.clock()
    services.database.write(lambda connection: take(connection, [judged], now))
    return max(each.number for each in services.incidents.all("acme"))


@pytest.fixture(scope="session")
def open_incident() -> Callable[[Services, str], int]:
    """Open an incident of a host, which is added for it; return its number."""
    return incident_of
