"""Tokens checked by joserfc alone: one on each line of the input, who sent it on one of the output.

python backend_joserfc.py https://pins.example.com/v1/acme/jwks.json
"""

import json
import sys
import urllib.request

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

expected = jwt.JWTClaimsRegistry(
    leeway=10, exp={"essential": True}, aud={"essential": True, "value": "api.example.com"}
)


def installation(token: str, keys: KeySet) -> str:
    """Return who sent a token; raises JoseError or ValueError."""
    claims = jwt.decode(token, keys, algorithms=["ES256"]).claims
    expected.validate(claims)
    return claims["did"]


def main(url: str) -> None:
    # A backend reads it again when its max-age has ended, or for a kid that it does not know.
    with urllib.request.urlopen(url, timeout=5) as answer:
        keys = KeySet.import_key_set(json.loads(answer.read(262144)))
    for line in sys.stdin:
        try:
            print(installation(line.strip(), keys))
        except (JoseError, ValueError):
            print("refused")


if __name__ == "__main__":
    main(*sys.argv[1:])
