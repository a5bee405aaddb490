"""Play Integrity: a token in which Google says what it thinks of an app, its device and its user.

Whether it is opened here or by Google (`play_decoders`), the same payload comes out, and
`appraise` judges it. What was asked is checked before anything that was found.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any, Literal, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_private_key
from livepin.errors import MalformedError
from livepin.jose import b64url_decode, b64url_encode
from msgspec import Meta, Struct

from .android import Certificates, Package, require_signed
from .attested import Asked, Attested, EvidenceError, Level

FORMAT = "play-integrity"
MOST_TOKEN = 16 * 1024  # characters; tokens take about 2,000
FRESH = timedelta(minutes=2)  # between a verdict and now, either way

# What Google says of a device, the most first, and what that proves.
_DEVICES: tuple[tuple[str, Level], ...] = (
    ("MEETS_STRONG_INTEGRITY", "hardware_app"),
    ("MEETS_DEVICE_INTEGRITY", "platform"),
)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MOST_MILLISECONDS = 253_402_300_799_000  # 9999-12-31T23:59:59Z
_LONGEST = 200  # characters of what is quoted
_KEY, _P256 = 32, 256  # bytes of AES-256, bits of P-256
_VERIFICATION_KEY = "expected the verification key as base64 of a P-256 key in DER"


class ServiceAccount(Struct, frozen=True, kw_only=True):
    """Who asks Google: from the JSON file of a service account, of which the rest is ignored.

    Where it asks does not come from there: else the file could lead anywhere.
    """

    client_email: Annotated[str, Meta(max_length=320, pattern=r"^[!-~]+$")]
    private_key: Annotated[str, Meta(max_length=16384)]
    private_key_id: Annotated[str, Meta(max_length=128, pattern=r"^[!-~]*$")] = ""

    def __post_init__(self) -> None:
        if not isinstance(self.key(), rsa.RSAPrivateKey):
            raise ValueError("expected an RSA key in the service account")

    def key(self) -> object:
        """Return the private key."""
        try:
            return load_pem_private_key(self.private_key.encode(), None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ValueError("expected a service account with its private key in PEM") from None

    def __repr__(self) -> str:
        return f"ServiceAccount({self.client_email!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("client_email", self.client_email)]


class PlayAppView(Struct, frozen=True, kw_only=True):
    """A registered app without its keys. `opened` tells by whom tokens are: here, or by Google."""

    package: str
    certificates: list[str]
    opened: Literal["here", "by Google"]
    service_account: str | None


class PlayApp(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An app as it is registered, and how its tokens are opened.

    Either by the two keys of its Play Console page, base64 as they stand there, which open tokens
    of classic requests; or by Google, asked by a service account, which opens all.
    """

    package: Package
    certificates: Certificates
    decryption_key: Annotated[str, Meta(max_length=64)] | None = None
    verification_key: Annotated[str, Meta(max_length=512)] | None = None
    service_account: ServiceAccount | None = None

    def __post_init__(self) -> None:
        keys = [self.decryption_key, self.verification_key]
        if keys.count(None) != (2 if self.service_account else 0):
            raise ValueError("expected both keys of the Play Console, or a service account")
        if self.service_account is None:
            self.keys()

    def keys(self) -> tuple[bytes, ec.EllipticCurvePublicKey]:
        """Return the keys by which a token is opened here: AES-256, and ES256."""
        opens = _base64(self.decryption_key)
        if len(opens) != _KEY:
            raise ValueError("expected the decryption key as base64 of 32 bytes")
        try:
            verifies = load_der_public_key(_base64(self.verification_key))
        except (ValueError, UnsupportedAlgorithm):
            raise ValueError(_VERIFICATION_KEY) from None
        if not isinstance(verifies, ec.EllipticCurvePublicKey) or verifies.key_size != _P256:
            raise ValueError(_VERIFICATION_KEY)
        return opens, verifies

    def public(self) -> PlayAppView:
        """Return what may be shown."""
        account = self.service_account
        return PlayAppView(
            package=self.package,
            certificates=self.certificates,
            opened="here" if account is None else "by Google",
            service_account=None if account is None else account.client_email,
        )

    def __repr__(self) -> str:
        return f"PlayApp({self.package!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("package", self.package)]


class Decoder(Protocol):
    """Whoever opens tokens of one app."""

    def decode(self, token: str) -> Mapping[str, Any]:
        """Return the payload.

        Raises:
            EvidenceError: it is none of Google's for this app; or nobody could tell: `unavailable`.
        """


