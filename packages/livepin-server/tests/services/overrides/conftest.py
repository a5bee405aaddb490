"""A device that asked for a token, in an account with pinned domains; and what its app trusts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from livepin import tokens
from livepin.trust import TrustedState
from livepin_server.services.composition import Services
from livepin_server.services.model import Intent
from livepin_server.services.overrides.model import NewOverride, OverrideView
from livepin_server.services.tokens.recording import Seen

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


@dataclass(frozen=True)
class Device:
    """An installation of an app, and what its app would do with what the server has for it."""

    services: Services
    thumbprint: str = "t" * 43

    @property
    def id(self) -> str:
        """Its id in `acme`."""
        return tokens.installation_id("acme", self.thumbprint)

    def asks(self, moment: datetime, *, stream: str = "main") -> None:
        """Have it be known, as by a token request."""
        self.services.recording.note(
            Seen(
                account="acme", id=self.id, thumbprint=self.thumbprint, app="app", stream=stream,
                config_version=1, moment=moment,
            )
        )  # fmt: skip
        self.services.recording.keep()

    def delivered(self, now: datetime) -> bytes | None:
        """Return what is delivered for it."""
        found = self.services.published.overrides("acme").get(self.thumbprint)
        return found.raw if found is not None and now < found.until else None

    def trusts(self, now: datetime, state: TrustedState | None = None) -> TrustedState:
        """Return the state of its app, once it has what is delivered; a new one's unless said."""
        if state is None:
            bootstrap = self.services.published.bootstrap("acme", "main")
            state = TrustedState.from_bootstrap(bootstrap)
        raw = self.delivered(now)
        if raw is None:
            return state
        return state.advance_override(raw, thumbprint=self.thumbprint, now=now)


@pytest.fixture
def device(services: Services, clock: Callable[[], datetime], add_domain: Any) -> Device:
    """A device that asked for a token; `api.example.com` is pinned, and requests carry tokens."""
    add_domain(HOST, token=True)
    found = Device(services)
    found.asks(clock())
    return found


@pytest.fixture
def create(services: Services, intent: Intent) -> Callable[..., OverrideView]:
    """Create an override, as an admin does."""

    def one(installation: str = "latest", *domains: str, **members: Any) -> OverrideView:
        mode = {} if "mode" in members or "pins" in members else {"mode": "off"}
        new = NewOverride(
            installation=installation, domains=list(domains or (HOST,)), **mode, **members
        )
        return services.overrides.create("acme", new, intent, tested=False)

    return one
