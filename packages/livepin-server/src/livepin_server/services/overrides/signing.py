"""Signing an override by the account's key for that, and checking its bytes as the app will."""

from __future__ import annotations

from datetime import datetime, timedelta

from livepin.documents import Domain, Override, override
from livepin.jose import sign_compact
from msgspec import Struct
from sqlalchemy import Connection

from livepin_server.custody.keeping import Custody
from livepin_server.errors import ConflictError
from livepin_server.services import key_rows, roots
from livepin_server.services.publishing.check import check_override
from livepin_server.services.publishing.counting import next_version

from .building import pin_sets


class Device(Struct, frozen=True, kw_only=True):
    """The installation that an override is for, and the stream that its app follows."""

    id: str
    thumbprint: str
    stream: str


def sign(
    connection: Connection,
    custody: Custody,
    account: str,
    device: Device,
    domains: tuple[Domain, ...],
    *,
    lives: timedelta,
    now: datetime,
) -> tuple[Override, bytes]:
    """Return an override under the newest root, and its bytes as signed.

    Raises:
        InvalidError: the app would refuse it. ConflictError: the server holds no key for it, or
            the app would take it for one that has expired. CustodyError: the key does not open.
    """
    root, _ = roots.newest(connection, account)
    signer = key_rows.signer(connection, custody, account, "override", root)
    if signer is None:
        raise ConflictError(
            f"the server holds no override key that root {root.version} of {account} names",
            hint="publish a new root that names the server's keys",
        )
    issued = now.replace(microsecond=0)
    made = Override(
        account=account,
        installation=device.thumbprint,
        root_version=root.version,
        version=next_version(connection, account),
        issued=issued,
        expires=issued + lives,
        pin_sets=pin_sets(domains),
        domains=domains,
    )
    raw = sign_compact(made.payload(), typ=override.TYP, signer=signer)
    state = check_override(
        connection, account, device.stream, raw, thumbprint=device.thumbprint, now=now
    )
    if domains and state.trusted_override is None:
        raise ConflictError(
            f"the app would take this override for expired: its config was issued at "
            f"{state.latest_issued:%Y-%m-%d %H:%M} UTC, and it goes by that (rule 8)",
            hint="the clock of a server was ahead; a new root cures that: livepin root prepare",
        )
    return made, raw
