"""What the tests of the ceremony share: keys, and roots signed by them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from livepin.documents import Role, Root
from livepin.documents.root import TYP
from livepin.jose import PrivateKey, sign_general

NOW = dt.datetime(2026, 11, 23, 12, tzinfo=dt.timezone.utc)


def role(*keys: PrivateKey, threshold: int = 1) -> Role:
    """Return the role of these keys."""
    return Role(keys={each.public.kid: each.public for each in keys}, threshold=threshold)


@pytest.fixture(scope="session")
def keys() -> dict[str, PrivateKey]:
    """Keys by name: three root keys, two generations of the server's, and a stranger's."""
    names = ("alice", "bob", "carol", "config", "override", "config2", "override2", "stranger")
    return {name: PrivateKey.generate() for name in names}


@pytest.fixture
def make_root(keys: dict[str, PrivateKey]) -> Callable[..., Root]:
    """Make a root of `acme`: version 1 by alice alone, unless members are said."""

    def one(
        version: int = 1,
        root: Sequence[str] = ("alice",),
        *,
        threshold: int = 1,
        generation: str = "",
        **members: Any,
    ) -> Root:
        online = {name: role(keys[name + generation]) for name in ("config", "override")}
        found = {"account": "acme", "issued": NOW, "expires": NOW + dt.timedelta(days=1095)}
        roles = {"root": role(*(keys[each] for each in root), threshold=threshold), **online}
        return Root(version=version, roles=roles, **(found | members))

    return one


@pytest.fixture
def sign(keys: dict[str, PrivateKey]) -> Callable[..., bytes]:
    """Sign a root, or a payload, with the keys of these names."""

    def one(root: Root | bytes, *names: str) -> bytes:
        payload = root if isinstance(root, bytes) else root.payload()
        return sign_general(payload, typ=TYP, signers=[keys[name] for name in names or ("alice",)])

    return one
