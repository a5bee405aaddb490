"""Workload identity: a JWT in which a platform says which workload it runs.

Where a platform lets the workload choose the audience of its token, the nonce of the request
belongs into it: `AUDIENCE#NONCE`, the nonce in base64url without padding. Such a token is made
for this request and no other. With the audience alone a token says the same, but who has read it
may send it as well: it is relayable, for as long as it lives.

- Kubernetes: the TokenRequest API, for a token bound to the pod; projected tokens are relayable
- GitHub Actions: `&audience=` of the token's URL, percent-encoded
- Google Cloud: `?audience=` of the metadata server, percent-encoded, with `format=full`
- SPIFFE: the audience of FetchJWTSVID

None of them says what code runs: at most which image or workflow was to be started.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from livepin import jsontext
from livepin.errors import LivepinError, MalformedError
from livepin.jose import b64url_decode, b64url_encode

from livepin_server.errors import InvalidError

from .attested import Asked, Attested, EvidenceError
from .issuer_keys import MAX_KID, FetchedKeys, GivenKeys, IssuerKey, IssuerKeySource
from .profiles import PROFILES, Claims, Profile, ProfileName, text

FORMAT = "workload-jwt"
MAX_TOKEN = 16 * 1024  # characters; those of platforms have about 1,500
MAX_AGE = timedelta(hours=1)  # what Kubernetes and Google make lives as long
LEEWAY = timedelta(seconds=60)  # for an issuer whose clock is ahead

_MAX_HEADER = 512  # characters; joserfc takes no more
# Parameters that bring their own key, or change what is signed (RFC 7515, 4.1; RFC 7797).
_REFUSED_PARAMETERS = frozenset({"crit", "b64", "jwk", "jku", "x5u", "x5c"})
_TYPES = (None, "JWT", "JOSE")  # JWT-SVID, section 2.3; RFC 8725, section 3.11
_SHOWN = 200  # characters of a claim

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]


class Workload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which workloads, as which issuer names them, are an app.

    `issuer` is the claim `iss`; for SPIFFE the trust domain, as `spiffe://example.org`. `subject`
    and the values of `claims` are exact, or end in `*` and are what it begins with. `claims` are
    named by path, as in `kubernetes.io/namespace`. The keys are in `jwks`, or are fetched from
    `jwks_url`, where `ca` (PEM) takes the place of the system's trust anchors.
    """

    profile: ProfileName
    issuer: Text
    audience: Text
    subject: Text
    claims: Annotated[dict[Text, Text], msgspec.Meta(max_length=16)] = {}
    jwks: dict[str, Any] | None = None
    jwks_url: Text | None = None
    ca: Annotated[str, msgspec.Meta(max_length=65536)] | None = None

    def checked(self) -> Workload:
        """Return the same, if it can be used and does not mean everybody.

        Raises:
            InvalidError: no keys, or none that can be used; whom it means is too wide.
        """
        if "#" in self.audience:
            raise InvalidError("workload: expected an audience without #: the nonce follows it")
        for each in (self.subject, *self.claims.values()):
            if "*" in each[:-1] or each == "*":
                raise InvalidError(f"workload: expected a * at the end alone, found {each!r}")
        profile = PROFILES[self.profile]
        missing = [each for each in profile.claims if each not in self.claims]
        if missing:
            raise InvalidError(
                f"workload: expected the claim {missing[0]}",
                hint="everybody has tokens of this issuer",
            )
        if profile.exact_subject and self.subject.endswith("*"):
            raise InvalidError("workload: expected an exact subject, everybody has such tokens")
        if profile.trust_domain and not self.subject.startswith(f"{self.issuer}/"):
            raise InvalidError(f"workload: expected a subject below {self.issuer}/")
        self.key_source()
        return self

    def key_source(self) -> IssuerKeySource:
        """Return where the keys are from, to be kept for as long as this is in force.

        Raises:
            InvalidError: not one of `jwks` and `jwks_url`, or it cannot be used.
        """
        if (self.jwks is None) == (self.jwks_url is None):
            raise InvalidError("workload: expected either jwks or jwks_url")
        try:
            if self.jwks_url is None:
                return GivenKeys(jsontext.dump(self.jwks))
            return FetchedKeys(self.jwks_url, ca=self.ca)
        except LivepinError as exc:
            raise InvalidError(f"workload: {exc}", hint=exc.hint) from exc


def read_kid(evidence: Mapping[str, Any]) -> str:
    """Return the name of the key that signed a token, to look it up. Nothing is verified.

    Raises:
        EvidenceError: check `format`, `size`, `malformed` or `header`.
    """
    return _token(evidence).kid


def verify_workload(
    evidence: Mapping[str, Any], asked: Asked, workload: Workload, keys: Sequence[IssuerKey]
) -> Attested:
    """Return what a token proves; `keys` are those of the issuer that have the token's `kid`.

    Raises:
        EvidenceError: check `format`, `size`, `malformed`, `header`, `algorithm`, `key`,
            `signature`, `issuer`, `audience`, `nonce`, `time`, `expired`, `too_old`, `subject` or
            `claim`.
    """
    token, profile = _token(evidence), PROFILES[workload.profile]
    if token.algorithm not in profile.algorithms:
        raise EvidenceError("algorithm", f"expected one of {', '.join(profile.algorithms)}")
    claims = _verified(token, keys)
    _check_issuer(claims, workload, profile)
    bound = _is_bound(claims.get("aud"), workload.audience, asked.nonce)
    _check_times(claims, asked.now)
    _check("subject", text(claims, "sub", check="subject"), workload.subject)
    for path, wanted in workload.claims.items():
        _check("claim", text(claims, path), wanted, path)
    said = {"issuer": workload.issuer, "subject": claims["sub"], **profile.said(claims)}
    return Attested(
        format=FORMAT,
        level="platform",
        bound=bound,
        said={name: _shown(each) for name, each in said.items()},
    )


