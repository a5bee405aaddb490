"""What a backend remembers, for how long, and how much of it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from livepin.middleware.memory import SeenProofs, VerifiedTokens
from livepin.testing import FakeClock, TokenIssuer
from livepin.tokens import PROOF_AGE, TokenError


def test_a_token_is_remembered_until_it_ends(issuer: TokenIssuer, clock: FakeClock) -> None:
    memory, claims, key = VerifiedTokens(), issuer.claims(), issuer.key.public()
    memory.put("token", claims, key)
    assert memory.get("token", (key,), now=claims.expires - timedelta(seconds=1)) is claims
    assert memory.get("another", (key,), now=clock.now) is None
    assert memory.get("token", (key,), now=claims.expires) is None
    assert memory.get("token", (key,), now=clock.now) is None, "it was forgotten"


def test_a_key_that_left_takes_its_tokens_along(issuer: TokenIssuer, clock: FakeClock) -> None:
    memory, claims, key = VerifiedTokens(), issuer.claims(), issuer.key.public()
    for others in ((), (issuer.new_key().public(),)):
        memory.put("token", claims, key)
        assert memory.get("token", others, now=clock.now) is None
        assert memory.get("token", (key,), now=clock.now) is None


def test_the_oldest_token_makes_room(issuer: TokenIssuer, clock: FakeClock) -> None:
    memory, claims, key = VerifiedTokens(limit=2), issuer.claims(), issuer.key.public()
    for token in "abbc":
        memory.put(token, claims, key)
    found = [memory.get(token, (key,), now=clock.now) is claims for token in "abc"]
    assert found == [False, True, True]


def test_a_proof_is_taken_once_by_each_installation(issuer: TokenIssuer, clock: FakeClock) -> None:
    memory, mine = SeenProofs(), issuer.claims()
    memory.spend("jti", mine, now=clock.now)
    memory.spend("jti", issuer.claims(thumbprint="another"), now=clock.now)
    with pytest.raises(TokenError) as caught:
        memory.spend("jti", mine, now=clock.now)
    assert caught.value.reason == "replayed"


def test_a_proof_is_known_for_as_long_as_it_could_be_taken(
    issuer: TokenIssuer, clock: FakeClock
) -> None:
    """One that is dated ahead by its age is taken until two ages later."""
    memory, claims = SeenProofs(), issuer.claims()
    memory.spend("jti", claims, now=clock.now)
    clock.now += 2 * PROOF_AGE
    with pytest.raises(TokenError, match="not seen before"):
        memory.spend("jti", claims, now=clock.now)
    clock.advance(seconds=1)
    memory.spend("jti", claims, now=clock.now)


def test_a_full_memory_refuses_until_there_is_room(issuer: TokenIssuer, clock: FakeClock) -> None:
    memory, claims = SeenProofs(limit=2), issuer.claims()
    memory.spend("a", claims, now=clock.now)
    clock.advance(seconds=60)
    memory.spend("b", claims, now=clock.now)
    with pytest.raises(TokenError) as caught:
        memory.spend("c", claims, now=clock.now)
    assert caught.value.reason == "full"
    clock.advance(seconds=61)
    memory.spend("c", claims, now=clock.now)
    with pytest.raises(TokenError, match="not seen before"):
        memory.spend("b", claims, now=clock.now)
