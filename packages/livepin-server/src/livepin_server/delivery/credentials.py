"""Who may read the keys that are for backends only: an API key with the scope `tokens`."""

from __future__ import annotations

import asyncio
import logging

from livepin_server.errors import ForbiddenError, UnavailableError
from livepin_server.services.api_keys import ApiKeys
from livepin_server.services.model import Area, Role
from livepin_server.services.rights import may

_LONGEST = 256

logger = logging.getLogger("livepin.tokens")


class Credentials:
    """Verifies credentials."""

    def __init__(self, api_keys: ApiKeys) -> None:
        self._api_keys = api_keys

    async def allow(self, given: str, account: str, address: str) -> bool:
        """Tell whether an `Authorization` field opens the JWK Set of an account."""
        scheme, _, text = given.partition(" ")
        if scheme.lower() != "bearer" or len(text) > _LONGEST:
            return False
        try:
            principal = await asyncio.to_thread(self._api_keys.verify, text.strip(), address)
        except ForbiddenError:
            return False
        except UnavailableError as exc:
            logger.warning("a credential could not be looked up: %s", exc)
            return False
        return principal.account in (None, account) and may(principal, Role.VIEWER, Area.TOKENS)
