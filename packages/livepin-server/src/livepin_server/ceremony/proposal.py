"""The proposal of a root: the file that goes from the server to those who hold root keys, and back.

It holds the payload of root N+1, the signatures gathered so far, and root N as it was signed, so
that a signer sees on a machine without a network what changes. It holds no secret. What it says
is believed as far as signatures prove it: there is no member in it that says in words what the
payload says in keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from livepin import jsontext
from livepin.documents import Root, root
from livepin.errors import MalformedError, VerificationError
from livepin.jose import (
    PublicKey,
    Signature,
    Signer,
    b64url_decode,
    b64url_encode,
    parse_general,
    sign_general,
)

from livepin_server.errors import CustodyError

FORMAT = "livepin-root-proposal/1"
MOST = 4 * root.MAX_SIZE  # bytes: two roots, and white space

_MEMBERS = {"format", "payload", "signatures", "previous"}
_HINT = "make a new one with: livepin root prepare"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRoot:
    """A root with enough signatures of the keys that it names, and which keys these are."""

    raw: bytes
    payload: bytes
    document: Root
    signed_by: tuple[str, ...]

    @classmethod
    def parse(cls, raw: bytes) -> SignedRoot:
        """Return the root in `raw`.

        That its own keys signed it says nothing of who they are: whom to trust is for who reads.

        Raises:
            MalformedError, VerificationError: not a root, or not signed by its own threshold.
        """
        if len(raw) > root.MAX_SIZE:
            raise VerificationError(1, f"expected at most {root.MAX_SIZE} bytes, found {len(raw)}")
        jws = parse_general(raw, typ=root.TYP)
        document = Root.parse(jws.payload)
        role = document.roles["root"]
        # Signatures of the keys before it stand beside these, and are theirs to judge.
        signed_by = _signed_by((s for s in jws.signatures if s.kid in role.keys), role.keys)
        if len(signed_by) < role.threshold:
            found = len(signed_by)
            raise VerificationError(3, f"expected {role.threshold} of its own keys, found {found}")
        return cls(raw=raw, payload=jws.payload, document=document, signed_by=signed_by)


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """How many more keys of root N, and how many more of root N+1, must sign."""

    old: int
    new: int

    def __bool__(self) -> bool:
        return bool(self.old or self.new)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Root N+1 on its way to be signed. Its signatures are valid, each of another root key."""

    payload: bytes
    root: Root
    previous: SignedRoot | None
    signatures: tuple[Mapping[str, str], ...] = ()
    signed_by: tuple[str, ...] = ()

    @classmethod
    def new(cls, payload: bytes, previous: bytes | None) -> Proposal:
        """Return the proposal of a payload after root N; of root 1, `previous` is None.

        Raises:
            MalformedError, VerificationError: one is no root, or does not follow on the other.
        """
        before = None if previous is None else SignedRoot.parse(previous)
        found = cls(payload=payload, root=Root.parse(payload), previous=before)
        found._check_follows()
        return found

    @classmethod
    def parse(cls, data: bytes) -> Proposal:
        """Return the proposal in a file.

        Raises:
            MalformedError, VerificationError: not a proposal, or one that no client would take.
        """
        members = _members(data)
        payload = _bytes(members, "payload")
        previous = members["previous"]
        if not isinstance(previous, dict | None):
            raise MalformedError("expected the root before it, or null", hint=_HINT)
        found = cls.new(payload, None if previous is None else jsontext.dump(previous))
        listed = members["signatures"]
        return found if listed == [] else found._with(listed)

    def to_bytes(self) -> bytes:
        """Return the file."""
        before = self.previous
        members = {
            "format": FORMAT,
            "payload": b64url_encode(self.payload).decode(),
            "signatures": list(self.signatures),
            "previous": None if before is None else jsontext.parse_object(before.raw),
        }
        return jsontext.dump(members) + b"\n"

    def document(self) -> dict[str, Any]:
        """Return root N+1 as general JSON JWS, with the signatures gathered so far."""
        payload = b64url_encode(self.payload).decode()
        return {"payload": payload, "signatures": list(self.signatures)}

    @property
    def keys(self) -> dict[str, PublicKey]:
        """The root keys of root N and of root N+1: whose signatures count."""
        before = {} if self.previous is None else self.previous.document.roles["root"].keys
        return before | self.root.roles["root"].keys

    @property
    def missing(self) -> Missing:
        """How many signatures are missing. One key may count in both roots, never twice in one."""
        signed, before = set(self.signed_by), self.previous
        old = 0 if before is None else _short(before.document, signed)
        return Missing(old=old, new=_short(self.root, signed))

    def signed(self, signer: Signer) -> Proposal:
        """Return the proposal with the signature of one more root key.

        Raises:
            CustodyError: the key is neither in root N nor in root N+1, or has signed already.
        """
        self.check_signer(signer.public.kid)
        signed = jsontext.parse_object(sign_general(self.payload, typ=root.TYP, signers=[signer]))
        return self._with([*self.signatures, *signed["signatures"]])

    def merged(self, document: Mapping[str, Any]) -> Proposal:
        """Return the proposal with the signatures of a document of the same payload, too.

        Raises:
            MalformedError, VerificationError: it is another payload, or one does not count.
        """
        raw = jsontext.dump(dict(document))
        if parse_general(raw, typ=root.TYP).payload != self.payload:
            raise MalformedError("expected signatures of this proposal, found those of another")
        return self._with([*self.signatures, *document["signatures"]])

    def check_signer(self, kid: str) -> None:
        """Refuse a key whose signature would not count."""
        if kid not in self.keys:
            version, account = self.root.version, self.root.account
            named = f"root {version}" if version == 1 else f"root {version - 1} or {version}"
            raise CustodyError(
                f"the key {kid} is not a root key of {named} of {account}",
                hint="is it the key of this account, and the right proposal?",
            )
        if kid in self.signed_by:
            raise CustodyError(
                f"the key {kid} has signed this already", hint="the next signature is another key's"
            )

    def _with(self, signatures: Any) -> Proposal:
        """Return the proposal with these signatures, each of which must count."""
        encoded = b64url_encode(self.payload).decode()
        raw = jsontext.dump({"payload": encoded, "signatures": signatures})
        found = parse_general(raw, typ=root.TYP).signatures
        return replace(self, signatures=tuple(signatures), signed_by=_signed_by(found, self.keys))

    def _check_follows(self) -> None:
        """Refuse what is not the next root of the account."""
        account, version = self.root.account, self.root.version
        before = None if self.previous is None else self.previous.document
        if before is None:
            if version != 1:
                raise VerificationError(
                    6, f"expected the root before root {version} in it", hint=_HINT
                )
            return
        if account != before.account:
            raise VerificationError(
                5, f"expected a root of {before.account}, found one of {account}", hint=_HINT
            )
        if version != before.version + 1:
            raise VerificationError(
                6, f"expected root {before.version + 1}, found root {version}", hint=_HINT
            )


