"""The rules of trust: which document may replace which. The numbers are those of the spec.

`TrustedState` is a value: every step returns a new one or raises, so a refused document changes
nothing (rule 10). There is no I/O and no clock here; fetching is `client.updater`'s part.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone

from . import jsontext
from .bootstrap import Bootstrap
from .documents import Config, Domain, Override, Root, config, override, root
from .errors import MalformedError, RollbackError, VerificationError
from .hostnames import normalise, pattern_covers
from .jose import Jws, PublicKey, Signature, parse_compact, parse_general

MAX_ROOT_STEPS = 32  # in one update (rule 1)
CLOCK_TOLERANCE = timedelta(minutes=5)
STORE_FORMAT = "livepin-state/1"
MAX_STORED = 64 * 1024 * 1024  # bytes; a config, an override, and a life of roots

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True)
class TrustedRoot:
    """A root document that was accepted, with the bytes it came in."""

    raw: bytes
    payload: bytes
    document: Root


@dataclass(frozen=True, slots=True)
class TrustedConfig:
    """A config document that was accepted, with the bytes it came in."""

    raw: bytes
    payload: bytes
    document: Config


@dataclass(frozen=True, slots=True)
class TrustedOverride:
    """An override in force, with the run time that it has used up."""

    raw: bytes
    payload: bytes
    document: Override
    used: timedelta = timedelta()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedState:
    """What an app trusts now: the chain of roots from its bootstrap on, and the newest config.

    `override_floor` is the highest override version seen under the newest root; `latest_issued`
    the latest time of issue accepted under it.
    """

    roots: tuple[TrustedRoot, ...]
    trusted_config: TrustedConfig
    latest_issued: datetime
    trusted_override: TrustedOverride | None = None
    override_floor: int = 0

    @classmethod
    def from_bootstrap(cls, bootstrap: Bootstrap) -> TrustedState:
        """Return the state of an app that has never been online.

        Raises:
            VerificationError: root and config of the bootstrap do not belong together.
        """
        first = _first_root(bootstrap.root)
        jws = _parse(bootstrap.config, config.TYP, config.MAX_SIZE)
        _verify_online(jws, first.document, "config")
        document = Config.parse(jws.payload)
        if document.account != first.document.account:
            raise VerificationError(
                5, _expected("account", first.document.account, document.account)
            )
        if document.root_version != first.document.version:
            found = document.root_version
            raise VerificationError(6, _expected("root_version", first.document.version, found))
        return cls(
            roots=(first,),
            trusted_config=TrustedConfig(bootstrap.config, jws.payload, document),
            latest_issued=max(first.document.issued, document.issued),
        )

    @property
    def root(self) -> Root:
        """The newest trusted root."""
        return self.roots[-1].document

    @property
    def config(self) -> Config:
        """The active config."""
        return self.trusted_config.document

    @property
    def account(self) -> str:
        """The account that owns this state."""
        return self.root.account

    @property
    def stream(self) -> str:
        """The stream of configs that this state follows."""
        return self.config.stream

    @property
    def order(self) -> tuple[int, int]:
        """The pair that never goes down: root_version and version of the config."""
        return self.config.root_version, self.config.version

    # -- documents ------------------------------------------------------------------------------

    def missing_roots(self, raw_config: bytes) -> range:
        """Return the versions of the roots to fetch before `raw_config` can be judged.

        Nothing of the config is trusted for that: a lie costs at most 32 fetches. Who is further
        behind takes these steps now and the rest in the next update (rule 1).

        Raises:
            VerificationError: rule 1, 2 or 4.
        """
        jws = _parse(raw_config, config.TYP, config.MAX_SIZE)
        return self._missing_up_to(Config.root_named(jws.payload))

    def missing_roots_of_override(self, raw: bytes) -> range:
        """Return the versions of the roots to fetch before the override `raw` can be judged.

        As for a config, see `missing_roots`.

        Raises:
            VerificationError: rule 1, 2 or 4.
        """
        jws = _parse(raw, override.TYP, override.MAX_SIZE)
        return self._missing_up_to(Override.root_named(jws.payload))

    def advance_root(self, raw: bytes) -> TrustedState:
        """Return the state that trusts root N+1. Its expiry never stops the walk (rule 6).

        Raises:
            VerificationError: rules 1 to 6.
        """
        jws = _parse(raw, root.TYP, root.MAX_SIZE, general=True)
        # Rule 3 before rule 4: the old threshold vouches for the payload before it is read.
        _require(jws.signatures, self.root.roles["root"].keys, self.root.roles["root"].threshold)
        document = Root.parse(jws.payload)
        if document.account != self.account:
            raise VerificationError(5, _expected("account", self.account, document.account))
        if document.version != self.root.version + 1:
            raise VerificationError(6, _expected("root", self.root.version + 1, document.version))
        new = document.roles["root"]
        _require(jws.signatures, new.keys, new.threshold)
        _check_kids(jws.signatures, self.root.roles["root"].keys, new.keys)
        # A new root starts the count of time and of overrides anew (rules 7 and 8), which cures
        # a fast-forward of either; an override ends with the root that it names.
        return replace(
            self,
            roots=(*self.roots, TrustedRoot(raw, jws.payload, document)),
            latest_issued=document.issued,
            trusted_override=None,
            override_floor=0,
        )

    def advance_config(self, raw: bytes) -> TrustedState:
        """Return the state with this config active, or the same state if it already is.

        Raises:
            VerificationError: rules 1 to 6; `RollbackError`: rule 7.
        """
        jws = _parse(raw, config.TYP, config.MAX_SIZE)
        _verify_online(jws, self._root_with(jws), "config")
        document = Config.parse(jws.payload)
        _check_owner(self, document.account, document.stream)
        self._check_root_named(jws, document)
        found = document.root_version, document.version
        if document.root_version < self.root.version:
            raise RollbackError(
                f"expected a config under root {self.root.version}, found root {found[0]}"
            )
        if found < self.order:
            raise RollbackError(f"expected {_pair(self.order)} or later, found {_pair(found)}")
        if found == self.order:
            if jws.payload != self.trusted_config.payload:
                raise RollbackError(f"config {_pair(found)} has other content than the trusted one")
            return self
        state = replace(
            self,
            trusted_config=TrustedConfig(raw, jws.payload, document),
            latest_issued=max(self.latest_issued, document.issued),
        )
        return state._without_override_out_of_bounds()

    def advance_override(self, raw: bytes, *, thumbprint: str, now: datetime) -> TrustedState:
        """Return the state with this override in force; `thumbprint` names our installation key.

        Raises:
            VerificationError: rules 1 to 7 and 9.
        """
        jws = _parse(raw, override.TYP, override.MAX_SIZE)
        _verify_online(jws, self.root, "override")
        document = Override.parse(jws.payload)
        _check_owner(self, document.account, self.stream)
        if document.root_version != self.root.version:
            found = document.root_version
            raise VerificationError(6, _expected("root_version", self.root.version, found))
        active = self.trusted_override
        if active is not None and jws.payload == active.payload:
            return self
        if document.version <= self.override_floor:
            raise RollbackError(
                f"expected an override above {self.override_floor}, found {document.version}"
            )
        if document.installation != thumbprint:
            raise VerificationError(9, "the override is for another installation")
        self._check_override(document)
        state = replace(
            self,
            trusted_override=TrustedOverride(raw, jws.payload, document),
            override_floor=document.version,
            latest_issued=max(self.latest_issued, document.issued),
        )
        return state.with_run_time(timedelta(), now=now)

    def with_run_time(self, elapsed: timedelta, *, now: datetime) -> TrustedState:
        """Return the state after `elapsed` more of run time: an override that ended is dropped.

        Run time counts too, so that a clock set back does not prolong an override (rule 9).
        """
        active = self.trusted_override
        if active is None:
            return self
        used = active.used + max(elapsed, timedelta())
        document = active.document
        if used >= document.lifetime or self.trusted_now(now=now) >= document.expires:
            return replace(self, trusted_override=None)
        return replace(self, trusted_override=replace(active, used=used))

    def _missing_up_to(self, named: int) -> range:
        known = self.root.version
        return range(known + 1, min(named, known + MAX_ROOT_STEPS) + 1)

    def _root_with(self, jws: Jws) -> Root:
        """Return the newest trusted root that gives the signing key the role, else the newest."""
        kid = jws.signatures[0].kid
        for each in reversed(self.roots):
            if kid in each.document.roles["config"].keys:
                return each.document
        return self.root

    def _check_root_named(self, jws: Jws, document: Config) -> None:
        """Apply rule 6: the root that a config names is the one whose key must have signed it."""
        named, oldest = document.root_version, self.roots[0].document.version
        if named > self.root.version:
            raise VerificationError(6, _expected("a config under root", self.root.version, named))
        if named < oldest:
            raise RollbackError(f"expected a config from root {oldest} on, found root {named}")
        _check_kids(jws.signatures, self.roots[named - oldest].document.roles["config"].keys)

    def _without_override_out_of_bounds(self) -> TrustedState:
        """Apply rule 9 to the override in force when a new config sets other bounds."""
        if self.trusted_override is None:
            return self
        try:
            self._check_override(self.trusted_override.document)
        except VerificationError:
            return replace(self, trusted_override=None)
        return self

    def _check_override(self, document: Override) -> None:
        if document.lifetime > override.MAX_LIFETIME:
            raise VerificationError(
                9, f"expected an override of at most 7 days, found {document.lifetime}"
            )
        delivery = {
            config.check_url(url, schemes=("https", "http"))
            for url in (*self.config.delivery.urls, *self.config.delivery.recovery_urls)
        }
        for domain in document.domains:
            if not self.config.covers(domain.pattern):
                raise VerificationError(9, f"the config does not list {domain.pattern}")
            if any(pattern_covers(domain.pattern, host) for host in delivery):
                raise VerificationError(9, f"{domain.pattern} covers a delivery host")

    def newest(self, other: TrustedState) -> TrustedState:
        """Return the longer chain of roots with the newer config of two states of one bootstrap.

        Two updates at a time, or two processes, may each get further in one of the two: neither
        a root nor a config that was trusted is ever given up for an older one (rule 7).
        """
        if self.root.version == other.root.version:
            newer, older = (self, other) if self.order >= other.order else (other, self)
            state = replace(
                newer,
                latest_issued=max(newer.latest_issued, older.latest_issued),
                trusted_override=_newest_override(newer, older),
                override_floor=max(newer.override_floor, older.override_floor),
            )
            return state._without_override_out_of_bounds()
        longer, shorter = (self, other) if self.root.version > other.root.version else (other, self)
        if longer.order >= shorter.order:
            return longer
        try:
            state = longer._with_stored_config(shorter.trusted_config.raw)
        except VerificationError:
            return longer  # the chains part before the root that the config names
        return state._without_override_out_of_bounds()

    # -- questions ------------------------------------------------------------------------------

    def lookup(self, host: str) -> Domain | None:
        """Return what holds for `host`, in any spelling; None if no domain covers it.

        Raises:
            MalformedError: not a host name.
        """
        name = normalise(host)
        found = self.config.lookup(name)
        if found is None or self.trusted_override is None:
            return found
        return self.trusted_override.document.lookup(name) or found

    def trusted_now(self, *, now: datetime) -> datetime:
        """Return the clock, or the latest accepted time of issue if the clock is behind it."""
        return max(now, self.latest_issued)

    def clock_is_wrong(self, *, now: datetime) -> bool:
        """Tell whether a trusted document was issued over 5 minutes after what the clock says."""
        return self.latest_issued - now > CLOCK_TOLERANCE

    def is_stale(self, *, now: datetime) -> bool:
        """Tell whether the active config has expired. Its pins are enforced all the same."""
        return self.trusted_now(now=now) >= self.config.expires

    def is_past_grace(self, *, now: datetime) -> bool:
        """Tell whether domains with `stale: refuse` are refused by now."""
        return self.trusted_now(now=now) - self.config.expires >= self.config.stale_grace

    # -- stored state ---------------------------------------------------------------------------

    def dump(self) -> bytes:
        """Return the state as it is stored."""
        active = self.trusted_override
        members = {
            "format": STORE_FORMAT,
            "roots": [each.raw.decode("ascii") for each in self.roots],
            "config": self.trusted_config.raw.decode("ascii"),
            "latest_issued": int(self.latest_issued.timestamp()),
            "override": None if active is None else active.raw.decode("ascii"),
            # Rounded up, so that restarting often does not prolong it.
            "override_used": 0 if active is None else -(-active.used // timedelta(seconds=1)),
            "override_floor": self.override_floor,
        }
        return jsontext.dump(members)

    @classmethod
    def load(
        cls, stored: bytes, bootstrap: Bootstrap, *, now: datetime, thumbprint: str | None = None
    ) -> TrustedState:
        """Return the stored state, judged anew by the same rules (rule 10).

        Roots before the bootstrap's are dropped. A bootstrap with a newer config, from an app
        update, is taken on top. `thumbprint` names our installation key, without which a stored
        override is dropped; so is one that a rule refuses, for then the config's own pins hold.

        Raises:
            VerificationError: the stored state is damaged, or its chain of roots does not
                contain the bootstrap's root with the same payload: the bootstrap replaces it.
        """
        base = cls.from_bootstrap(bootstrap)
        members = _Stored.parse(stored)
        state = base
        for raw in _after(members.roots, base.roots[0]):
            state = state.advance_root(raw)
        state = state._with_stored_config(members.config)
        state = replace(state, latest_issued=max(state.latest_issued, members.latest_issued))
        state = replace(state, override_floor=members.override_floor)
        if members.override is None or thumbprint is None:
            return state
        return state._with_stored_override(members, thumbprint, now=now)

    def _with_stored_config(self, raw: bytes) -> TrustedState:
        """Return the state with its stored config, which may be under an older root of the chain.

        That is what a crash between storing a root and its config leaves (rule 6).
        """
        jws = _parse(raw, config.TYP, config.MAX_SIZE)
        named = Config.parse(jws.payload).root_version
        held = tuple(each for each in self.roots if each.document.version <= named)
        if not held:
            return self  # older than the bootstrap's root: the bootstrap's config is newer
        then = replace(self, roots=held, latest_issued=held[-1].document.issued)
        try:
            then = then.advance_config(raw)
        except RollbackError:
            return self  # an app update brought a newer config than the stored one
        latest = self.latest_issued
        if named == self.root.version:
            latest = max(latest, then.latest_issued)
        return replace(self, trusted_config=then.trusted_config, latest_issued=latest)

    def _with_stored_override(
        self, members: _Stored, thumbprint: str, *, now: datetime
    ) -> TrustedState:
        floor = self.override_floor
        raw = members.override or b""
        try:
            state = replace(self, override_floor=0).advance_override(
                raw, thumbprint=thumbprint, now=now
            )
        except VerificationError:
            return self
        state = replace(state, override_floor=max(floor, state.override_floor))
        return state.with_run_time(members.override_used, now=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    roots: list[bytes]
    config: bytes
    latest_issued: datetime
    override: bytes | None
    override_used: timedelta
    override_floor: int

    @classmethod
    def parse(cls, stored: bytes) -> _Stored:
        if len(stored) > MAX_STORED:
            raise VerificationError(1, f"expected a stored state of at most {MAX_STORED} bytes")
        try:
            jsontext.check_depth(stored)
            found = jsontext.parse_object(stored)
            if found["format"] != STORE_FORMAT:
                raise MalformedError(f"expected the format {STORE_FORMAT}")
            kept = found["override"]
            return cls(
                roots=[raw.encode("ascii") for raw in found["roots"]],
                config=found["config"].encode("ascii"),
                latest_issued=_EPOCH + timedelta(seconds=int(found["latest_issued"])),
                override=None if kept is None else kept.encode("ascii"),
                override_used=timedelta(seconds=int(found["override_used"])),
                override_floor=int(found["override_floor"]),
            )
        except (
            MalformedError,
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
            OverflowError,
        ) as exc:
            raise VerificationError(4, f"expected a stored state: {exc}") from exc


def _newest_override(one: TrustedState, other: TrustedState) -> TrustedOverride | None:
    """Apply rules 7 and 9: what ended in one of two states has ended, run time is the longer."""
    if one.override_floor != other.override_floor:
        return max(one, other, key=lambda state: state.override_floor).trusted_override
    if one.trusted_override is None or other.trusted_override is None:
        return None
    return max(one.trusted_override, other.trusted_override, key=lambda active: active.used)


def _after(roots: list[bytes], first: TrustedRoot) -> list[bytes]:
    """Return the stored roots after the bootstrap's, which must be among them."""
    for at, raw in enumerate(roots):
        try:
            payload = parse_general(raw, typ=root.TYP).payload
        except MalformedError as exc:
            raise VerificationError(2, f"stored root: {exc}") from exc
        if payload == first.payload:
            return roots[at + 1 :]
    raise VerificationError(10, "the stored roots do not contain the root of the bootstrap")


