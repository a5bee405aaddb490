"""Tokens checked by joserfc alone: one on each line of the input, who sent it on one of the output.

python backend_joserfc.py https://pins.example.com/v1/acme/jwks.json
"""

import json
import math
import sys
import time
import urllib.request
from http.client import HTTPException

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import GuestProtocol, KeySet

AGE = 300  # seconds for which keys are good: those that were taken out are refused after that
INTERVAL = 60  # seconds between two tries, whatever tokens name
KEPT = 3600  # seconds for which keys outlive a JWKS that is away

expected = jwt.JWTClaimsRegistry(
    leeway=10, exp={"essential": True}, aud={"essential": True, "value": "api.example.com"}
)


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Keys come from where we say, and from nowhere else."""

    def redirect_request(self, *_: object) -> None:
        """Follow none."""


class Keys:
    """The keys of a JWKS: read when they are old, and for a `kid` that is not among them."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._opener = urllib.request.build_opener(NoRedirect)
        self._found = KeySet([])
        self._read = self._tried = -math.inf

    def __call__(self, token: GuestProtocol) -> KeySet:
        """Return the keys to look for that of a token in."""
        now = time.monotonic()
        known = any(key.kid == token.headers().get("kid") for key in self._found.keys)
        if (now - self._read >= AGE or not known) and now - self._tried >= INTERVAL:
            self._tried = now
            self._reload(now)
        return self._found if now - self._read < KEPT else KeySet([])

    def _reload(self, now: float) -> None:
        try:
            with self._opener.open(self._url, timeout=5) as answer:
                self._found = KeySet.import_key_set(json.loads(answer.read(262144)))
        except (OSError, HTTPException, ValueError, KeyError, JoseError) as exc:
            print(f"the JWKS was not read: {exc}", file=sys.stderr)
        else:
            self._read = now


def installation(token: str, keys: Keys) -> str:
    """Return who sent a token; raises JoseError or ValueError."""
    claims = jwt.decode(token, keys, algorithms=["ES256"]).claims
    expected.validate(claims)
    return claims["did"]


def main(url: str) -> None:
    keys = Keys(url)
    for line in sys.stdin:
        try:
            print(installation(line.strip(), keys))
        except (JoseError, ValueError):
            print("refused")


if __name__ == "__main__":
    main(*sys.argv[1:])
