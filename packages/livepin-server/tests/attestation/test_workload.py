"""What tokens of platforms prove, and which check refuses what is wrong with one."""

from __future__ import annotations

import datetime as dt
import json

import msgspec
import pytest
from asking import NOW, asked
from livepin_server.attestation.attested import EvidenceError
from livepin_server.attestation.issuer_keys import FetchedKeys, GivenKeys
from livepin_server.attestation.profiles import PROFILES
from livepin_server.attestation.workload import MAX_TOKEN, Workload, read_kid, verify_workload
from livepin_server.errors import InvalidError
from minting_workload import AT, AUDIENCE, CLAIMS, ISSUERS, Issuer, bound_to, evidence

ASKED = asked()


@pytest.fixture(scope="module")
def issuers():
    """One of each platform."""
    return {profile: Issuer(profile) for profile in PROFILES}


@pytest.fixture
def spiffe(issuers):
    return issuers["spiffe"]


def verified(issuer, token, request=ASKED, **changes):
    """Verify a token as whoever has configured its issuer does."""
    workload, found = issuer.workload(**changes).checked(), evidence(token)
    return verify_workload(found, request, workload, workload.key_source().named(read_kid(found)))


def refused(check, issuer, token, request=ASKED, **changes):
    with pytest.raises(EvidenceError) as caught:
        verified(issuer, token, request, **changes)
    assert caught.value.check == check
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("profile", PROFILES)
def test_a_token_says_which_workload_runs(issuers, profile):
    issuer = issuers[profile]
    attested = verified(issuer, issuer.token())
    assert (attested.format, attested.level) == ("workload-jwt", "platform")
    assert attested.said["subject"] == CLAIMS[profile]["sub"]
    assert attested.said["issuer"] == ISSUERS[profile]
    assert verified(issuer, issuer.by_pyjwt()) == attested


@pytest.mark.parametrize("profile", PROFILES)
def test_it_is_bound_where_its_audience_carries_the_nonce(issuers, profile):
    issuer = issuers[profile]
    assert not verified(issuer, issuer.token()).bound
    assert not verified(issuer, issuer.token(aud=[AUDIENCE])).bound
    assert verified(issuer, issuer.token(aud=bound_to(ASKED.nonce))).bound
    assert verified(issuer, issuer.token(aud=[bound_to(ASKED.nonce)])).bound


def test_what_else_it_says_is_for_the_log(issuers):
    said = {name: verified(each, each.token()).said for name, each in issuers.items()}
    assert said["kubernetes"]["pod/name"] == "checkout-6d4"
    assert said["kubernetes"]["namespace"] == "shop"
    assert said["github"]["repository"] == "octo/shop"
    assert said["github"]["sha"] == "9f0c6b2e"
    assert said["gcp"]["instance_id"] == "887766"
    sub = "spiffe://example.org/a\x1b[31m" + "b" * 300
    shown = verified(
        issuers["spiffe"], issuers["spiffe"].token(sub=sub), subject="spiffe://example.org/*"
    ).said["subject"]
    assert shown == "spiffe://example.org/a?[31m" + "b" * 173


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256", "PS384", "PS512"])
def test_every_algorithm_of_spiffe_is_taken(algorithm):
    issuer = Issuer("spiffe", algorithm=algorithm)
    assert verified(issuer, issuer.token()).level == "platform"


@pytest.mark.parametrize("algorithm", ["ES384", "ES512"])
def test_every_curve_is_taken(algorithm):
    issuer = Issuer("oidc", algorithm=algorithm)
    assert verified(issuer, issuer.by_pyjwt()).level == "platform"


@pytest.mark.parametrize(
    ("subject", "right"),
    [
        ("spiffe://example.org/ns/shop/checkout", True),
        ("spiffe://example.org/ns/*", True),
        ("spiffe://example.org/ns/shop/checkout*", True),
        ("spiffe://example.org/ns/shop", False),
        ("spiffe://example.org/ns/shop/checkouts", False),
        ("spiffe://example.org/ms/*", False),
    ],
)
def test_a_subject_is_exact_or_ends_in_a_star(spiffe, subject, right):
    if right:
        assert verified(spiffe, spiffe.token(), subject=subject)
    else:
        refused("subject", spiffe, spiffe.token(), subject=subject)