@dataclass(frozen=True, slots=True)
class _Token:
    """The parts of a token, its header looked at and nothing verified."""

    text: str
    algorithm: str
    kid: str
    payload: bytes


def _token(evidence: Mapping[str, Any]) -> _Token:
    if evidence.get("format") != FORMAT:
        raise EvidenceError("format", f"expected {FORMAT}")
    found = evidence.get("token")
    if not isinstance(found, str) or not found.isascii():
        raise EvidenceError("malformed", "expected a JWT in the member token")
    if len(found) > MAX_TOKEN:
        raise EvidenceError("size", f"expected at most {MAX_TOKEN} characters, found {len(found)}")
    parts = found.encode().split(b".", 3)
    if len(parts) != 3:
        raise EvidenceError("malformed", "expected a JWT of three parts")
    try:
        head, payload, _ = map(b64url_decode, parts)  # one way to write each
    except MalformedError as exc:
        raise EvidenceError("malformed", str(exc)) from exc
    if len(parts[0]) > _MAX_HEADER:
        raise EvidenceError("header", f"expected at most {_MAX_HEADER} characters")
    header = _object(head)
    refused = _REFUSED_PARAMETERS & header.keys()
    if refused:
        raise EvidenceError("header", f"expected no parameter {sorted(refused)[0]}")
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or header.get("typ") not in _TYPES:
        raise EvidenceError("header", "expected the header of a signed JWT")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID:
        raise EvidenceError("header", f"expected a kid of at most {MAX_KID} characters")
    return _Token(found, algorithm, kid, payload)


def _verified(token: _Token, keys: Sequence[IssuerKey]) -> Claims:
    """Return the claims of a token that one of `keys` has signed."""
    key = next((each for each in keys if each.kid == token.kid), None)
    if key is None:
        raise EvidenceError("key", f"expected a key of the issuer, found {_shown(token.kid)!r}")
    if token.algorithm not in key.algorithms:
        raise EvidenceError("algorithm", f"expected one of {', '.join(key.algorithms)}")
    registry = jws.JWSRegistry(algorithms=[token.algorithm], strict_check_header=False)
    try:
        jws.deserialize_compact(token.text, key.key, registry=registry)
    except (JoseError, ValueError) as exc:
        raise EvidenceError("signature", "expected one by the key that it names") from exc
    return _object(token.payload)


def _object(raw: bytes) -> dict[str, Any]:
    try:
        jsontext.check_depth(raw)
        return jsontext.parse_object(raw)
    except MalformedError as exc:
        raise EvidenceError("malformed", _shown(str(exc))) from exc


def _check_issuer(claims: Claims, workload: Workload, profile: Profile) -> None:
    if profile.trust_domain:
        right = text(claims, "sub", check="subject").startswith(f"{workload.issuer}/")
    else:
        right = text(claims, "iss", check="issuer") == workload.issuer
    if not right:
        raise EvidenceError("issuer", f"expected {workload.issuer}")


def _is_bound(audience: object, expected: str, nonce: bytes) -> bool:
    """Tell whether a token that is for us is for this request alone."""
    # One audience: each of several could send it to the others.
    found = audience[0] if isinstance(audience, list) and len(audience) == 1 else audience
    if found == expected:
        return False
    if found == f"{expected}#{b64url_encode(nonce).decode()}":
        return True
    if isinstance(found, str) and found.startswith(f"{expected}#"):
        raise EvidenceError("nonce", "expected the nonce of this request in the audience")
    raise EvidenceError("audience", f"expected {expected} alone, found {_shown(str(found))!r}")


def _check_times(claims: Claims, now: datetime) -> None:
    issued, ends = _seconds(claims, "iat"), _seconds(claims, "exp")
    latest = (now + LEEWAY).timestamp()
    if issued > latest or ("nbf" in claims and _seconds(claims, "nbf") > latest):
        raise EvidenceError("time", "expected a token that is valid already")
    if ends <= now.timestamp():
        raise EvidenceError("expired", "expected a token that has not ended")
    # Whatever end it has: by then it may have come into logs and backups.
    if issued < (now - MAX_AGE).timestamp():
        raise EvidenceError("too_old", f"expected a token that was made in the last {MAX_AGE}")


def _seconds(claims: Claims, name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise EvidenceError("time", f"expected the claim {name} to be a number")
    return value


def _check(check: str, found: str, wanted: str, name: str = "") -> None:
    """Refuse what is not `wanted`, or does not begin with what stands before its `*`."""
    if found == wanted or (wanted.endswith("*") and found.startswith(wanted[:-1])):
        return
    what = f"{name} to be {wanted}" if name else wanted
    raise EvidenceError(check, f"expected {what}, found {_shown(found)!r}")


def _shown(found: str) -> str:
    """Return a text that somebody else wrote as the log may show it."""
    return "".join(each if each.isprintable() else "?" for each in found[:_SHOWN])
