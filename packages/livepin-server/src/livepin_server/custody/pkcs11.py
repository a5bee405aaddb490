"""Private keys in a PKCS#11 token: made in it, used in it, and never outside of it.

What is kept on the server of such a key is its name there (CKA_LABEL). What it is for stands
beside it in the token (CKA_ID), so that nobody who can write the database has it sign for another
account or role. python-pkcs11 is an extra, and imported when a token is used.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec
from livepin.jose import PublicKey, Signer

from livepin_server.errors import CustodyError

from .label import IN_TOKEN, Kept, Label

if TYPE_CHECKING:
    from pkcs11.types import Session

_T = TypeVar("_T")
_POINT = bytes.fromhex("0441")  # OCTET STRING of 65 bytes: an uncompressed point of P-256
_P256 = bytes.fromhex("06082a8648ce3d030107")  # the curve as CKA_EC_PARAMS (RFC 5480, 2.1.1.1)
_LONGEST = 200  # characters of a name
# A module is set up for callers that use it one at a time.
_one_at_a_time = RLock()


class Token:
    """A token. It is logged in to when it is first needed, and again after it went away.

    `pin` is asked once; a wrong one is not tried again, for a few wrong ones lock a token.
    """

    def __init__(self, module: Path, label: str, pin: Callable[[], str]) -> None:
        self.label = label
        self._module = module
        self._pin = pin
        self._session: Session | None = None
        self._refused: CustodyError | None = None

    def new(self, name: str, *, account: str, role: str) -> TokenKey:
        """Make a P-256 key under a name that no other key has. It can never leave the token.

        Raises:
            CustodyError: there is such a name already, or the token cannot be used.
        """
        _check_name(name)
        if self._run(lambda session: _find(session, name)):
            raise CustodyError(
                f"the token {self.label} holds a key {name} already", hint="choose another name"
            )
        identity = _purpose(account, role) + secrets.token_bytes(8)
        self._run(lambda session: _generate(session, name, identity))
        return self.key(name, account=account, role=role)

    def key(self, name: str, *, account: str, role: str) -> TokenKey:
        """Return the key of a name.

        Raises:
            CustodyError: there is none, it is for another account or role, or no key of Livepin's.
        """
        _check_name(name)
        identity, public = self._there(name, lambda session: _read(session, name))
        if not identity.startswith(_purpose(account, role)):
            raise CustodyError(
                f"the key {name} in the token {self.label} is not the {role} key of {account}",
                hint="a key has one role in one account, from the day on which it is made",
            )
        return TokenKey(self, name, PublicKey(public))

    def destroy(self, name: str) -> None:
        """Remove a key from the token, for good; nothing where it is gone already."""
        self._run(lambda session: [each.destroy() for each in _find(session, name)])

    def sign(self, name: str, digest: bytes) -> bytes:
        """Return the ECDSA signature on a digest, r||s, by the key of a name."""
        return self._there(name, lambda session: _sign(session, name, digest))

    def check(self) -> None:
        """Log in, where that was not done yet, and see that the token answers.

        Raises:
            CustodyError: it cannot be used now.
        """
        self._run(lambda session: _find(session, "livepin"))

    def _there(self, name: str, use: Callable[[Session], _T | None]) -> _T:
        """Use a key that must be there. A token that has logged us out shows no private key."""
        found = self._run(use)
        if found is None:
            with _one_at_a_time:
                self._drop()
            found = self._run(use)
        if found is None:
            raise CustodyError(
                f"the token {self.label} holds no key {name}",
                hint="is it the right token, and was the key not removed from it?",
            )
        return found

    def _run(self, use: Callable[[Session], _T]) -> _T:
        """Use a session; one that was cut off meanwhile is opened anew before."""
        library = _library()
        with _one_at_a_time:
            try:
                return use(self._logged_in())
            except library.PKCS11Error as exc:
                self._drop()
                raise CustodyError(
                    f"the token {self.label} does not answer: {_in_words(exc)}",
                    hint="is it there? it is tried again when it is next needed",
                ) from exc

    def _logged_in(self) -> Session:
        if self._refused is not None:
            raise self._refused
        if self._session is not None and not _answers(self._session):
            self._drop()
        if self._session is None:
            self._session = self._log_in()
        return self._session

    def _drop(self) -> None:
        if self._session is not None:
            with suppress(_library().PKCS11Error):
                self._session.close()
        self._session = None

    def _log_in(self) -> Session:
        library = _library()
        token = self._found()
        if token.flags & (library.TokenFlag.USER_PIN_FINAL_TRY | library.TokenFlag.USER_PIN_LOCKED):
            raise CustodyError(
                f"the token {self.label} is locked, or the next wrong PIN locks it",
                hint="log in once with the tool that came with the token",
            )
        try:
            return _session(token, user_pin=self._pin())
        except library.UserAlreadyLoggedIn:
            return _session(token)  # somebody in this process has
        except (library.PinIncorrect, library.PinInvalid, library.PinLenRange) as exc:
            self._refused = CustodyError(
                f"the token {self.label} does not take this PIN",
                hint="it is not tried again by itself, for that would lock the token",
            )
            raise self._refused from exc

    def _found(self) -> Any:
        """Return the token; a module that does not show it is started anew, and asked again."""
        library, path = _library(), str(self._module)
        found: list[Any] = []
        with suppress(library.PKCS11Error):
            found = [*library.lib(path).get_tokens()]
        try:
            if self.label not in [each.label for each in found]:
                library.lib(path).reinitialize()
                found = [*library.lib(path).get_tokens()]
        except library.PKCS11Error as exc:
            raise CustodyError(
                f"the PKCS#11 module {self._module} cannot be used: {_in_words(exc)}",
                hint="it is a library of the token, such as /usr/lib/softhsm/libsofthsm2.so",
            ) from exc
        named = [each for each in found if each.label == self.label]
        if len(named) != 1:
            names = ", ".join(sorted({each.label for each in found if each.label})) or "none"
            what = "are several tokens" if named else "is no token"
            raise CustodyError(
                f"there {what} with the label {self.label!r}", hint=f"the module shows: {names}"
            )
        return named[0]


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A P-256 private key in a token; a `Signer`."""

    token: Token = field(repr=False)
    name: str
    public: PublicKey

    def sign(self, data: bytes) -> bytes:
        """Return the ES256 signature on `data`, 64 bytes r||s.

        Raises:
            CustodyError: the token cannot be used, the key is gone, or is another one now.
        """
        signature = self.token.sign(self.name, sha256(data).digest())
        if not self.public.verifies(signature, data):
            raise CustodyError(
                f"the key {self.name} in the token {self.token.label} signs, but not as itself",
                hint="two keys of one name, or a fault of the token",
            )
        return signature


