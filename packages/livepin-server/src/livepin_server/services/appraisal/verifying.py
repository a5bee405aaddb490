"""`Verifying`: what the evidence of a token request claims, and what was proved before.

What a process says of itself is read at once. What a platform or hardware says takes a database,
and longer, and is read in a thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from livepin import tokens
from livepin.documents.token_request import TokenRequest

from livepin_server.attestation.attested import Asked, Attested, EvidenceError
from livepin_server.attestation.claims import (
    NOTHING,
    SIGNALS,
    Claims,
    Proof,
    Refused,
    Signals,
    claims_of,
    proof_of,
    refused,
)
from livepin_server.services.tokens.issuing import Issuing
from livepin_server.storage.database import Database

logger = logging.getLogger("livepin.tokens")

_MOST_AT_ONCE = 16  # verifications in threads; more wait


class Verifying:
    """Verifies evidence, and keeps what it proved beyond what a process says of itself."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._room = asyncio.Semaphore(_MOST_AT_ONCE)

    async def claims(
        self, issuing: Issuing, request: TokenRequest, now: datetime
    ) -> tuple[Claims, Sequence[Proof]]:
        """Return what the evidence of a request claims, and what was proved before it.

        Raises:
            UnavailableError: the database is needed, and not there.
        """
        if not _takes_long(issuing, request):
            return (_claims(issuing, request, now, {}), ()) if request.evidence else (NOTHING, ())
        raise NotImplementedError


def _takes_long(issuing: Issuing, request: TokenRequest) -> bool:
    return issuing.policy.needs_standing(request.app) or any(
        each["format"] in _ATTESTED for each in request.evidence
    )


_Verifier = Callable[[Mapping[str, Any], Asked], Attested]


def _claims(
    issuing: Issuing, request: TokenRequest, now: datetime, verifiers: Mapping[str, _Verifier]
) -> Claims:
    signals: Signals | None = None
    proofs: list[Proof] = []
    refusals: list[Refused] = []
    asked = None
    for each in request.evidence:
        verifier = verifiers.get(each["format"])
        try:
            if each["format"] == SIGNALS:
                signals = Signals.read(each)
            elif verifier is not None:
                asked = asked or Asked.of(request, now)
                proofs.append(proof_of(verifier(each, asked)))
        except EvidenceError as exc:
            refusals.append(refused(each, exc))
    for one in refusals:
        identity = tokens.installation_id(request.account, request.key.kid)
        logger.info("evidence of %s was refused: %s: %s", identity, one.format, one.reason)
    return claims_of(proofs, signals, refusals)


_ATTESTED = frozenset(
    {"android-key-attestation", "apple-app-attest", "play-integrity", "workload-jwt"}
)
