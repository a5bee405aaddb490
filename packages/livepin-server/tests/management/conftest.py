"""What the tests of the management API share: a second account, and problems to look at."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from livepin.documents import root
from livepin.jose import PrivateKey, sign_general
from livepin.testing import FakeClock
from livepin_server import folder
from livepin_server.management.app import build_app
from livepin_server.services.composition import Services
from livepin_server.services.model import Intent, NewDomain, NewPin, Role
from livepin_server.services.monitoring.incidents.taking import take
from livepin_server.services.monitoring.model import HERE, Finding, Judged
from livepin_server.storage.schema import endpoints
from livepin_server.telemetry.metrics import Metrics
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


class Quiet:
    """The management application over a folder of its own, beside which nothing runs."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self._app = build_app(services, Metrics())
        self._runner = asyncio.Runner()
        self._keys: dict[Any, str] = {}

    def key(self, role: str, account: str | None = None) -> str:
        """Return an API key."""
        if (role, account) not in self._keys:
            made = self.services.api_keys.create(f"{role} of all", Role(role), account, INTENT)
            self._keys[role, account] = made[1]
        return self._keys[role, account]

    def __call__(
        self, method: str, path: str, body: Any = None, status: int = 200, role: str = "admin"
    ) -> Any:
        """Return what a request is answered, after a look at its status."""
        headers = {"authorization": f"Bearer {self.key(role)}"}

        async def one() -> httpx.Response:
            transport = httpx.ASGITransport(app=cast("Any", self._app))
            async with httpx.AsyncClient(transport=transport, base_url="https://x") as client:
                return await client.request(method, path, json=body, headers=headers)

        answer = self._runner.run(one())
        assert answer.status_code == status, answer.text
        return answer.json()

    def close(self) -> None:
        """End its loop."""
        self._runner.close()


@pytest.fixture(scope="module")
def quiet(data_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Quiet]:
    """The management application, with the accounts `acme` and `beta`."""
    data = tmp_path_factory.mktemp("quiet") / "data"
    shutil.copytree(data_template, data)
    unseen = lambda targets: {each: [] for each in targets}  # noqa: E731
    with folder.opened(data, {}, clock=FakeClock(), look=unseen) as found:
        add_account(found.services, "beta")
        with contextlib.closing(Quiet(found.services)) as made:
            yield made


@pytest.fixture(scope="session")
def open_incident() -> Callable[[Services, str], int]:
    """Open an incident of a host, which is added for it; return its number."""
    return incident_of
