"""What is special about each platform of workload identity: algorithms, claims, and how wide."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .attested import EvidenceError

ProfileName = Literal["kubernetes", "github", "gcp", "spiffe", "oidc"]
Claims = Mapping[str, Any]

_ECDSA = ("ES256", "ES384", "ES512")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One platform.

    `said` returns what its tokens say beside issuer and subject, or refuses by the check `claim`.
    Where everybody may have tokens of one issuer, `claims` are those that a workload must be known
    by, and `exact_subject` allows no `*`. `trust_domain` tells that the issuer is not the claim
    `iss` but the beginning of every subject.
    """

    algorithms: tuple[str, ...]
    said: Callable[[Claims], dict[str, str]]
    claims: tuple[str, ...] = ()
    exact_subject: bool = False
    trust_domain: bool = False


def text(claims: Claims, path: str, *, check: str = "claim") -> str:
    """Return the claim at a path such as `kubernetes.io/pod/name`.

    Raises:
        EvidenceError: it is not there, or no text.
    """
    found: Any = claims
    for each in path.split("/"):
        found = found.get(each) if isinstance(found, Mapping) else None
    if not isinstance(found, str) or not found:
        raise EvidenceError(check, f"expected the claim {path}")
    return found


def _kubernetes(claims: Claims) -> dict[str, str]:
    """Return what the API server says of a pod.

    A token that is bound to no pod is one that a person or a controller made, and a service
    account's token without an end has other claims.
    """
    names = ("namespace", "serviceaccount/name", "pod/name", "pod/uid")
    found = {each: text(claims, f"kubernetes.io/{each}") for each in names}
    subject = f"system:serviceaccount:{found['namespace']}:{found['serviceaccount/name']}"
    if claims["sub"] != subject:
        raise EvidenceError("claim", f"expected the subject to be {subject[:200]}, as claimed")
    return found


def _github(claims: Claims) -> dict[str, str]:
    return {each: text(claims, each) for each in ("repository", "job_workflow_ref", "sha")}


def _gcp(claims: Claims) -> dict[str, str]:
    names = ("project_id", "zone", "instance_id")
    return {each: text(claims, f"google/compute_engine/{each}") for each in names}


def _nothing_more(_: Claims) -> dict[str, str]:
    return {}


PROFILES: Mapping[ProfileName, Profile] = {
    "kubernetes": Profile(algorithms=("RS256", *_ECDSA), said=_kubernetes),
    "github": Profile(algorithms=("RS256",), said=_github, claims=("repository",)),
    "gcp": Profile(algorithms=("RS256",), said=_gcp, exact_subject=True),
    "spiffe": Profile(  # JWT-SVID, section 2
        algorithms=("RS256", "RS384", "RS512", *_ECDSA, "PS256", "PS384", "PS512"),
        said=_nothing_more,
        trust_domain=True,
    ),
    "oidc": Profile(algorithms=("RS256", *_ECDSA), said=_nothing_more),
}
