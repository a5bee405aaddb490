"""What tests need, Livepin's own and yours: chains, a recording server, delivery, tokens.

Nothing here pretends: the certificates are real, the server speaks TLS on a loopback socket, and
the delivery simulator signs real documents. It is not imported by anything but tests.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import secrets
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from . import jsontext, tokens
from .bootstrap import Bootstrap
from .certificates import spki_fingerprint
from .client import Answer, Client, Request
from .client.store import MemoryStore
from .documents import Config, Delivery, Domain, Override, Role, Root, config, override, root
from .documents.token_request import TokenRequest
from .errors import FetchError, VerificationError
from .hostnames import is_address
from .jose import PrivateKey, b64url_decode, b64url_encode, sign_compact, sign_general
from .pins import Pin, PinSet
from .tokens import Algorithm, Claims, SigningKey

PrivateTLSKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
HTTPAnswer = tuple[int, dict[str, str], bytes]
UTC = dt.timezone.utc

_BAD_REQUEST = 400, {"Content-Type": "application/problem+json"}, b"{}"
_MOST_ALONG = 64 * 1024  # bytes of a config that comes with tokens


class FakeClock:
    """A clock that stands still until it is told to move."""

    def __init__(self, now: dt.datetime | None = None) -> None:
        self.now = now or dt.datetime(2026, 11, 23, 12, tzinfo=UTC)

    def __call__(self) -> dt.datetime:
        return self.now

    def advance(self, **delta: float) -> None:
        """Move by `timedelta(**delta)`, backwards too."""
        self.now += dt.timedelta(**delta)


# -- certificates ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Authority:
    """A CA certificate with its key."""

    certificate: x509.Certificate
    key: PrivateTLSKey

    @property
    def pem(self) -> str:
        """The certificate in PEM."""
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def pin(self) -> Pin:
        """The pin of its key."""
        return pin_of(self.certificate)


@dataclass(frozen=True)
class Chain:
    """A leaf with its key, and what a server presents: leaf first, without the root."""

    key: PrivateTLSKey
    presented: tuple[x509.Certificate, ...]
    authority: Authority
    intermediate: Authority | None = None

    @property
    def leaf(self) -> x509.Certificate:
        """The leaf certificate."""
        return self.presented[0]

    @property
    def pin(self) -> Pin:
        """The pin of the leaf's key."""
        return pin_of(self.leaf)

    def also_presenting(self, *certificates: x509.Certificate) -> Chain:
        """Return the chain with more certificates appended, as an attacker may."""
        return replace(self, presented=(*self.presented, *certificates))


def pin_of(certificate: x509.Certificate) -> Pin:
    """Return the pin of a certificate's key."""
    return Pin(spki_fingerprint(certificate.public_bytes(Encoding.DER)))


def make_key(kind: str = "ec") -> PrivateTLSKey:
    """Return a new P-256 (`ec`) or RSA-2048 (`rsa`) key."""
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())


def make_authority(
    name: str = "Test Root CA",
    *,
    issuer: Authority | None = None,
    key: PrivateTLSKey | None = None,
    not_after: dt.datetime | None = None,
) -> Authority:
    """Return a root CA, or an intermediate where an issuer is given."""
    key = key or make_key()
    builder = _builder(name, issuer.certificate.subject if issuer else _name(name), key, not_after)
    builder = builder.add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    ).add_extension(_key_usage(ca=True), critical=True)
    return Authority(_signed(builder, key, issuer.key if issuer else key, issuer), key)


