"""A second account whose root key the test has, so that it can sign what comes next."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from livepin.documents.root import TYP
from livepin.jose import PrivateKey, parse_general, sign_general
from livepin_server.services.composition import Services
from livepin_server.services.model import Intent
from livepin_server.storage.schema import roots, streams
from sqlalchemy import insert, select

INTENT = Intent(author="bob")


@dataclass
class Beta:
    """The account `beta` and its root key."""

    services: Services
    key: PrivateKey = field(default_factory=PrivateKey.generate)
    name: str = "beta"

    def create(self) -> None:
        """Make the account."""
        accounts = self.services.accounts
        payload = accounts.prepare(self.name, [dict(self.key.public.jwk())], INTENT)
        accounts.create(self.name, sign_general(payload, typ=TYP, signers=[self.key]), INTENT)

    def add_root(self, *signers: PrivateKey, **members: Any) -> None:
        """Keep root N+1 with members changed, signed by the root key or by `signers`."""
        with self.services.database.reading() as connection:
            query = select(roots).where(roots.c.account == self.name)
            newest = connection.execute(query.order_by(roots.c.version.desc())).first()
        assert newest is not None
        payload = json.loads(parse_general(newest.document, typ=TYP).payload)
        payload |= {"version": newest.version + 1} | members
        raw = json.dumps(payload).encode()
        document = sign_general(raw, typ=TYP, signers=list(signers or (self.key,)))
        row = newest._asdict() | {"version": newest.version + 1, "document": document}
        self.services.database.write(lambda each: each.execute(insert(roots).values(**row)))


@pytest.fixture
def beta(services: Services) -> Beta:
    """The account `beta`, beside `acme`."""
    found = Beta(services)
    found.create()
    return found


@pytest.fixture
def add_stream(services: Services) -> Callable[[str], None]:
    """Give `acme` another stream."""

    def one(name: str) -> None:
        row = {"account": "acme", "name": name, "created": services.clock()}
        services.database.write(lambda each: each.execute(insert(streams).values(**row)))

    return one
