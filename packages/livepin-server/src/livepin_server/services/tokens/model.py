"""The values of tokens that use cases take and return."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from livepin import tokens
from msgspec import Meta, Struct, structs

from livepin_server.services.model import Name, Pattern

MOST_TAGS = 16
TEST = "test"  # the tag of those that may be unpinned for a test: admins alone give and take it
LIVES = int(tokens.LIFETIME.total_seconds())  # seconds, at most
Profile = Literal["livepin", "approov"]
Alg = Literal["ES256", "EdDSA", "HS256"]
Verdict = Literal["block", "pass", "fail"]
InstallationId = Annotated[str, Meta(min_length=22, max_length=22, pattern=r"^[A-Za-z0-9_-]+$")]
Binding = Annotated[str, Meta(min_length=43, max_length=43, pattern=r"^[A-Za-z0-9_-]+$")]
_Printed, _OrNot = r"^[!-~]+$", r"^[!-~]*$"


class DomainTokens(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How tokens for a domain are made: by which key, in which profile, for whom, for how long.

    `audience` stands in place of the host that a token is for, `issuer` of that of the account.
    """

    key: Name = "main"
    profile: Profile = "livepin"
    audience: Annotated[str, Meta(max_length=255, pattern=_Printed)] | None = None
    issuer: Annotated[str, Meta(max_length=255, pattern=_Printed)] | None = None
    lives: Annotated[int, Meta(ge=30, le=LIVES)] = LIVES  # seconds, from `iat` to `exp`


class DomainTokensChange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to change of `DomainTokens`; what is not said stays. What is empty ends."""

    key: Name | None = None
    profile: Profile | None = None
    audience: Annotated[str, Meta(max_length=255, pattern=_OrNot)] | None = None
    issuer: Annotated[str, Meta(max_length=255, pattern=_OrNot)] | None = None
    lives: Annotated[int, Meta(ge=30, le=LIVES)] | None = None

    def over(self, before: DomainTokens) -> DomainTokens:
        """Return `before` with what is said here."""
        names = DomainTokensChange.__struct_fields__
        said = {name: each for name in names if (each := getattr(self, name)) is not None}
        said |= {name: None for name in ("audience", "issuer") if said.get(name) == ""}
        return structs.replace(before, **said)


class AccountTokens(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How tokens of an account are made. Without `issuer` it is the first delivery URL."""

    issuer: Annotated[str, Meta(max_length=255, pattern=_Printed)] | None = None


class AccountTokensChange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to change of `AccountTokens`; what is not said stays. What is empty ends."""

    issuer: Annotated[str, Meta(max_length=255, pattern=_OrNot)] | None = None

    def over(self, before: AccountTokens) -> AccountTokens:
        """Return `before` with what is said here."""
        return before if self.issuer is None else AccountTokens(issuer=self.issuer or None)


class NewTokenKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to add, for tokens of domains that name it; a secret is for one `domain` alone."""

    name: Name
    algorithm: Alg = "ES256"
    domain: Pattern | None = None


class TokenKeyView(Struct, frozen=True, kw_only=True):
    """A key that signs tokens, or did, or will: from and until when. A secret has no `jwk`."""

    name: str
    kid: str
    algorithm: str
    domain: str | None
    created: datetime
    signs_from: datetime
    verifies_until: datetime | None
    jwk: dict[str, str] | None
    signs: bool


class NewExample(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token that somebody wants to try a backend with; with `valid` off a decoy.

    `bind` is the SHA-256 of what it is to be bound to, in base64url.
    """

    host: Annotated[str, Meta(max_length=255)]
    stream: Name = "main"
    valid: bool = True
    bind: Binding | None = None


class Rule(Struct, frozen=True, kw_only=True):
    """What an operator decided of an installation, until when, and why."""

    verdict: Verdict
    expires: datetime | None
    reason: str
    author: str
    created: datetime


class InstallationView(Struct, frozen=True, kw_only=True):
    """An installation: what its last token request said, its verdict, and what was decided of it.

    What an operator decided goes before the verdict of the appraisal.
    """

    id: str
    thumbprint: str | None
    app: str | None
    stream: str | None
    config_version: int | None
    first_seen: datetime | None
    last_seen: datetime | None
    verdict: Literal["pass", "report", "fail"] | None
    rule: Rule | None
    tags: list[str]