def make_chain(
    *hosts: str,
    authority: Authority | None = None,
    intermediate: bool | Authority = False,
    key: PrivateTLSKey | None = None,
    not_after: dt.datetime | None = None,
) -> Chain:
    """Return a real chain for `hosts` (names, wildcards, addresses) under a root CA.

    `intermediate` puts a new or a given CA between. `not_after` in the past makes it expired.
    """
    authority = authority or make_authority()
    between: Authority | None = None
    if intermediate:
        between = (
            intermediate
            if isinstance(intermediate, Authority)
            else make_authority("Test Intermediate CA", issuer=authority)
        )
    issuer = between or authority
    key = key or make_key()
    builder = _builder(hosts[0], issuer.certificate.subject, key, not_after)
    builder = (
        builder.add_extension(x509.SubjectAlternativeName(_names(hosts)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    leaf = _signed(builder, key, issuer.key, issuer)
    presented = (leaf, between.certificate) if between else (leaf,)
    return Chain(key=key, presented=presented, authority=authority, intermediate=between)


def _builder(
    name: str, issuer: x509.Name, key: PrivateTLSKey, not_after: dt.datetime | None
) -> x509.CertificateBuilder:
    end = not_after or dt.datetime.now(UTC) + dt.timedelta(days=100)
    start = min(dt.datetime.now(UTC) - dt.timedelta(days=1), end - dt.timedelta(days=30))
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _signed(
    builder: x509.CertificateBuilder,
    key: PrivateTLSKey,
    issuer_key: PrivateTLSKey,
    issuer: Authority | None,
) -> x509.Certificate:
    public = issuer.certificate.public_key() if issuer else key.public_key()
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(public)  # type: ignore[arg-type]
    return builder.add_extension(identifier, critical=False).sign(issuer_key, hashes.SHA256())


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _names(hosts: Iterable[str]) -> list[x509.GeneralName]:
    return [
        x509.IPAddress(ipaddress.ip_address(host)) if is_address(host) else x509.DNSName(host)
        for host in hosts
    ]


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not ca,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def server_context(chain: Chain, *, tls12: bool = False) -> ssl.SSLContext:
    """Return a server's `SSLContext` that presents `chain`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls12:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    load_chain(context, chain)
    return context


def load_chain(context: ssl.SSLContext, chain: Chain) -> None:
    """Make a server's context present `chain` from now on."""
    with tempfile.TemporaryDirectory() as folder:
        certificates, key = Path(folder, "chain.pem"), Path(folder, "key.pem")
        certificates.write_bytes(b"".join(c.public_bytes(Encoding.PEM) for c in chain.presented))
        key.write_bytes(chain.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        context.load_cert_chain(certificates, key)


# -- a server that records ---------------------------------------------------------------------


class RecordingServer:
    """An HTTPS server on loopback that remembers every application byte it was sent.

    `respond` maps a request path and its headers to (status, headers, body); by default
    everything is 200 with `ok`. `post` does so for POST requests, and gets the body too; without
    it `respond` does. Several connections are served at once.
    """

    def __init__(
        self,
        chain: Chain,
        *,
        tls12: bool = False,
        port: int = 0,
        respond: Callable[[str, dict[str, str]], HTTPAnswer] | None = None,
        post: Callable[[str, dict[str, str], bytes], HTTPAnswer] | None = None,
    ) -> None:
        self.context = server_context(chain, tls12=tls12)
        self.received = bytearray()
        self.handshakes = 0
        self.connections = 0
        self._respond = respond or (lambda _path, _headers: (200, {}, b"ok"))
        self._post = post
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._serving: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="recording", daemon=True)
        self._thread.start()

    @property
    def requests(self) -> int:
        """How many requests arrived."""
        return bytes(self.received).count(b" HTTP/1.1\r\n")

    def present(self, chain: Chain) -> None:
        """Present another chain to connections made from now on."""
        load_chain(self.context, chain)

    def wait_closed(self, timeout: float = 10.0) -> None:
        """Wait until clients have closed their connections: then `received` is complete.

        Raises:
            TimeoutError: a connection is still open.
        """
        deadline = time.monotonic() + timeout
        with self._lock:
            serving = list(self._serving)
        for thread in serving:
            thread.join(max(deadline - time.monotonic(), 0.0))
            if thread.is_alive():
                raise TimeoutError("a client still holds a connection open")

    def close(self) -> None:
        """Stop listening and close what is open."""
        _shutdown(self._listener)  # closing alone does not wake accept()
        self._listener.close()
        with self._lock:
            for each in self._open:
                _shutdown(each)
        self._thread.join(timeout=5)

    def __enter__(self) -> RecordingServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            with self._lock:
                self._open.add(sock)
                self.connections += 1
                thread.start()
                self._serving.append(thread)

    def _serve(self, sock: socket.socket) -> None:
        try:
            with self.context.wrap_socket(sock, server_side=True) as tls:
                with self._lock:
                    self._open.discard(sock)
                    self._open.add(tls)
                    self.handshakes += 1
                while self._serve_one(tls):
                    pass
        except (OSError, ValueError):
            sock.close()

    def _serve_one(self, tls: ssl.SSLSocket) -> bool:
        head = self._until(tls, b"\r\n\r\n")
        if head is None:
            return False
        start, _, rest = head.partition(b"\r\n\r\n")
        lines = start.decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        if "chunked" in headers.get("transfer-encoding", "") and not rest.endswith(b"0\r\n\r\n"):
            self._until(tls, b"0\r\n\r\n")
        missing = int(headers.get("content-length", 0)) - len(rest)
        while missing > 0:
            data = self._receive(tls)
            if not data:
                return False
            missing -= len(data)
            rest += data
        method, path, _ = lines[0].split(" ")
        if method == "POST" and self._post is not None:
            status, extra, body = self._post(path, headers, rest)
        else:
            status, extra, body = self._respond(path, headers)
        fields = {"Content-Length": str(len(body)), **extra}
        text = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        tls.sendall(f"HTTP/1.1 {status} X\r\n{text}\r\n".encode() + body)
        return True

    def _until(self, tls: ssl.SSLSocket, end: bytes) -> bytes | None:
        data = b""
        while end not in data:
            more = self._receive(tls)
            if not more:
                return None
            data += more
        return data

    def _receive(self, tls: ssl.SSLSocket) -> bytes:
        data = tls.recv(65536)
        with self._lock:
            self.received += data
        return data


def _shutdown(sock: socket.socket) -> None:
    try:
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        return  # closed already


# -- a delivery service ------------------------------------------------------------------------


@dataclass
class DeliverySimulator:
    """An account that signs real roots and configs, and answers as the delivery service does.

    It is a `Fetcher` in memory; `respond` and `post` are the same for a `RecordingServer`, over
    real TLS. `pin(host, ..., token=True)` makes a host ask for tokens: they are signed with
    `token_key`, whose public half is in `jwks()`, and each request for them is checked as the
    service does, its challenge too. `token_requests` holds those that were good. `override` makes
    other domains hold for one installation.
    """

    account: str = "acme"
    stream: str = "main"
    clock: Callable[[], dt.datetime] = field(default_factory=FakeClock)
    urls: tuple[str, ...] = ("https://pins.example.com",)
    recovery_urls: tuple[str, ...] = ()
    delivery_pins: tuple[Pin, ...] = (Pin(b"\0" * 32),)
    ca: str | None = None
    lifetime: dt.timedelta = dt.timedelta(days=14)
    reachable: bool = True

    def __post_init__(self) -> None:
        self.keys = {role: PrivateKey.generate() for role in root.ROLES}
        key = PrivateKey.generate()
        self.token_key = SigningKey(key.public.kid, Algorithm.ES256, key)
        self.token_header = tokens.HEADER
        self.token_lives = 300  # seconds
        self.token_requests: list[TokenRequest] = []
        self._challenges: dict[str, str] = {}  # those that are open, with whose they are
        self.roots: dict[int, bytes] = {}
        self.overrides: dict[str, bytes] = {}  # by the thumbprint of whose it is
        self.override_version = 0
        self.fetched: list[str] = []
        self.version = 0
        self.refresh_interval = config.REFRESH_INTERVAL
        self.pin_sets: dict[str, PinSet] = {}
        self.domains: dict[str, Domain] = {}
        self.publish_root(signers=[self.keys["root"]])
        self.config = self.publish()

    @property
    def root_version(self) -> int:
        """The version of the newest root."""
        return max(self.roots, default=0)

    def publish_root(self, *, signers: Sequence[PrivateKey] | None = None) -> bytes:
        """Publish root N+1 with the keys of `keys`, signed by them or by `signers`."""
        now = self.clock()
        document = Root(
            account=self.account,
            version=self.root_version + 1,
            issued=now,
            expires=now + dt.timedelta(days=3 * 365),
            roles={name: Role(keys={k.public.kid: k.public}) for name, k in self.keys.items()},
        )
        signers = signers or [self.keys["root"]]
        raw = sign_general(document.payload(), typ=root.TYP, signers=signers)
        self.roots[document.version] = raw
        return raw

    def pin(self, host: str, *pins: Pin, **settings: Any) -> bytes:
        """Pin a host to these keys, instead of what it had, and publish."""
        self.pin_sets[host] = PinSet(pins)
        self.domains[host] = Domain(
            pattern=host, pin_set=host, pins=self.pin_sets[host], **settings
        )
        return self.publish()

    def override(
        self,
        installation: str,
        host: str,
        *pins: Pin,
        lifetime: dt.timedelta = dt.timedelta(days=1),
        **settings: Any,
    ) -> bytes:
        """Give one installation a domain of its own for `host`, and nothing else.

        `installation` is its `Client.installation_thumbprint`; `mode=Mode.OFF` unpins the host. It
        comes with the tokens of this installation, and from its own path.
        """
        held = self.document().lookup(host)
        pin_set = PinSet(pins or (Pin(b"\0" * 32),))
        own = {"token": held is not None and held.token} | settings
        domain = Domain(pattern=host, pin_set="override", pins=pin_set, **own)
        return self._overridden(installation, (domain,), lifetime)

    def end_override(
        self, installation: str, lifetime: dt.timedelta = dt.timedelta(days=1)
    ) -> bytes:
        """End the override of an installation early, by a higher one that is empty."""
        return self._overridden(installation, (), lifetime)

    def override_document(self, installation: str, **changes: Any) -> Override:
        """Return an empty override of now, unsigned, with some members changed."""
        now = self.clock()
        members: dict[str, Any] = {
            "account": self.account,
            "installation": installation,
            "root_version": self.root_version,
            "version": self.override_version,
            "issued": now,
            "expires": now + dt.timedelta(days=1),
            "pin_sets": {},
            "domains": (),
        }
        return Override(**(members | changes))

    def sign_override(self, document: Override, *, key: PrivateKey | None = None) -> bytes:
        """Return an override signed by the override key, or by another."""
        signer = key or self.keys["override"]
        return sign_compact(document.payload(), typ=override.TYP, signer=signer)

    def _overridden(
        self, installation: str, domains: tuple[Domain, ...], lifetime: dt.timedelta
    ) -> bytes:
        self.override_version += 1
        document = self.override_document(
            installation,
            pin_sets={each.pin_set: each.pins for each in domains},
            domains=domains,
            expires=self.clock() + lifetime,
        )
        self.overrides[installation] = self.sign_override(document)
        return self.overrides[installation]

    def document(self, **changes: Any) -> Config:
        """Return the config of now, unsigned, with some members changed."""
        now = self.clock()
        members: dict[str, Any] = {
            "account": self.account,
            "stream": self.stream,
            "root_version": self.root_version,
            "version": self.version,
            "issued": now,
            "expires": now + self.lifetime,
            "refresh_interval": self.refresh_interval,
            "pin_sets": dict(self.pin_sets),
            "domains": tuple(self.domains.values()),
            "delivery": Delivery(
                urls=self.urls,
                pins=PinSet(self.delivery_pins),
                ca=self.ca,
                recovery_urls=self.recovery_urls,
            ),
        }
        return Config(**(members | changes))

    def publish(self, **changes: Any) -> bytes:
        """Sign the config of now as a new version, and serve it."""
        self.version += 1
        self.config = self.sign(self.document(**changes))
        return self.config

    def sign(self, document: Config, *, key: PrivateKey | None = None) -> bytes:
        """Return a config signed by the config key, or by another."""
        signer = key or self.keys["config"]
        return sign_compact(document.payload(), typ=config.TYP, signer=signer)

    def bootstrap(self) -> Bootstrap:
        """Return the bootstrap of now."""
        return Bootstrap(root=self.roots[self.root_version], config=self.config)

    def client(self, **options: Any) -> Client:
        """Return a client of this account without push and reports, on the simulator's clock."""
        settings: dict[str, Any] = {
            "clock": self.clock,
            "push": False,
            "reports": False,
            "fetcher": self,
            "store": MemoryStore(),
        }
        return Client(self.bootstrap(), **(settings | options))

    def fetch(self, request: Request) -> Answer:
        """Answer in memory, as a `Fetcher`."""
        self.fetched.append(request.url)
        if not self.reachable:
            raise FetchError(f"{request.url}: no network")
        answer = self._answered(request, request.body)
        more = None if request.again is None else request.again(answer)
        return answer if more is None else self._answered(request, more)

    def _answered(self, request: Request, sent: bytes | None) -> Answer:
        path = "/" + request.url.split("://", 1)[1].partition("/")[2]
        headers = {name.lower(): value for name, value in request.headers.items()}
        if sent is None:
            status, _, body = self.respond(path, headers)
        else:
            status, _, body = self.post(path, headers, sent)
        return Answer(status=status, body=body)

    def jwks(self) -> bytes:
        """Return the JWK Set with which a backend verifies the tokens."""
        return tokens.jwks([self.token_key.public()])

    def post(self, path: str, headers: dict[str, str], body: bytes) -> HTTPAnswer:
        """Answer a POST as the delivery service does: a report, or a request for tokens."""
        if path != f"/v1/{self.account}/token":
            return self.respond(path, headers)
        try:
            request = TokenRequest.read(body)
        except VerificationError:
            return _BAD_REQUEST
        if request.account != self.account:
            return _BAD_REQUEST
        issued = self._issued(request) if self._is_spent_now(request) else None
        challenge = secrets.token_urlsafe(32)
        self._challenges[challenge] = request.key.kid
        answer = {
            "challenge": challenge,
            "tokens": issued,
            "newest": {"root_version": self.root_version, "version": self.version},
            "config": self._newer_than(request),
            "override": self._override_of(request.key.kid),
        }
        return 200, {"Content-Type": "application/json"}, jsontext.dump(answer)

    def _is_spent_now(self, request: TokenRequest) -> bool:
        """Tell whether the challenge was good; it is not any more."""
        found = self._challenges.get(request.challenge or "")
        if found != request.key.kid:
            return False
        self._challenges.pop(request.challenge or "")
        return True

    def _issued(self, request: TokenRequest) -> dict[str, Any]:
        self.token_requests.append(request)
        newest = self.document()
        return {
            host: {
                "header": self.token_header,
                "token": self.token(host, request=request),
                "lives": self.token_lives,
            }
            for host in request.hosts
            if (domain := newest.lookup(host)) is not None and domain.token
        }

    def token(self, host: str, *, request: TokenRequest, **changes: Any) -> str:
        """Return a token for what was asked for, with some claims changed."""
        now, bound = self.clock(), request.hosts.get(host)
        claims = Claims(
            issuer=f"{self.urls[0]}/v1/{self.account}",
            app=request.app,
            audience=host,
            issued=now - tokens.EARLY,
            expires=now + dt.timedelta(seconds=self.token_lives) - tokens.EARLY,
            id=secrets.token_urlsafe(16),
            installation=tokens.installation_id(self.account, request.key.kid),
            thumbprint=request.key.kid,
            config_version=self.version,
            binding=None if bound is None else b64url_encode(bound).decode(),
        )
        return tokens.issue(replace(claims, **changes), self.token_key)

    def _newer_than(self, request: TokenRequest) -> str | None:
        held = request.root_version, request.config_version
        if (self.root_version, self.version) <= held or len(self.config) > _MOST_ALONG:
            return None
        return self.config.decode()

    def _override_of(self, installation: str) -> str | None:
        found = self.overrides.get(installation)
        return None if found is None else found.decode()

    def respond(self, path: str, headers: dict[str, str]) -> HTTPAnswer:
        """Answer a path as the delivery service does."""
        base = f"/v1/{self.account}"
        if path == f"{base}/config/{self.stream}":
            etag = f'"{self.root_version}.{self.version}"'
            if headers.get("if-none-match") == etag:
                return 304, {"ETag": etag}, b""
            return 200, {"ETag": etag, "Content-Type": "application/jose"}, self.config
        for version, raw in self.roots.items():
            if path == f"{base}/root/{version}":
                return 200, {"Content-Type": "application/jose+json"}, raw
        if path.startswith(f"{base}/override/"):
            found = self.overrides.get(path.rpartition("/")[2])
            if found is not None:
                return 200, {"Content-Type": "application/jose"}, found
        if path == f"{base}/jwks.json":
            return 200, {"Content-Type": "application/jwk-set+json"}, self.jwks()
        if path == f"{base}/reports":
            return 202, {}, b""
        return 404, {"Content-Type": "application/problem+json"}, b"{}"


# -- a token service ---------------------------------------------------------------------------


def _utc_now() -> dt.datetime:
    return dt.datetime.now(UTC)


@dataclass
class TokenIssuer:
    """A token service in memory, with one installation, for tests of backends.

        issuer = TokenIssuer("api.example.com")
        check = TokenCheck(audience="api.example.com", jwks=issuer.jwks())
        headers = {"Livepin-Token": issuer.token()}

    `keys` are those of the JWKS, the last one signs; `respond` answers with it, over a
    `RecordingServer`.
    """

    audience: str
    issuer: str = "https://pins.example.com/v1/acme"
    clock: Callable[[], dt.datetime] = _utc_now
    cache_control: str = "public, max-age=300"

    def __post_init__(self) -> None:
        self.installation = PrivateKey.generate()
        self.keys: dict[str, SigningKey] = {}
        self.fetched = 0
        self.new_key()

    def new_key(self) -> SigningKey:
        """Return a new key, which signs from now on; those of before stay."""
        made = PrivateKey.generate()
        key = SigningKey(made.public.kid, Algorithm.ES256, made)
        self.keys[key.kid] = key
        return key

    @property
    def key(self) -> SigningKey:
        """The key that signs."""
        return list(self.keys.values())[-1]

    def jwks(self) -> bytes:
        """Return the JWK Set of the public keys."""
        return tokens.jwks(key.public() for key in self.keys.values())

    def respond(self, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """Answer any path with the JWK Set."""
        self.fetched += 1
        fields = {
            "Content-Type": "application/jwk-set+json",
            "Cache-Control": self.cache_control,
        }
        return 200, fields, self.jwks()

    def claims(self, *, bound_to: bytes | None = None, **changes: Any) -> Claims:
        """Return what a token of now says, with some members changed."""
        issued = self.clock() - tokens.EARLY
        members: dict[str, Any] = {
            "issuer": self.issuer,
            "app": "com.example.app",
            "audience": self.audience,
            "issued": issued,
            "expires": issued + tokens.LIFETIME,
            "id": _random(),
            "installation": tokens.installation_id("acme", self.installation.public.kid),
            "thumbprint": self.installation.public.kid,
            "config_version": 1,
            "binding": None if bound_to is None else tokens.binding(bound_to),
        }
        return Claims(**(members | changes))

    def token(
        self, *, bound_to: bytes | None = None, key: SigningKey | None = None, **changes: Any
    ) -> str:
        """Return a token of now, by another key or with some claims changed."""
        return tokens.issue(self.claims(bound_to=bound_to, **changes), key or self.key)

    def proof(self, token: str, method: str, url: str, **changes: Any) -> str:
        """Return a DPoP proof (RFC 9449) by the installation, with some members changed."""
        proof = tokens.prove(
            token, self.installation, method=method, url=url, jti=_random(), now=self.clock()
        )
        header, payload, _ = proof.encode().split(b".")
        said = jsontext.parse_object(b64url_decode(payload)) | changes
        data = header + b"." + b64url_encode(jsontext.dump(said))
        return (data + b"." + b64url_encode(self.installation.sign(data))).decode()


def _random() -> str:
    return b64url_encode(secrets.token_bytes(16)).decode()


def assert_pinned(pins: Client, host: str) -> None:
    """Fail unless a domain of the active config enforces pins for `host`.

    Raises:
        AssertionError: no domain covers it, or its mode is not `enforce`.
    """
    domain = pins.domain(host)
    if domain is None:
        raise AssertionError(f"{host} is not pinned: no domain of the config covers it")
    if domain.mode.value != "enforce":
        raise AssertionError(f"{host} is not pinned: its mode is {domain.mode.value}")


__all__ = [
    "Authority",
    "Chain",
    "DeliverySimulator",
    "FakeClock",
    "MemoryStore",
    "RecordingServer",
    "TokenIssuer",
    "assert_pinned",
    "load_chain",
    "make_authority",
    "make_chain",
    "make_key",
    "pin_of",
    "server_context",
]
