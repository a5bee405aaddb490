"""Backups of real data folders, on SQLite and on PostgreSQL, and servers restored from them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from livepin.testing import FakeClock
from livepin_server.backups import making, restoring
from livepin_server.backups.making import Made
from livepin_server.backups.restoring import Restored, RestorePlan
from livepin_server.custody import age
from livepin_server.custody.age import Opening, Seal


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
