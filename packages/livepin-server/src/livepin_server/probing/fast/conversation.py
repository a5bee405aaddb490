"""What is said: one hello, and what the server answers as far as the proof of its key."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from typing import Literal

from livepin_server.probing.digest import digest_of
from livepin_server.probing.looks import Algorithm

from . import messages
from .hello import Share, Shares, make_hello
from .keys import SUITES, handshake_opening, shared_secret
from .messages import ServerHello, Signed
from .records import Records, RefusedError
from .signatures import Leaves
from .wire import OddError

Answer = Literal["unchanged", "changed", "none", "odd"]

_SHARES = Shares()
_LEAVES = Leaves()
# What is before the hash of the transcript in what a server signs (RFC 8446, section 4.4.3).
_SIGNED = b" " * 64 + b"TLS 1.3, server CertificateVerify\x00"

_Step = Callable[[int, bytes], Answer | None]


class FastConversation:
    """One look at one address, for one algorithm, without any I/O.

    `known` is `digest_of` the chain that `verified` has verified, or the empty string where there
    was no certificate of this algorithm. `outgoing` is to be sent first; nothing else is ever
    sent, and the connection is closed after the answer. `draw` and `shares` give chance.

    The answers: "unchanged": that chain, and proof that the server holds the key of its leaf.
    "changed": another chain, of which nothing was checked. "none": the server refused with the
    alert handshake_failure, and presented nothing. "odd": anything else.
    """

    def __init__(
        self,
        host: str,
        algorithm: Algorithm,
        known: str,
        *,
        draw: Callable[[int], bytes] = os.urandom,
        shares: Callable[[], Share] = _SHARES,
        leaves: Leaves = _LEAVES,
    ) -> None:
        self._known = known
        self._leaves = leaves
        self._hello = make_hello(host, algorithm, share=shares(), draw=draw)
        self._records = Records()
        self._transcript = hashlib.sha256()
        self._server: ServerHello | None = None
        self._chain: Sequence[bytes] = ()
        self._step: _Step = self._server_hello
        self._answer: Answer | None = None
        self.outgoing: bytes = self._hello.record

    def receive(self, data: bytes) -> Answer | None:
        """Take what came, b"" for the end of the stream; return the answer, or None: go on.

        It may come in pieces of any size. After an answer it is the same one for ever.
        """
        if self._answer is None:
            try:
                self._answer = self._read(data)
            except RefusedError:
                self._answer = "odd" if self._chain else "none"
            except OddError:
                self._answer = "odd"
        return self._answer

    def _read(self, data: bytes) -> Answer | None:
        if not data:
            raise OddError("expected an answer, found the end of the stream")
        self._records.feed(data)
        while (message := self._records.message()) is not None:
            answer = self._step(message[0], message)
            if answer is not None:
                return answer
        return None

    # -- steps: each takes one message, with its header, and says which one is next --------------

    def _server_hello(self, kind: int, message: bytes) -> None:
        _expect(kind, messages.SERVER_HELLO)
        self._server = server = messages.read_server_hello(message[4:], self._hello)
        if not server.tls13:
            self._step = self._certificate_12
            return
        suite = SUITES[server.suite]
        self._transcript = hashlib.new(suite.digest, self._hello.message)
        self._transcript.update(message)
        shared = shared_secret(self._hello.share.private, server.share)
        self._records.protect(handshake_opening(suite, shared, self._transcript.digest()))
        self._step = self._encrypted_extensions

    def _encrypted_extensions(self, kind: int, message: bytes) -> None:
        _expect(kind, messages.ENCRYPTED_EXTENSIONS)
        messages.check_encrypted_extensions(message[4:], self._hello)
        self._transcript.update(message)
        self._step = self._request_or_certificate

    def _request_or_certificate(self, kind: int, message: bytes) -> Answer | None:
        if kind != messages.CERTIFICATE_REQUEST:
            return self._certificate(kind, message)
        self._transcript.update(message)  # not read: no certificate will be sent
        self._step = self._certificate
        return None

    def _certificate(self, kind: int, message: bytes) -> Answer | None:
        _expect(kind, messages.CERTIFICATE)
        self._transcript.update(message)
        self._step = self._certificate_verify
        return self._compare(messages.read_chain(message[4:], tls13=True))

    def _certificate_verify(self, kind: int, message: bytes) -> Answer:
        _expect(kind, messages.CERTIFICATE_VERIFY)
        signed = messages.read_certificate_verify(message[4:])
        return self._prove(signed, _SIGNED + self._transcript.digest(), tls13=True)

    def _certificate_12(self, kind: int, message: bytes) -> Answer | None:
        _expect(kind, messages.CERTIFICATE)
        self._step = self._key_exchange_12
        return self._compare(messages.read_chain(message[4:], tls13=False))

    def _key_exchange_12(self, kind: int, message: bytes) -> Answer:
        _expect(kind, messages.SERVER_KEY_EXCHANGE)
        signed = messages.read_key_exchange(message[4:])
        assert self._server is not None
        content = self._hello.random + self._server.random + signed.parameters
        return self._prove(signed, content, tls13=False)

    # -- what is decided -------------------------------------------------------------------------

    def _compare(self, chain: Sequence[bytes]) -> Answer | None:
        """Stop at another chain: `verified` has to look anyway, and a signature takes long."""
        self._chain = chain
        return None if digest_of(chain) == self._known else "changed"

    def _prove(self, signed: Signed, content: bytes, *, tls13: bool) -> Answer:
        leaf = self._leaves(self._chain[0])
        algorithm = self._hello.algorithm
        leaf.check(algorithm, signed.scheme, signed.signature, content, tls13=tls13)
        return "unchanged"


def _expect(found: int, kind: int) -> None:
    if found != kind:
        raise OddError(f"expected message {kind} of the handshake, found {found}")
