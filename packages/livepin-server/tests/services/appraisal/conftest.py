"""Installations that were seen, and what their evidence claimed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from livepin_server.attestation.appraisal import appraise
from livepin_server.attestation.claims import NOTHING, Claims, Signal, Signals, claims_of
from livepin_server.services.audit.log import Wanted
from livepin_server.services.composition import Services
from livepin_server.services.tokens.recording import Seen


@pytest.fixture(scope="session")
def found() -> Callable[..., Claims]:
    """Return the claims of a process that found these signals."""

    def one(*names: str) -> Claims:
        signals = tuple(Signal(each, "x") for each in names)
        return claims_of((), Signals(format="signals", sdk="python", found=signals), ())

    return one


@pytest.fixture
def see(services: Services, clock: Callable[[], datetime]) -> Callable[..., None]:
    """Have an installation seen with claims, appraised by the policy in force; write it down."""

    def one(identity: str, claims: Claims = NOTHING, *, app: str = "shop", **more: Any) -> None:
        view, now = services.policies.show("acme"), clock()
        appraisal = appraise(view.policy, app, claims, more.get("standing", ()), now)
        services.recording.note(
            Seen(
                account="acme",
                id=identity,
                thumbprint=identity + "t" * 21,
                app=app,
                stream="main",
                config_version=1,
                moment=now,
                claims=claims,
                appraisal=appraisal,
                policy=view.version,
            )
        )
        services.recording.keep()

    return one


@pytest.fixture
def entries(services: Services) -> Callable[[str], list[Any]]:
    """Return the entries of an action in the audit log, the oldest first."""

    def one(action: str) -> list[Any]:
        page = services.audit.log("acme", Wanted(action=action), limit=1000)
        return [each.entry for each in reversed(page.items)]

    return one
