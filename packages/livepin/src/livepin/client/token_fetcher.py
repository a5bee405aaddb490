"""One round trip to the token service, on the pinned delivery channel and no other.

What a device sends there it signs with its installation's key. Recovery URLs are never asked:
the way there is not pinned, and a token is good for whoever reads it.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from livepin.documents.token_request import TokenRequest
from livepin.errors import FetchError, LivepinError, PinningError
from livepin.trust import TrustedState

from .fetcher import Answer, Fetcher, Request
from .installation import Installation
from .overrides import Overrides
from .token_answer import MAX_SIZE, Issued, TokenAnswer
from .trusted import Trusted
from .updater import Updater

logger = logging.getLogger("livepin")

_HEADERS = {"Content-Type": "application/jose", "Accept": "application/json"}
_BROKEN_OFF = ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError


class TokenState(str, Enum):
    """Whether there is a token for a host, and why not."""

    SUCCESS = "success"
    NOT_PROTECTED = "not_protected"
    NO_NETWORK = "no_network"
    UNTRUSTED_NETWORK = "untrusted_network"
    NO_SERVICE = "no_service"


# What tells most: somebody in between, then a service that fails, then silence.
_WEIGHTS = TokenState.NO_NETWORK, TokenState.NO_SERVICE, TokenState.UNTRUSTED_NETWORK


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What came of asking: tokens by host, where the state is a success."""

    state: TokenState
    tokens: Mapping[str, Issued]


class TokenFetcher:
    """Asks for tokens, keeps the challenge for the next time, and hands on newer documents.

    One thread asks at a time. `newer` is called where there is a newer config that is not held
    afterwards; `evidence`, with a challenge and the key's thumbprint, for what goes along.
    """

    def __init__(
        self,
        trusted: Trusted,
        updater: Updater,
        fetcher: Fetcher,
        installation: Installation,
        overrides: Overrides,
        *,
        app: str,
        newer: Callable[[], object],
        evidence: Callable[[str, str], tuple[dict[str, Any], ...]] = lambda *_: (),
    ) -> None:
        self._trusted = trusted
        self._updater = updater
        self._fetcher = fetcher
        self._installation = installation
        self._overrides = overrides
        self._app = app
        self._newer = newer
        self._evidence = evidence
        self._challenge: str | None = None

    def fetch(self, hosts: Mapping[str, bytes | None], *, timeout: float) -> Fetched:
        """Ask one delivery URL after another for tokens, each with what it is to be bound to."""
        deadline = time.monotonic() + timeout
        urls = self._trusted().config.delivery.urls
        state = TokenState.NO_NETWORK
        for at, url in enumerate(urls):
            now = time.monotonic()
            # A URL that never answers leaves time for those after it.
            share = now + (deadline - now) / (len(urls) - at)
            try:
                tokens = self._ask(url.rstrip("/"), hosts, share)
            except Exception as exc:  # noqa: BLE001 - whoever waits must hear of it
                logger.warning("no tokens from %s: %s", url, exc)
                state = max(state, _state_of(exc), key=_WEIGHTS.index)
            else:
                return Fetched(state=TokenState.SUCCESS, tokens=tokens)
        return Fetched(state=state, tokens={})

    def _ask(
        self, base: str, hosts: Mapping[str, bytes | None], deadline: float
    ) -> dict[str, Issued]:
        """Ask, and once more with the fresh challenge, if that of before was not good.

        Over the same connection: a node that does not hear the others takes its own alone.
        """
        state = self._trusted()
        url = f"{base}/v1/{state.account}/token"

        def again(answer: Answer) -> bytes | None:
            if answer.status != 200:
                return None
            found = TokenAnswer.parse(answer.body)
            self._challenge = found.challenge
            return self._request(state, hosts) if found.tokens is None else None

        answer = self._fetcher.fetch(
            Request(
                url=url,
                context=self._updater.delivery_context(),
                max_bytes=MAX_SIZE,
                max_compressed=MAX_SIZE,
                timeout=max(deadline - time.monotonic(), 0.001),
                headers=_HEADERS,
                body=self._request(state, hosts),
                again=again,
            )
        )
        if answer.status != 200:
            raise FetchError(f"{url}: expected status 200, found {answer.status}", reached=True)
        found = TokenAnswer.parse(answer.body)
        self._challenge = found.challenge
        self._follow(found, state, base, deadline)
        if found.tokens is None:
            raise FetchError(f"{url}: expected tokens, found a fresh challenge twice", reached=True)
        return found.tokens

    def _request(self, state: TrustedState, hosts: Mapping[str, bytes | None]) -> bytes:
        key = self._installation.key()
        # Taken: if no answer comes, the challenge may be spent all the same.
        challenge, self._challenge = self._challenge, None
        request = TokenRequest(
            account=state.account,
            app=self._app,
            key=key.public,
            challenge=challenge,
            stream=state.stream,
            root_version=state.order[0],
            config_version=state.order[1],
            hosts=dict(hosts),
            # Without a challenge it is not read, and some of it takes hardware a second.
            evidence=() if challenge is None else self._evidence(challenge, key.public.kid),
        )
        return request.signed(key)

    def _follow(self, answer: TokenAnswer, state: TrustedState, base: str, deadline: float) -> None:
        """Adopt the documents that came along, by the same rules as those that are fetched."""
        if answer.config is not None:
            try:
                self._updater.adopt(state, answer.config, base, deadline=deadline)
            except LivepinError as exc:  # the tokens are good all the same
                logger.warning("the config that came with tokens was not taken: %s", exc)
        if answer.override is not None:
            self._overrides.take(answer.override, base, deadline=deadline)
        if answer.newest > self._trusted().order:
            self._newer()


def _state_of(error: Exception) -> TokenState:
    if isinstance(error, PinningError) or _is_unverified(error.__cause__):
        return TokenState.UNTRUSTED_NETWORK
    if isinstance(error, FetchError) and not error.reached:
        return TokenState.NO_NETWORK
    return TokenState.NO_SERVICE


def _is_unverified(cause: BaseException | None) -> bool:
    return isinstance(cause, ssl.SSLError) and not isinstance(cause, _BROKEN_OFF)
