"""What the policy in force needs of an app: that does not go away unnoticed."""

from __future__ import annotations

from sqlalchemy import Connection

from livepin_server.attestation.attested import Level
from livepin_server.attestation.policy import rank
from livepin_server.errors import ConflictError
from livepin_server.services.appraisal.policies import newest


def require_level(
    connection: Connection, account: str, app: str, before: Level, after: Level
) -> None:
    """Refuse a change after which an app can no longer prove what it must.

    Raises:
        ConflictError: every installation of it would be shut out.
    """
    policy = newest(connection, account).policy
    needed = policy.of(app).level if policy.takes(app) else None
    if rank(after) < rank(needed) <= rank(before):
        raise ConflictError(
            f"the policy in force needs the level {needed} of {app}, which nothing else proves",
            hint="give it what proves it, or ask for less first: livepin policy set --help",
        )


def require_releases(connection: Connection, account: str, app: str) -> None:
    """Refuse that an app has no release any more, if it must be one.

    Raises:
        ConflictError: every installation of it would be shut out.
    """
    if newest(connection, account).policy.of(app).release:
        raise ConflictError(
            f"the policy in force takes registered releases of {app} alone, and this is the last",
            hint=f"livepin app release add {app}; or livepin policy set --release {app}=off",
        )
