"""Genuine tokens of a platform where they do not belong: for others, of others, or of before."""

from __future__ import annotations

import datetime as dt

import pytest
from asking import NOW, asked
from livepin_server.attestation.attested import EvidenceError
from livepin_server.attestation.profiles import PROFILES
from livepin_server.attestation.workload import verify_workload
from minting_workload import AT, AUDIENCE, Issuer, bound_to, evidence

ASKED = asked()
HOUR = dt.timedelta(hours=1)

# Somebody else's workload, as the same platform names it.
OTHERS = {
    "kubernetes": {"sub": "system:serviceaccount:shop:default"},
    "github": {"sub": "repo:octo/shop-evil:ref:refs/heads/main"},
    "gcp": {"sub": "104894"},
    "spiffe": {"sub": "spiffe://example.org/ns/shop/checkout/evil"},
    "oidc": {"sub": "project:shop"},
}


@pytest.fixture(scope="module", params=PROFILES)
def issuer(request):
    return Issuer(request.param)


def verified(issuer, token, request=ASKED, **changes):
    workload = issuer.workload(**changes)
    keys = workload.key_source().named(issuer.kid)
    return verify_workload(evidence(token), request, workload, keys)


def refused(*arguments, **changes):
    with pytest.raises(EvidenceError) as caught:
        verified(*arguments, **changes)
    return caught.value.check


def test_made_for_another_service(issuer):
    for aud in ("vault", f"{AUDIENCE}.example.com", "", AUDIENCE.upper(), f"x{AUDIENCE}"):
        assert refused(issuer, issuer.token(aud=aud)) == "audience"


def test_made_for_several_services_of_which_we_are_one(issuer):
    """Each of them could send it to us."""
    for aud in ([AUDIENCE, "vault"], ["vault", bound_to(ASKED.nonce)], [AUDIENCE, AUDIENCE]):
        assert refused(issuer, issuer.token(aud=aud)) == "audience"


def test_of_another_issuer_that_signs_with_the_same_key(issuer):
    changes = {"iss": "https://evil.example"}
    if issuer.profile == "spiffe":
        changes = {"sub": "spiffe://example.com/ns/shop/checkout"}
    assert refused(issuer, issuer.token(**changes)) == "issuer"


def test_of_another_workload(issuer):
    assert refused(issuer, issuer.token(**OTHERS[issuer.profile])) == "subject"


def test_of_a_fork_with_the_same_subject():
    issuer = Issuer("github")
    assert refused(issuer, issuer.token(repository="evil/shop")) == "claim"
    claims = {"repository": "octo/shop", "event_name": "push"}
    found = issuer.token(event_name="pull_request_target")
    assert refused(issuer, found, claims=claims) == "claim"


def test_of_a_day_before(issuer):
    assert refused(issuer, issuer.token(), asked(now=NOW + 24 * HOUR)) == "expired"
    endless = issuer.token(exp=AT + 10**9)
    assert refused(issuer, endless, asked(now=NOW + HOUR)) == "too_old"
    assert refused(issuer, issuer.token(exp=...)) == "time"


def test_relayed_from_another_installation_it_is_known_as_relayable(issuer):
    """A token that names no request is as good for the thief: policies can ask for more."""
    token = issuer.token()
    assert not verified(issuer, token, asked("of the thief")).bound


def test_bound_to_one_request_it_is_of_no_use_for_another(issuer):
    token = issuer.token(aud=bound_to(ASKED.nonce))
    assert verified(issuer, token).bound
    assert refused(issuer, token, asked("of the thief")) == "nonce"
