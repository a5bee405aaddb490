"""Tokens as platforms make them, signed by an issuer of our own, with either of two libraries."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import jwt
from asking import NOW
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey
from livepin.jose import b64url_encode
from livepin_server.attestation.workload import FORMAT, Workload

AUDIENCE = "livepin"
AT = int(NOW.timestamp())

# What each platform says, beside issuer, audience and times.
CLAIMS: dict[str, dict[str, Any]] = {
    "kubernetes": {
        "sub": "system:serviceaccount:shop:checkout",
        "nbf": AT - 10,
        "kubernetes.io": {
            "namespace": "shop",
            "node": {"name": "node-1", "uid": "7e1f"},
            "pod": {"name": "checkout-6d4", "uid": "0a51"},
            "serviceaccount": {"name": "checkout", "uid": "c1d2"},
        },
    },
    "github": {
        "sub": "repo:octo/shop:ref:refs/heads/main",
        "nbf": AT - 310,
        "repository": "octo/shop",
        "repository_owner": "octo",
        "job_workflow_ref": "octo/shop/.github/workflows/deploy.yml@refs/heads/main",
        "sha": "9f0c6b2e",
        "event_name": "push",
    },
    "gcp": {
        "sub": "104893",
        "email": "checkout@shop.iam.gserviceaccount.com",
        "email_verified": True,
        "google": {
            "compute_engine": {
                "project_id": "shop",
                "project_number": 1234,
                "zone": "europe-west1-b",
                "instance_id": "887766",
                "instance_name": "checkout-1",
            }
        },
    },
    "spiffe": {"sub": "spiffe://example.org/ns/shop/checkout"},
    "oidc": {"sub": "project:shop:checkout"},
}
ISSUERS = {
    "kubernetes": "https://kubernetes.default.svc.cluster.local",
    "github": "https://token.actions.githubusercontent.com",
    "gcp": "https://accounts.google.com",
    "spiffe": "spiffe://example.org",
    "oidc": "https://ci.example.com",
}
WANTED = {"github": {"repository": "octo/shop"}}  # claims that are asked for
ALGORITHMS = {"kubernetes": "RS256", "github": "RS256", "gcp": "RS256", "spiffe": "ES256"}


def evidence(token: str) -> dict[str, Any]:
    """Return evidence as it stands in a token request."""
    return {"format": FORMAT, "token": token}


def bound_to(nonce: bytes, audience: str = AUDIENCE) -> str:
    """Return the audience that a workload asks its platform for."""
    return f"{audience}#{b64url_encode(nonce).decode()}"


@dataclass
class Issuer:
    """A platform: its keys, and what it says of one workload."""

    profile: str
    kid: str = "key-1"
    algorithm: str = ""
    key: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.algorithm = self.algorithm or ALGORITHMS.get(self.profile, "ES256")
        if self.key is None and self.algorithm.startswith("ES"):
            curves = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}
            self.key = ec.generate_private_key(curves[self.algorithm]())
        elif self.key is None:
            self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @property
    def name(self) -> str:
        """The issuer, as a workload is configured with it."""
        return ISSUERS[self.profile]

    def jwk(self, **changes: Any) -> dict[str, Any]:
        """Return the public key, with other members if they are said; `...` removes one."""
        kind = ECKey if isinstance(self.key, ec.EllipticCurvePrivateKey) else RSAKey
        found = kind.import_key(self.key.public_key()).as_dict(private=False)
        found |= {"kid": self.kid, "use": "sig", "alg": self.algorithm} | changes
        return {name: value for name, value in found.items() if value is not ...}

    def jwks(self) -> bytes:
        """Return what stands at the issuer's URL."""
        return json.dumps({"keys": [self.jwk()]}).encode()

    def workload(self, **changes: Any) -> Workload:
        """Return what an operator configures for this workload."""
        members = {
            "profile": self.profile,
            "issuer": self.name,
            "audience": AUDIENCE,
            "subject": CLAIMS[self.profile]["sub"],
            "claims": WANTED.get(self.profile, {}),
            "jwks": json.loads(self.jwks()),
        }
        return Workload(**(members | changes))

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Return the claims of a token, with others if they are said; `...` removes one."""
        found = {"aud": AUDIENCE, "iat": AT - 10, "exp": AT + 600, **CLAIMS[self.profile]}
        if self.profile != "spiffe":
            found["iss"] = self.name
        return {name: value for name, value in (found | changes).items() if value is not ...}

    def token(self, **changes: Any) -> str:
        """Return a token, minted with joserfc."""
        return self.signed(json.dumps(self.claims(**changes)).encode())

    def signed(self, payload: bytes, *, key: Any = None, **header: Any) -> str:
        """Return a signature on whatever this is; `header` changes its own, `...` removes one."""
        head = {"alg": self.algorithm, "kid": self.kid, "typ": "JWT"} | header
        head = {name: value for name, value in head.items() if value is not ...}
        key = self.key if key is None else key
        kind = ECKey if isinstance(key, ec.EllipticCurvePrivateKey) else RSAKey
        registry = jws.JWSRegistry(algorithms=[self.algorithm], strict_check_header=False)
        return jws.serialize_compact(head, payload, kind.import_key(key), registry=registry)

    def by_pyjwt(self, **changes: Any) -> str:
        """Return a token, minted with PyJWT."""
        headers = {"kid": self.kid}
        return jwt.encode(self.claims(**changes), self.key, self.algorithm, headers)