class InToken:
    """Keeps the private keys of a server in a token."""

    def __init__(self, token: Token) -> None:
        self._token = token

    @property
    def where(self) -> str:
        """Where the keys are, in words."""
        return f"in the token {self._token.label}"

    def new(self, account: str, role: str) -> TokenKey:
        """Make a key in the token."""
        name = f"livepin {account} {role} {secrets.token_hex(4)}"
        return self._token.new(name, account=account, role=role)

    def keep(self, key: Signer, label: Label, *, beside: Kept | None) -> bytes:
        """Return where the key is."""
        if not isinstance(key, TokenKey):
            raise TypeError("expected a key in a token")
        return IN_TOKEN + key.name.encode()

    def open(self, kept: bytes, label: Label) -> TokenKey:
        """Return the key that is kept for `label`.

        Raises:
            CustodyError: the token cannot be used, or the key is gone or for another label.
        """
        name = kept[1:].decode("utf-8", "replace")
        key = self._token.key(name, account=label.account, role=label.role)
        if key.public.kid != label.kid:
            raise CustodyError(
                f"the key {name} in the token is not the {label.role} key {label.kid} of "
                f"{label.account}",
                hint="the database or the token was changed",
            )
        return key

    def forget(self, kept: bytes, label: Label) -> None:
        """Remove the key from the token."""
        self._token.destroy(self.open(kept, label).name)

    def warning(self, one: Kept | None) -> str | None:
        """Return why the token cannot be used now, if so."""
        try:
            self._token.check()
        except CustodyError as exc:
            return f"{exc}; {exc.hint}"
        return None


