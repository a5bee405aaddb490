"""Tokens checked by PyJWT alone: one on each line of the input, who sent it on one of the output.

python backend_pyjwt.py https://pins.example.com/v1/acme/jwks.json
"""

import sys

import jwt


def installation(token: str, keys: jwt.PyJWKClient) -> str:
    """Return who sent a token; raises jwt.PyJWTError."""
    claims = jwt.decode(
        token,
        keys.get_signing_key_from_jwt(token),
        algorithms=["ES256"],
        audience="api.example.com",
        options={"require": ["exp", "aud"], "strict_aud": True},
        leeway=10,
    )
    return claims["did"]


def main(url: str) -> None:
    keys = jwt.PyJWKClient(url, lifespan=300, cooldown_duration=60)
    for line in sys.stdin:
        try:
            print(installation(line.strip(), keys))
        except jwt.PyJWTError:
            print("refused")


if __name__ == "__main__":
    main(*sys.argv[1:])
