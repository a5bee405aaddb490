"""The evidence that goes along with a token request: signals first, then what the app adds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from livepin import jsontext
from livepin.documents.token_request import MAX_EVIDENCE, evidence_nonce
from livepin.evidence.provider import Evidence
from livepin.evidence.signals import Signals

from .watching import Watching

logger = logging.getLogger("livepin")

# Bytes of all together. A request with the most hosts, in base64, stays below its 64 KiB.
_LARGEST = 32 * 1024


class Gathering:
    """Collects evidence for one request after another, in the thread that asks for tokens.

    `news` is called where signals find something new: the tokens that are held were got without it.
    """

    def __init__(
        self,
        signals: Signals | None,
        providers: Sequence[Evidence],
        *,
        app: str,
        news: Callable[[], None],
    ) -> None:
        self._signals = signals
        self._providers = providers
        self._app = app
        self._news = news
        self._watching = Watching(lambda: self._look(thorough=True))

    def collect(self, challenge: str, thumbprint: str) -> tuple[dict[str, Any], ...]:
        """Return the evidence for a request with this challenge, by the key of this thumbprint."""
        found = []
        if self._signals is not None:
            self._watching.start()
            self._look(thorough=False)
            found.append(self._signals.evidence())
        nonce = evidence_nonce(challenge, thumbprint, self._app)
        room = _LARGEST - sum(len(jsontext.dump(each)) for each in found)
        for provider in self._providers:
            try:
                each = provider.collect(nonce)
                room -= 0 if each is None else _checked(each, room, len(found))
            except Exception as exc:  # noqa: BLE001 - a backend may ask for other evidence, or none
                logger.warning("evidence of %s is left out: %s", type(provider).__name__, exc)
                continue
            if each is not None:
                found.append(each)
        return tuple(found)

    def stop(self) -> None:
        """Stop looking for signals between requests."""
        self._watching.stop()

    def _look(self, *, thorough: bool) -> None:
        if self._signals is not None and self._signals.look(thorough=thorough):
            self._news()


def _checked(found: dict[str, Any], room: int, before: int) -> int:
    """Return the size of one piece of evidence that fits into its request.

    Raises:
        MalformedError, TypeError, ValueError: the service would refuse the request for it.
    """
    if not isinstance(found.get("format"), str):
        raise TypeError("expected a string format")
    data = jsontext.dump(found)
    jsontext.check_depth(data, limit=jsontext.MAX_DEPTH - 2)
    if len(data) > room or before >= MAX_EVIDENCE:
        raise ValueError(f"expected at most {MAX_EVIDENCE} pieces and {_LARGEST} bytes in all")
    return len(data)