def verify(evidence: Mapping[str, Any], asked: Asked, app: PlayApp, decoder: Decoder) -> Attested:
    """Return what a token proves.

    Raises:
        EvidenceError: it proves nothing; `check` says which check failed.
    """
    token = evidence.get("token")
    if not isinstance(token, str) or not token.isascii() or not 0 < len(token) <= MOST_TOKEN:
        raise EvidenceError("malformed", f"expected a token of at most {MOST_TOKEN} characters")
    return appraise(decoder.decode(token), asked, app)


def appraise(payload: Mapping[str, Any], asked: Asked, app: PlayApp) -> Attested:
    """Return what the payload of a token proves.

    Raises:
        EvidenceError: it proves nothing; `check` says which check failed.
    """
    _require_asked(_object(payload, "requestDetails"), asked, app)
    found = _object(payload, "appIntegrity")
    verdict = _text(found, "appRecognitionVerdict")
    if verdict != "PLAY_RECOGNIZED":
        raise EvidenceError("recognition", f"expected PLAY_RECOGNIZED, found {verdict!r}")
    _require_package(found, "packageName", app)
    require_signed(_digests(found), app.certificates)
    label, level = _device(_object(payload, "deviceIntegrity"))
    return Attested(
        format=FORMAT,
        level=level,
        said={
            "device": label,
            "package version": _quoted(found.get("versionCode")),
            "license": _said(payload, "accountDetails", "appLicensingVerdict"),
            "Play Protect": _said(payload, "environmentDetails", "playProtectVerdict"),
        },
    )


def _require_asked(details: Mapping[str, Any], asked: Asked, app: PlayApp) -> None:
    _require_package(details, "requestPackageName", app)
    carried = [details[name] for name in ("nonce", "requestHash") if name in details]
    # Padding is an app's own choice: Google gives back what it was given.
    expected = b64url_encode(asked.nonce).decode()
    if carried not in ([expected], [expected + "="]):
        raise EvidenceError("challenge", "it was asked for another request, installation or app")
    at = _moment(details)
    if abs(asked.now - at) > FRESH:
        raise EvidenceError("expired", f"expected a verdict of this moment, found one of {at}")


def _require_package(found: Mapping[str, Any], member: str, app: PlayApp) -> None:
    name = _text(found, member)
    if name != app.package:
        raise EvidenceError("package", f"expected {app.package}, found {name!r}")


def _digests(found: Mapping[str, Any]) -> frozenset[str]:
    listed = found.get("certificateSha256Digest")
    if not isinstance(listed, list):
        raise EvidenceError("malformed", "expected a list of certificateSha256Digest")
    try:
        texts = [str(each).rstrip("=").encode("ascii", "replace") for each in listed]
        return frozenset(b64url_decode(each).hex() for each in texts)
    except MalformedError as exc:
        raise EvidenceError("malformed", f"certificateSha256Digest: {exc}") from exc


def _device(found: Mapping[str, Any]) -> tuple[str, Level]:
    labels = found.get("deviceRecognitionVerdict", [])
    if not isinstance(labels, list):
        raise EvidenceError("malformed", "expected a list of deviceRecognitionVerdict")
    for label, level in _DEVICES:
        if label in labels:
            return label, level
    raise EvidenceError("device", f"Google does not vouch for the device: {_quoted(labels)}")


def _moment(details: Mapping[str, Any]) -> datetime:
    text = str(details.get("timestampMillis"))  # a string: JSON has no 64 bits
    if not (text.isascii() and text.isdecimal() and len(text) <= 15):
        raise EvidenceError("malformed", "expected timestampMillis")
    return _EPOCH + timedelta(milliseconds=min(int(text), _MOST_MILLISECONDS))


def _object(found: Mapping[str, Any], member: str) -> Mapping[str, Any]:
    value = found.get(member)
    if not isinstance(value, dict):
        raise EvidenceError("malformed", f"expected an object {member}")
    return value


def _text(found: Mapping[str, Any], member: str) -> str:
    value = found.get(member)
    if not isinstance(value, str):
        raise EvidenceError("malformed", f"expected a string {member}")
    return value[:_LONGEST]


def _said(payload: Mapping[str, Any], where: str, member: str) -> str:
    found = payload.get(where)
    return _quoted(found.get(member) if isinstance(found, dict) else None)


def _quoted(value: object) -> str:
    text = "not said" if value is None else str(value)[:_LONGEST]
    return text if text.isascii() and text.isprintable() else ascii(text)


def _base64(text: str | None) -> bytes:
    try:
        return binascii.a2b_base64((text or "").encode(), strict_mode=True)
    except ValueError:  # its text would quote what it was given
        raise ValueError("expected the keys in base64") from None