def test_claims_are_named_by_their_path(issuers):
    issuer, claims = issuers["kubernetes"], {"kubernetes.io/node/name": "node-*"}
    assert verified(issuer, issuer.token(), claims=claims)
    refused("claim", issuer, issuer.token(), claims={"kubernetes.io/node/name": "node-2"})
    refused("claim", issuer, issuer.token(), claims={"kubernetes.io/node/zone": "a"})
    refused("claim", issuer, issuer.token(), claims={"nbf/x": "a"})
    refused("claim", issuer, issuer.token(), claims={"kubernetes.io": "a"})


@pytest.mark.parametrize(
    ("check", "changes"),
    [
        ("issuer", {"iss": "https://ci.example.org"}),
        ("issuer", {"iss": ...}),
        ("issuer", {"iss": 1}),
        ("audience", {"aud": "other"}),
        ("audience", {"aud": [AUDIENCE, "other"]}),
        ("audience", {"aud": []}),
        ("audience", {"aud": ...}),
        ("audience", {"aud": {"livepin": 1}}),
        ("audience", {"aud": "livepin2"}),
        ("nonce", {"aud": "livepin#"}),
        ("nonce", {"aud": bound_to(asked("before").nonce)}),
        ("time", {"iat": ...}),
        ("time", {"exp": ...}),
        ("time", {"exp": True}),
        ("time", {"exp": "2030"}),
        ("time", {"iat": AT + 61}),
        ("time", {"nbf": AT + 61}),
        ("time", {"nbf": None}),
        ("expired", {"exp": AT}),
        ("expired", {"exp": -(10**300)}),
        ("too_old", {"iat": AT - 3601, "exp": AT + 10**6}),
        ("subject", {"sub": "project:shop:admin"}),
        ("subject", {"sub": ...}),
        ("subject", {"sub": ["project:shop:checkout"]}),
    ],
)
def test_what_is_wrong_with_a_token_has_a_name(issuers, check, changes):
    issuer = issuers["oidc"]
    refused(check, issuer, issuer.token(**changes))


def test_times_may_be_fractions_and_a_minute_ahead(issuers):
    issuer = issuers["oidc"]
    assert verified(issuer, issuer.token(iat=AT + 59.5, nbf=AT + 60, exp=AT + 0.5))
    assert verified(issuer, issuer.token(iat=AT - 3600))
    later = asked(now=NOW + dt.timedelta(seconds=600))
    refused("expired", issuer, issuer.token(), later)


@pytest.mark.parametrize(
    ("check", "header"),
    [
        ("header", {"kid": ...}),
        ("header", {"kid": ""}),
        ("header", {"kid": "k" * 257}),
        ("header", {"kid": "k" * 400}),
        ("header", {"typ": "at+jwt"}),
        ("header", {"jku": "https://example.com/jwks"}),
        ("header", {"x5c": ["MIIB"]}),
        ("key", {"kid": "key-2"}),
    ],
)
def test_what_is_wrong_with_a_header_has_a_name(spiffe, check, header):
    payload = json.dumps(spiffe.claims()).encode()
    refused(check, spiffe, spiffe.signed(payload, **header))


def test_the_signature_is_by_the_key_that_it_names(spiffe):
    refused("signature", spiffe, Issuer("spiffe").token())


@pytest.mark.parametrize("typ", ["JWT", "JOSE", ...])
def test_a_token_says_what_it_is_or_nothing(spiffe, typ):
    assert verified(spiffe, spiffe.signed(json.dumps(spiffe.claims()).encode(), typ=typ))


@pytest.mark.parametrize(
    "payload", [b"[]", b"{", b'{"sub":1,"sub":2}', b'{"exp":1e999}', b"[" * 20, b"\xff"]
)
def test_a_payload_that_is_no_object(spiffe, payload):
    refused("malformed", spiffe, spiffe.signed(payload))


@pytest.mark.parametrize(
    ("check", "members"),
    [
        ("format", {"format": "signals"}),
        ("malformed", {"token": None}),
        ("malformed", {"token": "é.a.b"}),
        ("malformed", {"token": "a.b"}),
        ("malformed", {"token": "a.b.c.d"}),
        ("malformed", {"token": "e30=.e30.AAAA"}),
        ("malformed", {"token": "AAAA.e30.AAAA"}),
        ("header", {"token": "e30.e30.AAAA"}),
        ("size", {"token": "A" * (MAX_TOKEN + 1)}),
    ],
)
def test_what_is_wrong_with_the_evidence_has_a_name(check, members):
    with pytest.raises(EvidenceError) as caught:
        read_kid({"format": "workload-jwt"} | members)
    assert caught.value.check == check


