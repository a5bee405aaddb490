"""The token request: what an installation signs to get tokens.

It proves that whoever signed holds the key in it, and nothing else. See `spec/tokens.md`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from livepin import hostnames, jsontext
from livepin.errors import MalformedError, VerificationError
from livepin.jose import (
    PublicKey,
    Signer,
    b64url_decode,
    b64url_encode,
    parse_compact,
    sign_compact,
)

from .members import Members

TYP = "livepin-token-request+jws"
MAX_SIZE = 64 * 1024  # bytes
MAX_HOSTS = 32
MAX_EVIDENCE = 16
MAX_CHALLENGE = 128  # characters
BINDING = 32  # bytes of a SHA-256

_APP = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
_KNOWN = {
    "account", "app", "key", "challenge", "stream", "root_version", "config_version", "hosts",
    "evidence", "critical",
}  # fmt: skip
_KNOWN_HOST = {"host", "bind", "critical"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """A token request whose payload keeps rule 4.

    `hosts` are those for which tokens are wanted, each with the SHA-256 of what its token is to
    be bound to, or None. `challenge` is None where the installation has none yet.
    """

    account: str
    app: str
    key: PublicKey
    challenge: str | None
    stream: str
    root_version: int
    config_version: int
    hosts: dict[str, bytes | None]
    evidence: tuple[dict[str, Any], ...] = ()

    @classmethod
    def read(cls, raw: bytes) -> TokenRequest:
        """Return the request in `raw`, a compact JWS by the key that it holds.

        Raises:
            VerificationError: rule 1 to 4.
        """
        if len(raw) > MAX_SIZE:
            raise VerificationError(1, f"expected at most {MAX_SIZE} bytes, found {len(raw)}")
        try:
            jws = parse_compact(raw, typ=TYP)
        except MalformedError as exc:
            raise VerificationError(2, str(exc)) from exc
        (signature,) = jws.signatures
        request = cls.parse(jws.payload)
        if signature.kid != request.key.kid:
            raise VerificationError(2, "expected the thumbprint of the request's own key as kid")
        if not signature.verified_by(request.key):
            raise VerificationError(3, "expected a signature by the request's own key")
        return request

    @classmethod
    def parse(cls, payload: bytes) -> TokenRequest:
        """Return the request in `payload`.

        Raises:
            VerificationError: rule 1 or 4.
        """
        members = Members.parse(payload, where="request", known=_KNOWN)
        return cls(
            account=members.name("account"),
            app=_app(members),
            key=_key(members),
            challenge=_challenge(members),
            stream=members.name("stream") if members.has("stream") else "main",
            root_version=members.version("root_version"),
            config_version=members.version("config_version"),
            hosts=_hosts(members),
            evidence=_evidence(members),
        )

    def payload(self) -> bytes:
        """Return the payload to be signed."""
        challenge = {} if self.challenge is None else {"challenge": self.challenge}
        return jsontext.dump(
            {
                "account": self.account,
                "app": self.app,
                "key": self.key.jwk(),
                **challenge,
                "stream": self.stream,
                "root_version": self.root_version,
                "config_version": self.config_version,
                "hosts": [_host_json(*each) for each in self.hosts.items()],
                "evidence": list(self.evidence),
            }
        )

    def signed(self, signer: Signer) -> bytes:
        """Return the request, signed by the key that it holds."""
        return sign_compact(self.payload(), typ=TYP, signer=signer)


def evidence_nonce(challenge: str, thumbprint: str, app: str) -> bytes:
    """Return the 32 bytes that bind evidence to its request, its installation and its app.

    Of evidence about the installation's key itself `challenge` and `thumbprint` are empty: it is
    made before there is either (`spec/tokens.md`, Evidence).
    """
    parts = "livepin-evidence-nonce", challenge, thumbprint, app
    encoded = [each.encode("ascii") for each in parts]
    return hashlib.sha256(
        b"".join(len(each).to_bytes(4, "big") + each for each in encoded)
    ).digest()


def is_app_name(text: str) -> bool:
    """Tell whether this is a name that an app may give itself."""
    return _APP.match(text) is not None


def _app(members: Members) -> str:
    app = members.text("app")
    if not is_app_name(app):
        raise members.refused("app", "1 to 128 of A-Z, a-z, 0-9, dots, hyphens and underscores")
    return app


def _key(members: Members) -> PublicKey:
    try:
        return PublicKey.from_jwk(members.mapping("key"))
    except MalformedError as exc:
        raise VerificationError(4, f"request.key: {exc}") from exc


def _challenge(members: Members) -> str | None:
    if not members.has("challenge"):
        return None
    challenge = members.text("challenge")
    if len(challenge) > MAX_CHALLENGE:
        raise members.refused("challenge", f"at most {MAX_CHALLENGE} characters")
    return challenge


def _hosts(members: Members) -> dict[str, bytes | None]:
    listed = members.items("hosts")
    if len(listed) > MAX_HOSTS:
        raise members.refused("hosts", f"at most {MAX_HOSTS} hosts")
    hosts: dict[str, bytes | None] = {}
    for each in listed:
        one = Members(each, where="request.hosts", known=_KNOWN_HOST)
        host = one.text("host")
        if host in hosts or not _is_normal(host):
            raise one.refused("host", "a normalised host, once in the list")
        hosts[host] = _binding(one)
    return hosts


def _is_normal(host: str) -> bool:
    try:
        return hostnames.normalise(host) == host
    except MalformedError:
        return False


def _binding(members: Members) -> bytes | None:
    if not members.has("bind"):
        return None
    text = members.text("bind")
    try:
        value = b64url_decode(text.encode())
    except (MalformedError, UnicodeEncodeError) as exc:
        raise members.refused("bind", "base64url") from exc
    if len(value) != BINDING:
        raise members.refused("bind", f"base64url of {BINDING} bytes")
    return value


def _evidence(members: Members) -> tuple[dict[str, Any], ...]:
    listed = members.items("evidence")
    if len(listed) > MAX_EVIDENCE:
        raise members.refused("evidence", f"at most {MAX_EVIDENCE} objects")
    if not all(isinstance(each, dict) and isinstance(each.get("format"), str) for each in listed):
        raise members.refused("evidence", "objects with a string format")
    return tuple(listed)


def _host_json(host: str, binding: bytes | None) -> dict[str, str]:
    if binding is None:
        return {"host": host}
    return {"host": host, "bind": b64url_encode(binding).decode()}
