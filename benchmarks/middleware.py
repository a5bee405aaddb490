"""What checking a token costs a backend, with one that it has verified before and with a new one.

Each of many tokens is checked once by the middleware, then by PyJWT with the same key at hand, then
again by the middleware, which remembers it now. Medians are taken, in CPU time of this thread. The
request is there already, so that neither a server nor a framework is measured.
"""

from __future__ import annotations

import gc
import statistics
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import jwt
from livepin.middleware.check import Request, TokenCheck
from livepin.middleware.memory import MAX_TOKENS, VerifiedTokens
from livepin.testing import TokenIssuer

BUDGET = "none of its own; a new token costs one ES256 verification, which is most of PyJWT's, too"

_TOKENS = 2_000
_HOST = "api.example.com"
_BEARER = "Bearer user"


def run() -> dict[str, Any]:
    """Return microseconds per check, and their ratio to PyJWT's."""
    issuer = TokenIssuer(_HOST)
    plain = TokenCheck(audience=_HOST, jwks=issuer.jwks())
    bound = TokenCheck(audience=_HOST, jwks=issuer.jwks(), bind="Authorization")
    proven = TokenCheck(audience=_HOST, jwks=issuer.jwks(), proof=True)
    times: dict[str, list[float]] = {}
    gc.disable()
    try:
        for _ in range(_TOKENS):
            for name, one in _checks(issuer, plain, bound, proven).items():
                times.setdefault(name, []).append(_spent(one))
    finally:
        gc.enable()
    medians = {name: statistics.median(found) * 1e6 for name, found in times.items()}
    reference = medians["PyJWT"]
    found: dict[str, Any] = {
        name: {"µs": round(median, 1), "of PyJWT's": round(median / reference, 2)}
        for name, median in medians.items()
    }
    return {f"{MAX_TOKENS:,} remembered tokens, KiB": _remembered(issuer)} | found


def _checks(
    issuer: TokenIssuer, plain: TokenCheck, bound: TokenCheck, proven: TokenCheck
) -> dict[str, Callable[[], Any]]:
    """Return the checks of one token, in the order in which they are to be made."""
    token = issuer.token(bound_to=_BEARER.encode())
    key = issuer.key.public().key.key  # type: ignore[union-attr]
    request = _request(token)
    bound.check(request)
    proof = issuer.proof(token, "GET", f"https://{_HOST}/")
    proven.check(_request(token, proof))
    proof = issuer.proof(token, "GET", f"https://{_HOST}/")
    return {
        "a new token": lambda: plain.check(request),
        "PyJWT": lambda: jwt.decode(
            token, key, algorithms=["ES256"], audience=_HOST, options={"require": ["exp"]}
        ),
        "a token seen before": lambda: plain.check(request),
        "seen before, bound to a header": lambda: bound.check(request),
        "seen before, with a new proof": lambda: proven.check(_request(token, proof)),
    }


def _request(token: str, *proofs: str) -> Request:
    fields = {"Livepin-Token": (token,), "Authorization": (_BEARER,), "DPoP": proofs}
    return Request(method="GET", path="/", values=fields.__getitem__)


def _spent(one: Callable[[], Any]) -> float:
    began = time.thread_time()
    one()
    return time.thread_time() - began


def _remembered(issuer: TokenIssuer) -> int:
    """Return what a full memory of tokens takes, in KiB."""
    memory, key = VerifiedTokens(), issuer.key.public()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(MAX_TOKENS):
            memory.put(str(number), issuer.claims(bound_to=b"x"), key)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return round((after - before) / 1024)
