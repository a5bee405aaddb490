"""Tokens of Play Integrity, as Google makes them, and Google itself, which opens them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from joserfc import jwe, jws, jwt
from joserfc.jwk import ECKey, OctKey, RSAKey
from livepin.jose import b64url_encode
from livepin_server.attestation.attested import Asked
from livepin_server.attestation.play import PlayApp, ServiceAccount
from minted_android import PACKAGE, SIGNED_BY

_OPENED_BY = {"alg": "A256KW", "enc": "A256GCM"}


def payload(asked: Asked, **changes: Any) -> dict[str, Any]:
    """Return what Google says of the genuine app on a genuine device, but for what is changed.

    A change is an object of some of its members; None takes one away.
    """
    found: dict[str, dict[str, Any]] = {
        "requestDetails": {
            "requestPackageName": PACKAGE,
            "nonce": b64url_encode(asked.nonce).decode(),
            "timestampMillis": str(int(asked.now.timestamp() * 1000)),
        },
        "appIntegrity": {
            "appRecognitionVerdict": "PLAY_RECOGNIZED",
            "packageName": PACKAGE,
            "certificateSha256Digest": [b64url_encode(bytes.fromhex(SIGNED_BY)).decode()],
            "versionCode": "42",
        },
        "deviceIntegrity": {
            "deviceRecognitionVerdict": ["MEETS_DEVICE_INTEGRITY", "MEETS_STRONG_INTEGRITY"]
        },
        "accountDetails": {"appLicensingVerdict": "LICENSED"},
    }
    for name, members in changes.items():
        merged = found.get(name, {}) | members
        found[name] = {key: value for key, value in merged.items() if value is not None}
    return found


@dataclass(frozen=True)
class Keys:
    """The two keys of an app's page in the Play Console, and what Google has of them."""

    opens: bytes = bytes(range(32))
    signs: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    def app(self, **changes: Any) -> PlayApp:
        """Return the app as it is registered with them."""
        public = self.signs.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        members = {
            "package": PACKAGE,
            "certificates": [SIGNED_BY],
            "decryption_key": base64.b64encode(self.opens).decode(),
            "verification_key": base64.b64encode(public).decode(),
        }
        return PlayApp(**members | changes)

    def token(self, payload: Mapping[str, Any] | bytes, **header: Any) -> str:
        """Return the token of a classic request."""
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        signed = jws.serialize_compact({"alg": "ES256"}, data, ECKey.import_key(self.signs))
        return self.sealed(signed, **header)

    def sealed(self, inner: str, **header: Any) -> str:
        """Return what the app's decryption key opens."""
        allowed = ["A256KW", "A256GCM", "DEF", "dir"]
        key = OctKey.import_key(self.opens)
        return jwe.encrypt_compact(_OPENED_BY | header, inner, key, algorithms=allowed)


@dataclass
class Google:
    """What answers at Google's two addresses; `post` is for `livepin.testing.RecordingServer`.

    `answers` replaces what it says at a path.
    """

    keys: Keys = field(default_factory=Keys)
    asked: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    lives: int = 3600

    @cached_property
    def key(self) -> rsa.RSAPrivateKey:
        """The key of the service account."""
        return rsa.generate_private_key(65537, 2048)

    def account(self) -> ServiceAccount:
        """Return the service account that may ask."""
        pem = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return ServiceAccount(
            client_email="livepin@project.iam.gserviceaccount.com",
            private_key=pem.decode(),
            private_key_id="key1",
        )

    def app(self) -> PlayApp:
        """Return the app as it is registered with the service account."""
        return self.keys.app(
            decryption_key=None, verification_key=None, service_account=self.account()
        )

    def post(
        self, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """Answer a request."""
        self.asked.append((path, headers, body))
        if path in self.answers:
            return self.answers[path]
        return self._token(body) if path == "/token" else self._decode(path, headers, body)

    def _token(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        form = {name: value for name, (value,) in parse_qs(body.decode()).items()}
        claims = jwt.decode(
            form["assertion"], RSAKey.import_key(self.key.public_key()), algorithms=["RS256"]
        ).claims
        good = (
            form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
            and claims["iss"] == self.account().client_email
            and claims["scope"] == "https://www.googleapis.com/auth/playintegrity"
            and claims["exp"] - claims["iat"] == 3600
        )
        if not good:
            return 400, {}, b'{"error":"invalid_grant"}'
        count = sum(each[0] == "/token" for each in self.asked)
        found = {"access_token": f"ya29.{count}", "expires_in": self.lives, "token_type": "Bearer"}
        return 200, {}, json.dumps(found).encode()

    def _decode(
        self, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        if not headers.get("authorization", "").startswith("Bearer ya29."):
            return 401, {}, b'{"error":{"code":401,"status":"UNAUTHENTICATED"}}'
        if path != f"/v1/{PACKAGE}:decodeIntegrityToken":
            return 403, {}, b'{"error":{"code":403,"status":"PERMISSION_DENIED"}}'
        token = json.loads(body)["integrityToken"]
        try:
            opened = jwe.decrypt_compact(
                token, OctKey.import_key(self.keys.opens), algorithms=[*_OPENED_BY.values()]
            )
            assert opened.plaintext is not None
            signed = jws.deserialize_compact(
                opened.plaintext, ECKey.import_key(self.keys.signs), algorithms=["ES256"]
            )
        except Exception:
            return 400, {}, b'{"error":{"code":400,"status":"INVALID_ARGUMENT"}}'
        found = {"tokenPayloadExternal": json.loads(signed.payload)}
        return 200, {"Content-Type": "application/json"}, json.dumps(found).encode()