def _first_root(raw: bytes) -> TrustedRoot:
    """Return the root of a bootstrap: trusted because it is embedded, checked for damage."""
    jws = _parse(raw, root.TYP, root.MAX_SIZE, general=True)
    document = Root.parse(jws.payload)
    role = document.roles["root"]
    _require(jws.signatures, role.keys, role.threshold)
    return TrustedRoot(raw, jws.payload, document)


def _parse(raw: bytes, typ: str, limit: int, *, general: bool = False) -> Jws:
    """Apply rules 1 and 2."""
    if len(raw) > limit:
        raise VerificationError(1, f"expected at most {limit} bytes, found {len(raw)}")
    if general:
        try:
            jsontext.check_depth(raw)
        except MalformedError as exc:
            raise VerificationError(1, str(exc)) from exc
    try:
        return parse_general(raw, typ=typ) if general else parse_compact(raw, typ=typ)
    except MalformedError as exc:
        raise VerificationError(2, str(exc)) from exc


def _verify_online(jws: Jws, named: Root, role: str) -> None:
    """Apply rules 2 and 3 to a document that one online key signs."""
    keys = named.roles[role].keys
    _check_kids(jws.signatures, keys)
    _require(jws.signatures, keys, 1)


def _check_kids(signatures: Iterable[Signature], *known: dict[str, PublicKey]) -> None:
    for signature in signatures:
        if not any(signature.kid in keys for keys in known):
            raise VerificationError(2, f"the kid {signature.kid[:64]!r} has no such role")


def _require(signatures: Iterable[Signature], keys: dict[str, PublicKey], threshold: int) -> None:
    """Apply rule 3: `threshold` distinct keys, each with a valid signature."""
    valid: set[str] = set()
    for signature in signatures:
        key = keys.get(signature.kid)
        if key is None:
            continue
        if not signature.verified_by(key):
            raise VerificationError(3, f"the signature of {signature.kid} is not valid")
        valid.add(signature.kid)
    if len(valid) < threshold:
        raise VerificationError(
            3, f"expected signatures of {threshold} distinct keys, found {len(valid)}"
        )


def _check_owner(state: TrustedState, account: str, stream: str) -> None:
    """Apply rule 5."""
    if account != state.account:
        raise VerificationError(5, _expected("account", state.account, account))
    if stream != state.stream:
        raise VerificationError(5, _expected("stream", state.stream, stream))


def _expected(what: str, expected: object, found: object) -> str:
    return f"expected {what} {expected}, found {found}"


def _pair(order: tuple[int, int]) -> str:
    return f"root {order[0]}, version {order[1]}"
