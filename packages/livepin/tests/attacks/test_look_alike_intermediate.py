"""An intermediate certificate that carries the pinned key, but did not sign the chain."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from livepin.client import MemoryStore, PinnedContext
from livepin.client.judge import ConfigJudge
from livepin.client.trusted import Trusted
from livepin.errors import PinMismatchError
from livepin.testing import (
    Authority,
    Chain,
    DeliverySimulator,
    RecordingServer,
    make_authority,
    make_chain,
)

HOST = "localhost"
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer s3cret\r\n\r\n"
TLS = pytest.mark.parametrize("tls12", [False, True], ids=["tls13", "tls12"])


def pinned_context(simulator: DeliverySimulator, ca: str) -> PinnedContext:
    """Return the context of a client that trusts `ca`, and does not wait for newer pins."""
    trusted = Trusted(
        simulator.bootstrap(), MemoryStore(), clock=simulator.clock, on_change=lambda: None
    )
    judge = ConfigJudge(trusted, clock=simulator.clock, unlisted="system")
    return PinnedContext(judge, anchors=ca)


def exchange(context: ssl.SSLContext, port: int, **options: Any) -> bytes:
    options = {"server_hostname": HOST} | options
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        with context.wrap_socket(sock, **options) as tls:
            tls.sendall(REQUEST)
            return tls.recv(65536)


def nothing_arrived(server: RecordingServer) -> bool:
    server.wait_closed()
    return bytes(server.received) == b""


KEY_IDS = x509.AuthorityKeyIdentifier, x509.SubjectKeyIdentifier
NAME = "Issuing CA"  # the names are alike, the keys are not
YESTERDAY = dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=1)


@TLS
@pytest.mark.parametrize("not_after", [YESTERDAY, None], ids=["expired", "valid"])
@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
@pytest.mark.parametrize("helped", [True, False], ids=["key-ids-stripped", "key-ids"])
def test_a_look_alike_of_the_issuer_does_not_count(
    tls12: bool, not_after: dt.datetime | None, first: bool, helped: bool
) -> None:
    """The attacker has a CA that the client trusts, but not the private key that is pinned."""
    root = make_authority("Rogue CA")
    pinned = make_authority(NAME, issuer=make_authority("Good CA"))
    issuing = make_authority(NAME, issuer=root)
    look_alike = make_authority(NAME, issuer=root, key=pinned.key, not_after=not_after)
    chain = make_chain(HOST, authority=root, intermediate=issuing)
    leaf = _without_key_ids(chain.leaf, issuing) if helped else chain.leaf
    between = [look_alike.certificate, issuing.certificate]
    attack = Chain(
        key=chain.key,
        presented=(leaf, *(between if first else reversed(between))),
        authority=root,
    )
    simulator = DeliverySimulator()
    simulator.pin(HOST, pinned.pin)
    with RecordingServer(attack, tls12=tls12) as server:
        with pytest.raises(ssl.SSLCertVerificationError) as caught:
            exchange(pinned_context(simulator, root.pem), server.port)
        if isinstance(caught.value, PinMismatchError):
            assert str(pinned.pin) not in caught.value.chain
        assert nothing_arrived(server)


@TLS
def test_an_expired_intermediate_that_did_sign_is_refused_by_its_date(tls12: bool) -> None:
    root = make_authority("Good CA")
    expired = make_authority(NAME, issuer=root, not_after=YESTERDAY)
    valid = make_authority(NAME, issuer=root, key=expired.key)
    simulator = DeliverySimulator()
    simulator.pin(HOST, expired.pin)
    context = pinned_context(simulator, root.pem)
    chain = make_chain(HOST, authority=root, intermediate=expired)
    with RecordingServer(chain, tls12=tls12) as server:
        with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
            exchange(context, server.port)
        assert nothing_arrived(server)
    with RecordingServer(chain.also_presenting(valid.certificate), tls12=tls12) as server:
        assert exchange(context, server.port).startswith(b"HTTP/1.1 200")


def _without_key_ids(leaf: x509.Certificate, issuer: Authority) -> x509.Certificate:
    """Return the leaf, signed anew, without what tells its issuer from others of that name."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(leaf.subject)
        .issuer_name(leaf.issuer)
        .public_key(leaf.public_key())
        .serial_number(leaf.serial_number)
        .not_valid_before(leaf.not_valid_before_utc)
        .not_valid_after(leaf.not_valid_after_utc)
    )
    for extension in leaf.extensions:
        if not isinstance(
            extension.value, (x509.AuthorityKeyIdentifier, x509.SubjectKeyIdentifier)
        ):
            builder = builder.add_extension(extension.value, critical=extension.critical)
    return builder.sign(issuer.key, hashes.SHA256())
