"""The roots of a trust store: which CA certificates it holds, and which of them may be pinned.

A trust store lists what people once trusted, so only what can still issue is taken: certificates
of CAs that issued themselves, and are valid now.
"""

from __future__ import annotations

import re
import ssl
import warnings
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning
from livepin.certificates import CertificateInfo, describe, pem_to_ders
from livepin.errors import MalformedError
from livepin.pins import fingerprint_text

from .keyfiles import MOST, blocks, read_bounded
from .output import CommandError, counted, plain

_LABEL = b"CERTIFICATE"
_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]{1,3}\Z")  # how OpenSSL names the files of a folder
_MOST_FILES = 2000
_LONGEST = 120  # characters of a subject


@dataclass(frozen=True, slots=True)
class Root:
    """A root that may be pinned: the pin of its key, its subject, and when it expires."""

    pin: str
    subject: str
    expires: datetime


@dataclass(frozen=True, slots=True)
class TrustStore:
    """What a trust store holds. `left_out` says of each pin that is not taken why."""

    origin: str
    roots: dict[str, Root] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    unreadable: int = 0

    def summary(self) -> str:
        """Return how many roots it holds, from where, and how many were left out."""
        reasons = Counter(each.split(" on ")[0] for each in self.left_out.values())
        if self.unreadable:
            reasons["cannot be read"] += self.unreadable
        out = ", ".join(f"{number} {reason}" for reason, number in sorted(reasons.items()))
        return f"{counted(len(self.roots), 'root')} from {self.origin}" + (
            f"; left out: {out}" if out else ""
        )


def read_roots(file: Path | None) -> TrustStore:
    """Return the roots of a PEM bundle, or with None those that this machine trusts.

    Raises:
        CommandError: it cannot be read, or holds no root.
    """
    origin, data = _of_machine() if file is None else (str(file), _of_file(file))
    roots: dict[str, Root] = {}
    left_out: dict[str, str] = {}
    pems = [text for label, text in blocks(data) if label == _LABEL]
    unreadable = data.count(b"-----BEGIN %b-----" % _LABEL) - len(pems)  # cut off
    for pem in pems:
        try:
            info, reason = _looked_at(pem)
        except (MalformedError, ValueError):
            unreadable += 1
            continue
        pin = fingerprint_text(info.fingerprint)
        if reason is not None:
            left_out[pin] = reason
        elif pin not in roots or roots[pin].expires < info.not_after:
            roots[pin] = Root(pin, plain(info.subject)[:_LONGEST], info.not_after)
    if not roots:
        raise CommandError(
            f"{origin} holds no CA certificate that issued itself and is valid now",
            hint="expected a bundle of roots in PEM",
        )
    left_out = {pin: reason for pin, reason in left_out.items() if pin not in roots}
    return TrustStore(origin, roots, left_out, unreadable)


def _looked_at(pem: bytes) -> tuple[CertificateInfo, str | None]:
    """Return what is in a certificate, and why it is no root to pin, or None."""
    with warnings.catch_warnings():
        # Roots of old have serial numbers that RFC 5280 would not allow today.
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        (der,) = pem_to_ders(pem)
        info = describe(der)
        return info, _unfit(x509.load_der_x509_certificate(der), info)


def _unfit(certificate: x509.Certificate, info: CertificateInfo) -> str | None:
    now = datetime.now(timezone.utc)
    try:
        ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        ca = False
    if not ca:
        return "no CA"
    if certificate.issuer != certificate.subject:
        return "issued by another CA"
    if info.not_after < now:
        return f"expired on {info.not_after:%Y-%m-%d}"
    return "not yet valid" if info.not_before > now else None


def _of_file(file: Path) -> bytes:
    data = read_bounded(file)
    if len(data) > MOST:
        raise CommandError(f"{file} holds more than {MOST // 1024} KiB", hint="is it a bundle?")
    return data


def _of_machine() -> tuple[str, bytes]:
    """Return the trust store of OpenSSL on this machine: its file, else its folder."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile:
        return f"{paths.cafile}, the trust store of this machine", _of_file(Path(paths.cafile))
    folder = Path(paths.capath) if paths.capath else None
    names = sorted(each for each in folder.iterdir() if _HASHED.match(each.name)) if folder else []
    if not names:
        raise CommandError(
            "this machine has no trust store in a file or folder", hint="name one: --roots FILE"
        )
    data = b"".join(_of_file(each) for each in names[:_MOST_FILES])
    return f"{folder}, the trust store of this machine", data
