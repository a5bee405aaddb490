"""What verifiers of evidence are told, and what they answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from livepin.documents.token_request import TokenRequest, evidence_nonce
from livepin.jose import PublicKey

# What evidence honestly proves, the least first:
# self          the process says so itself; nobody else does
# platform      the platform that runs it says so: which workload, on which kind of device
# hardware_key  the key of the installation is in secure hardware, and cannot be copied
# hardware_app  secure hardware says which app asked, on a device whose boot was verified
Level = Literal["self", "platform", "hardware_key", "hardware_app"]
LEVELS: tuple[Level, ...] = ("self", "platform", "hardware_key", "hardware_app")


class EvidenceError(Exception):
    """Evidence was refused. `check` names the check that failed; for the log, never the client."""

    def __init__(self, check: str, message: str) -> None:
        super().__init__(f"{check}: {message}")
        self.check = check


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The token request that evidence came with, and when.

    `nonce` is what fresh evidence carries, `key_nonce` what evidence about `key` itself does.
    """

    account: str
    app: str
    key: PublicKey
    nonce: bytes
    key_nonce: bytes
    now: datetime

    @classmethod
    def of(cls, request: TokenRequest, now: datetime) -> Asked:
        """Return what a request, whose challenge was good, asks."""
        return cls(
            account=request.account,
            app=request.app,
            key=request.key,
            nonce=evidence_nonce(request.challenge or "", request.key.kid, request.app),
            key_nonce=evidence_nonce("", "", request.app),
            now=now,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Attested:
    """What evidence proved. `bound` is false where it is relayable: it may be another device's.

    `said` is what else it says, in words for the audit log.
    """

    format: str
    level: Level
    bound: bool = True
    said: Mapping[str, str] = field(default_factory=dict)
