"""What a client tells of itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from .overrides import OverrideInForce
from .token_fetcher import TokenState


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What a client trusts and how it fares; made for logs and support.

    `unreached` names what `livepin.inject` found in the process and cannot pin. `installation_id`
    is None as long as its key was not needed, `installation_problem` says what is wrong with the
    installation's key or its file, `tokens` is how the last fetch of tokens ended. `override` is
    what an override for this installation alone changes while it is in force, `override_problem`
    why the last that came was not taken. `signals` is what token requests say of this process, by
    `<signal>: <where>`.
    """

    account: str
    stream: str
    root_version: int
    version: int
    issued: datetime
    expires: datetime
    stale: bool
    clock_wrong: bool
    domains: int
    last_refresh: float | None
    last_error: str | None
    last_error_rule: int | None
    store_problem: str | None
    push: bool
    unlisted_hosts: tuple[str, ...]
    open_connections: int
    unreached: tuple[str, ...]
    installation_id: str | None
    installation_problem: str | None
    tokens: TokenState | None
    override: OverrideInForce | None
    override_problem: str | None
    signals: tuple[str, ...]