# -- what is special about each ------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["namespace", "pod", "serviceaccount"])
def test_kubernetes_names_a_pod_and_its_account(issuers, missing):
    issuer, said = issuers["kubernetes"], dict(CLAIMS["kubernetes"]["kubernetes.io"])
    del said[missing]
    refused("claim", issuer, issuer.token(**{"kubernetes.io": said}))


def test_kubernetes_has_one_word_for_an_account(issuers):
    issuer, said = issuers["kubernetes"], dict(CLAIMS["kubernetes"]["kubernetes.io"])
    refused("claim", issuer, issuer.token(**{"kubernetes.io": said | {"namespace": "default"}}))


@pytest.mark.parametrize(
    ("profile", "missing"), [("github", "job_workflow_ref"), ("github", "sha"), ("gcp", "google")]
)
def test_github_and_google_say_where_it_runs(issuers, profile, missing):
    issuer = issuers[profile]
    refused("claim", issuer, issuer.token(**{missing: ...}))


def test_spiffe_has_no_issuer_but_the_trust_domain(spiffe):
    assert verified(spiffe, spiffe.token(iss="https://oidc.example.org"))
    workload = spiffe.workload(subject="spiffe://example.org/*")
    for sub in ["spiffe://example.org", "spiffe://example.com/x", "spiffe://example.organ/x"]:
        found = evidence(spiffe.token(sub=sub))
        with pytest.raises(EvidenceError, match=r"^issuer: "):
            verify_workload(found, ASKED, workload, workload.key_source().named("key-1"))


def test_the_algorithm_is_one_of_the_platform_and_of_the_key(issuers, spiffe):
    other = Issuer("github", algorithm="ES256")
    refused("algorithm", other, other.token())
    rsa = Issuer("spiffe", algorithm="PS256")
    narrow = json.loads(rsa.jwks())
    narrow["keys"][0]["alg"] = "RS256"
    refused("algorithm", rsa, rsa.token(), jwks=narrow)


# -- as it is configured -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("profile", "changes", "why"),
    [
        ("oidc", {"audience": "a#b"}, "an audience without #"),
        ("oidc", {"subject": "*"}, r"a \* at the end alone"),
        ("oidc", {"subject": "a*b"}, r"a \* at the end alone"),
        ("oidc", {"claims": {"a": "*"}}, r"a \* at the end alone"),
        ("oidc", {"jwks": None}, "either jwks or jwks_url"),
        ("oidc", {"jwks_url": "https://example.com/jwks"}, "either jwks or jwks_url"),
        ("oidc", {"jwks": {"keys": []}}, "found none"),
        ("oidc", {"jwks": {"keys": 10**40}}, "the member keys"),
        ("oidc", {"jwks": None, "jwks_url": "http://example.com/jwks"}, "https URL"),
        ("oidc", {"jwks": None, "jwks_url": "https://example.com/", "ca": "x"}, "in PEM"),
        ("github", {"claims": {}}, "the claim repository"),
        ("gcp", {"subject": "10*"}, "an exact subject"),
        ("spiffe", {"subject": "spiffe://example.com/*"}, "a subject below spiffe://example.org/"),
        ("spiffe", {"subject": "spiffe://example.*"}, "a subject below spiffe://example.org/"),
    ],
)
def test_what_cannot_be_used_or_means_everybody_is_refused(issuers, profile, changes, why):
    with pytest.raises(InvalidError, match=why):
        issuers[profile].workload(**changes).checked()


def test_keys_are_given_or_fetched(spiffe):
    assert isinstance(spiffe.workload().checked().key_source(), GivenKeys)
    workload = spiffe.workload(jwks=None, jwks_url="https://example.com/keys").checked()
    assert isinstance(workload.key_source(), FetchedKeys)


@pytest.mark.parametrize(
    "changes", [{"profile": "aws"}, {"subject": ""}, {"other": 1}, {"claims": {"a": 1}}]
)
def test_a_workload_has_its_members_and_no_others(spiffe, changes):
    members = msgspec.to_builtins(spiffe.workload())
    assert msgspec.convert(members, Workload) == spiffe.workload()
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(members | changes, Workload)