def _short(document: Root, signed: set[str]) -> int:
    role = document.roles["root"]
    return max(0, role.threshold - len(signed & role.keys.keys()))


def _signed_by(signatures: Iterable[Signature], keys: Mapping[str, PublicKey]) -> tuple[str, ...]:
    """Return whose signatures these are; one that clients would refuse is refused (rules 2, 3)."""
    found: list[str] = []
    for each in signatures:
        key = keys.get(each.kid)
        if key is None:
            raise VerificationError(2, f"the key {each.kid[:64]!r} is not a root key", hint=_HINT)
        if not each.verified_by(key):
            raise VerificationError(
                3, f"the signature of {each.kid} is not valid", hint="was the file changed?"
            )
        if each.kid in found:
            raise VerificationError(3, f"the key {each.kid} stands in it twice", hint=_HINT)
        found.append(each.kid)
    return tuple(found)


def _members(data: bytes) -> dict[str, Any]:
    if len(data) > MOST:
        raise MalformedError(f"expected a proposal of at most {MOST} bytes", hint=_HINT)
    try:
        jsontext.check_depth(data)
        members = jsontext.parse_object(data)
    except MalformedError as exc:
        raise MalformedError(f"expected a proposal of a root: {exc}", hint=_HINT) from exc
    if members.get("format") != FORMAT:
        raise MalformedError(f"expected a proposal of the format {FORMAT}", hint=_HINT)
    # Nothing unsigned stands beside what is signed, where a person could take it for that.
    if members.keys() != _MEMBERS:
        found = sorted(members.keys() ^ _MEMBERS)[0]
        raise MalformedError(f"expected exactly {', '.join(sorted(_MEMBERS))}: see {found[:40]!r}")
    return members


def _bytes(members: Mapping[str, Any], name: str) -> bytes:
    text = members[name]
    if not isinstance(text, str) or not text.isascii():
        raise MalformedError(f"expected the {name} in base64url", hint=_HINT)
    return b64url_decode(text.encode())
