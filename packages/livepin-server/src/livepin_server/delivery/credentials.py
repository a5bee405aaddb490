"""Who may read the keys that are for backends only: an API key with the scope `tokens`."""

from __future__ import annotations

import asyncio

from livepin_server.errors import ForbiddenError, UnavailableError
from livepin_server.services import api_key_text
from livepin_server.services.api_keys import ApiKeys
from livepin_server.services.model import Area, Role
from livepin_server.services.rights import may

_LONGEST = 256
_AT_ONCE = 4  # look-ups; strangers may not keep the threads of the server
_REFUSED = "expected a credential for this JWK Set"


class Credentials:
    """Verifies credentials."""

    def __init__(self, api_keys: ApiKeys) -> None:
        self._api_keys = api_keys
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def require(self, given: str, account: str, address: str) -> None:
        """Require that an `Authorization` field opens the JWK Set of an account.

        Raises:
            ForbiddenError: it does not. UnavailableError: it cannot be looked up now.
        """
        scheme, _, text = given.partition(" ")
        text = text.strip()
        # What is no key at all costs no look-up.
        if scheme.lower() != "bearer" or len(text) > _LONGEST or not api_key_text.parse(text):
            raise ForbiddenError(_REFUSED)
        if self._room.locked():
            raise UnavailableError("too many credentials are looked up", hint="try again")
        async with self._room:
            try:
                principal = await asyncio.to_thread(self._api_keys.verify, text, address)
            except ForbiddenError as exc:
                raise ForbiddenError(_REFUSED) from exc
        if principal.account not in (None, account) or not may(principal, Role.VIEWER, Area.TOKENS):
            raise ForbiddenError(_REFUSED)