def _session(token: Any, **login: str) -> Session:
    found: Session = token.open(rw=True, **login)
    return found


def _library() -> Any:
    try:
        import pkcs11
    except ImportError as exc:
        raise CustodyError(
            "what talks to PKCS#11 tokens is not installed", hint="install livepin-server[pkcs11]"
        ) from exc
    return pkcs11


def _generate(session: Session, name: str, identity: bytes) -> None:
    from pkcs11 import Attribute, KeyType, MechanismFlag

    curve = session.create_domain_parameters(KeyType.EC, {Attribute.EC_PARAMS: _P256}, local=True)
    curve.generate_keypair(
        store=True,
        label=name,
        id=identity,
        capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
        private_template={
            Attribute.PRIVATE: True,
            Attribute.SENSITIVE: True,
            Attribute.EXTRACTABLE: False,
            Attribute.MODIFIABLE: False,
            Attribute.SIGN_RECOVER: False,
        },
        public_template={Attribute.MODIFIABLE: False},
    )


def _read(session: Session, name: str) -> tuple[bytes, ec.EllipticCurvePublicKey] | None:
    """Return what the key of a name is for and its public half, or None where there is none."""
    from pkcs11 import Attribute, ObjectClass

    private = _find(session, name, ObjectClass.PRIVATE_KEY)
    public = _find(session, name, ObjectClass.PUBLIC_KEY)
    if not private or not public:
        return None
    if private[0][Attribute.EXTRACTABLE] or not private[0][Attribute.SENSITIVE]:
        raise CustodyError(
            f"the key {name} in the token can be read out of it",
            hint="have Livepin make a key: that one never leaves the token",
        )
    point: bytes = public[0][Attribute.EC_POINT]
    try:
        if not point.startswith(_POINT):
            raise ValueError
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point[len(_POINT) :])
    except ValueError as exc:
        raise CustodyError(f"the key {name} in the token is not one of P-256") from exc
    return private[0][Attribute.ID], key


def _sign(session: Session, name: str, digest: bytes) -> bytes | None:
    from pkcs11 import Mechanism, ObjectClass

    for each in _find(session, name, ObjectClass.PRIVATE_KEY):
        signature: bytes = each.sign(digest, mechanism=Mechanism.ECDSA)
        return signature
    return None


def _answers(session: Session) -> bool:
    """Tell whether a session is still there, by what leaves nothing behind where it is not."""
    try:
        session.generate_random(8)
    except _library().PKCS11Error:
        return False
    return True


def _find(session: Session, name: str, kind: Any = None) -> list[Any]:
    from pkcs11 import Attribute

    wanted: dict[Any, Any] = {Attribute.LABEL: name}
    if kind is not None:
        wanted[Attribute.CLASS] = kind
    return list(session.get_objects(wanted))


def _purpose(account: str, role: str) -> bytes:
    """Return how CKA_ID begins; bytes of chance follow, for in some tokens no two may be alike."""
    return sha256("\n".join(("livepin", account, role)).encode()).digest()[:16]


def _check_name(name: str) -> None:
    if not (name.isprintable() and 0 < len(name) <= _LONGEST):
        raise CustodyError(f"expected the name of a key, of at most {_LONGEST} characters")


def _in_words(exc: Exception) -> str:
    return str(exc) or type(exc).__name__
