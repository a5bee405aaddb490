"""Token requests and JWK Sets: verified, judged and signed in the event loop, from memory.

A request costs one verification and a signature for each token; the database is not asked, unless
a platform or hardware is to prove something. What is to be kept of installations is noted, and
written by somebody else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

import msgspec
from livepin import tokens
from livepin.documents.token_request import TokenRequest
from livepin.errors import VerificationError

from livepin_server.attestation.appraisal import appraise
from livepin_server.errors import UnavailableError
from livepin_server.services.appraisal.verifying import Verifying
from livepin_server.services.tokens.challenges import Challenges
from livepin_server.services.tokens.issuing import Issuing
from livepin_server.services.tokens.recording import Recording, Seen
from livepin_server.telemetry.metrics import Metrics

logger = logging.getLogger("livepin.tokens")

_encode = msgspec.json.Encoder().encode


class TokenDesk:
    """Answers token requests of all accounts. For the thread of the event loop."""

    def __init__(
        self,
        challenges: Challenges,
        verifying: Verifying,
        recording: Recording,
        metrics: Metrics,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self.challenges = challenges
        self._verifying = verifying
        self._recording = recording
        self._metrics = metrics
        self._clock = clock
        self._issuing: dict[str, Issuing] = {}

    def replace(self, issuing: Issuing) -> None:
        """Issue tokens of an account like this from now on."""
        self._issuing[issuing.account] = issuing

    def forget(self, account: str) -> None:
        """Issue no tokens of an account: what they are made of cannot be read."""
        self._issuing.pop(account, None)

    @property
    def verifies_android(self) -> bool:
        """Whether any app is registered as one of Android's."""
        held = list(self._issuing.values())  # a job asks, in a thread
        apps = (each for issuing in held for each in issuing.apps.values())
        return any(each.android is not None for each in apps)

    async def answer(self, account: str, body: bytes) -> bytes:
        """Return the answer to a request.

        Raises:
            VerificationError: it is no request, or not for this account.
            UnavailableError: no tokens of the account are issued now, or what its evidence proves
                cannot be kept.
        """
        issuing = self._of(account)
        request = TokenRequest.read(body)
        if request.account != account:
            raise VerificationError(5, f"expected a request for {account}")
        if request.stream not in issuing.streams:
            raise VerificationError(5, f"expected a stream of {account}")
        now, key = self._clock(), request.key.kid
        good = request.challenge is not None and self.challenges.spend(
            request.challenge, account, key, now
        )
        fresh = self.challenges.make(account, key, now)
        if not good:
            self._metrics.token_requests.labels(account, "challenged").inc()
            return _encode(issuing.challenged(request, fresh))
        claims, standing = await self._verifying.claims(issuing, request, now)
        appraisal = appraise(issuing.policy, request.app, claims, standing, now)
        answer = issuing.answer(request, fresh, now, appraisal)
        self._metrics.token_requests.labels(account, "answered").inc()
        if appraisal.rule != "pass":
            self._metrics.refused.labels(account, appraisal.verdict, appraisal.rule).inc()
        self._recording.note(
            Seen(
                account=account,
                id=tokens.installation_id(account, key),
                thumbprint=key,
                app=request.app,
                stream=request.stream,
                config_version=request.config_version,
                moment=now,
                claims=claims,
                appraisal=appraisal,
                policy=issuing.policy_version,
            )
        )
        return _encode(answer)

    def jwks(self, account: str, *, restricted: bool) -> bytes:
        """Return the JWK Set of an account.

        Raises:
            UnavailableError: its keys are not at hand now.
        """
        return self._of(account).jwks(self._clock(), restricted=restricted)

    def _of(self, account: str) -> Issuing:
        found = self._issuing.get(account)
        if found is None:
            raise UnavailableError("no tokens are issued here now", hint="try again in a moment")
        return found
