"""A token and a proof that somebody saw on their way, used again, or for something else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from livepin.jose import PrivateKey
from livepin.middleware.memory import SeenProofs
from livepin.testing import FakeClock, TokenIssuer

if TYPE_CHECKING:
    from conftest import Backend

FIELD, PROOF = "Livepin-Token", "DPoP"
URL = "https://api.example.com/pay"
Start = Callable[..., "Backend"]


@pytest.fixture
def pay(backend: Start, issuer: TokenIssuer) -> Any:
    """A backend that asks for proofs, and a token that it has taken before."""
    made, token = backend(proof=True), issuer.token()
    request = {"method": "POST", "path": "/pay"}
    first = (FIELD, token), (PROOF, issuer.proof(token, "POST", URL))
    assert made.ask(*first, **request).status == 200

    class Pay:
        def taken(self, proof: str) -> None:
            assert made.ask((FIELD, token), (PROOF, proof), **request).status == 200

        def refused(self, reason: str, *proofs: str, **changes: str) -> None:
            fields = [(PROOF, each) for each in proofs]
            made.refuses(reason, (FIELD, token), *fields, **(request | changes))

    pay: Any = Pay()
    pay.token, pay.first, pay.backend = token, first[1][1], made
    return pay


def test_a_token_without_a_proof(pay: Any) -> None:
    pay.refused("proof")
    pay.refused("proof", "")
    pay.refused("proof", pay.token)


def test_the_same_proof_again(pay: Any, issuer: TokenIssuer, clock: FakeClock) -> None:
    """For as long as it lives, by the clock of whoever made it: up to a minute ahead of ours."""
    pay.refused("replayed", pay.first)
    ahead = int(clock.now.timestamp()) + 60
    proof = issuer.proof(pay.token, "POST", URL, iat=ahead)
    pay.taken(proof)
    clock.advance(seconds=120)
    pay.refused("replayed", proof)
    clock.advance(seconds=1)
    pay.refused("proof", proof)


def test_two_proofs(pay: Any, issuer: TokenIssuer) -> None:
    fresh = [issuer.proof(pay.token, "POST", URL) for _ in range(2)]
    before = len(pay.backend.seen)
    fields = [(PROOF, each) for each in fresh]
    assert pay.backend.ask((FIELD, pay.token), *fields, method="POST", path="/pay").status == 401
    assert len(pay.backend.seen) == before


def test_a_proof_for_another_method_or_url(pay: Any, issuer: TokenIssuer) -> None:
    pay.refused("proof", issuer.proof(pay.token, "GET", URL))
    pay.refused("proof", issuer.proof(pay.token, "post", URL))
    pay.refused("proof", issuer.proof(pay.token, "POST", URL), path="/refund")
    pay.refused("proof", issuer.proof(pay.token, "POST", URL), path="/pay/")
    pay.refused("proof", issuer.proof(pay.token, "POST", URL), method="PUT")
    for url in (
        "https://evil.example/pay",
        "http://api.example.com/pay",
        "https://api.example.com/pay?x",
        "https://api.example.com:8443/pay",
        "/pay",
    ):
        pay.refused("proof", issuer.proof(pay.token, "POST", url))


def test_a_host_that_the_sender_names(pay: Any, issuer: TokenIssuer) -> None:
    """A proof for a server of the attacker's, which passes it on under that server's name."""
    proof = issuer.proof(pay.token, "POST", "https://evil.example/pay")
    fields = (FIELD, pay.token), (PROOF, proof), ("X-Forwarded-Host", "evil.example")
    pay.backend.refuses("proof", *fields, method="POST", path="/pay")


def test_a_proof_of_another_token_or_of_another_key(
    pay: Any, issuer: TokenIssuer, clock: FakeClock
) -> None:
    pay.refused("proof", issuer.proof(issuer.token(), "POST", URL))
    thief = TokenIssuer(issuer.audience, clock=clock)
    pay.refused("proof", thief.proof(pay.token, "POST", URL))
    genuine, issuer.installation = issuer.installation, PrivateKey.generate()
    pay.refused("proof", issuer.proof(pay.token, "POST", URL))
    issuer.installation = genuine
    pay.taken(issuer.proof(pay.token, "POST", URL))


def test_an_old_proof(pay: Any, issuer: TokenIssuer, clock: FakeClock) -> None:
    made = int(clock.now.timestamp())
    for away in (-61, 61):
        pay.refused("proof", issuer.proof(pay.token, "POST", URL, iat=made + away))


def test_so_many_proofs_that_one_would_have_to_be_forgotten(pay: Any, issuer: TokenIssuer) -> None:
    pay.backend.check._proofs = SeenProofs(limit=1)
    pay.taken(issuer.proof(pay.token, "POST", URL))
    proof = issuer.proof(pay.token, "POST", URL)
    reply = pay.backend.ask((FIELD, pay.token), (PROOF, proof), method="POST", path="/pay")
    assert (reply.status, pay.backend.refused[-1]) == (503, "full")


def test_proofs_that_are_refused_take_no_room(pay: Any, issuer: TokenIssuer) -> None:
    pay.backend.check._proofs = SeenProofs(limit=1)
    for _ in range(5):
        pay.refused("proof", issuer.proof(pay.token, "GET", URL))
    pay.taken(issuer.proof(pay.token, "POST", URL))
