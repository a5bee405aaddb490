"""`Verifying`: what the evidence of a token request claims, and what was proved before.

What a process says of itself is read at once. What a platform or hardware says takes a database,
and longer, and is read in a thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import msgspec
from livepin import tokens
from livepin.documents.token_request import TokenRequest
from livepin.jose import PublicKey, b64url_decode, b64url_encode
from sqlalchemy import Connection, Insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Row

from livepin_server.attestation.apple import AttestedKey
from livepin_server.attestation.attested import Asked, Attested, EvidenceError
from livepin_server.attestation.claims import (
    NOTHING,
    SIGNALS,
    Claims,
    Proof,
    Refused,
    Signals,
    claims_of,
    proof_of,
    refused,
)
from livepin_server.attestation.registered import Registered
from livepin_server.errors import UnavailableError
from livepin_server.services.tokens.issuing import Issuing
from livepin_server.storage.database import Database
from livepin_server.storage.schema import proofs

from .verifiers import ASKED, ATTESTED, OWN, Verifiers

logger = logging.getLogger("livepin.tokens")

_MOST_AT_ONCE = 16  # that are in threads; more wait
# Of one format in a request: a phone proves its own key, and one made just now. Each may cost a
# call elsewhere, so more would let one request hold a thread for minutes.
_MOST_OF_ONE = 2
_MOST_WAITING = 256  # for a thread; more are refused at once
_UNREGISTERED = Registered()


class _Room:
    """Room for so many verifications at once, and for so many that wait."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(_MOST_AT_ONCE)
        self._waiting = 0

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Wait for room.

        Raises:
            UnavailableError: too many wait already.
        """
        if self._waiting >= _MOST_WAITING:
            raise UnavailableError("too much evidence waits to be verified")
        self._waiting += 1
        try:
            async with self._free:
                yield
        finally:
            self._waiting -= 1


class Verifying:
    """Verifies evidence, and keeps what it proved beyond what a process says of itself."""

    def __init__(self, database: Database, verifiers: Verifiers) -> None:
        self._database = database
        self._verifiers = verifiers
        # Whoever has to be asked elsewhere may be slow, and is to keep no device out.
        self._here, self._elsewhere = _Room(), _Room()

    async def claims(
        self, issuing: Issuing, request: TokenRequest, now: datetime
    ) -> tuple[Claims, Sequence[Proof]]:
        """Return what the evidence of a request claims, and what was proved before it.

        Raises:
            UnavailableError: the database is needed, and not there; or too much evidence waits.
        """
        if not _takes_long(issuing, request):
            return (self._own(issuing, request, now), ()) if request.evidence else (NOTHING, ())
        asks = any(each["format"] in ASKED for each in request.evidence)
        async with (self._elsewhere if asks else self._here).taken():
            return await asyncio.to_thread(self._whole, issuing, request, now)

    def _own(self, issuing: Issuing, request: TokenRequest, now: datetime) -> Claims:
        signals: Signals | None = None
        found: list[Proof] = []
        refusals: list[Refused] = []
        for each in request.evidence:
            try:
                if each["format"] == SIGNALS and signals is None:  # the first are the SDK's own
                    signals = Signals.read(each)
                elif each["format"] in OWN:
                    asked = Asked.of(request, now)
                    attested, _ = self._verifiers.verify(each, asked, _app(issuing, request))
                    found.append(proof_of(attested))
            except EvidenceError as exc:
                refusals.append(_refused(request, each, exc))
        return claims_of(found, signals, refusals)

    def _whole(
        self, issuing: Issuing, request: TokenRequest, now: datetime
    ) -> tuple[Claims, Sequence[Proof]]:
        own = self._own(issuing, request, now)
        rows = self._held(request)
        asked, app = Asked.of(request, now), _app(issuing, request)
        found: list[Proof] = []
        refusals: list[Refused] = []
        counted: Counter[str] = Counter()
        for each in request.evidence:
            if each["format"] not in ATTESTED:
                continue
            counted[each["format"]] += 1
            try:
                if counted[each["format"]] > _MOST_OF_ONE:
                    raise EvidenceError("number", f"expected at most {_MOST_OF_ONE} of one format")
                attested, key = self._verifiers.verify(each, asked, app, _key(rows))
                self._keep(request, attested, key, now, again="assertion" in each)
            except EvidenceError as exc:
                refusals.append(_refused(request, each, exc))
            else:
                found.append(proof_of(attested))
        standing = [
            Proof(format=row.format, level=row.level, bound=row.bound, moment=row.moment)
            for row in rows
            if row.app == request.app
        ]
        claims = msgspec.structs.replace(
            own,
            proofs=(*own.proofs, *sorted(found, key=lambda one: (one.format, one.level))),
            refused=(*own.refused, *refusals),
        )
        return claims, standing

    def _held(self, request: TokenRequest) -> Sequence[Row[Any]]:
        query = select(proofs).where(*_of(request)).order_by(proofs.c.format, proofs.c.level)
        with self._database.reading() as connection:
            return connection.execute(query).all()

    def _keep(
        self,
        request: TokenRequest,
        attested: Attested,
        key: AttestedKey | None,
        now: datetime,
        *,
        again: bool,
    ) -> None:
        """Keep what was proved, before anything is answered.

        Raises:
            EvidenceError: another request with the same assertion, or a later one, was first.
        """
        row = {
            "app": request.app,
            "bound": attested.bound,
            "said": msgspec.json.encode(attested.said).decode(),
            "moment": now,
            **_columns(key),
        }
        place = {
            "account": request.account,
            "id": _identity(request),
            "format": attested.format,
            "level": attested.level,
        }

        def transaction(connection: Connection) -> bool:
            if not again:
                connection.execute(_UPSERTS[connection.dialect.name], {**place, **row})
                return True
            # The comparison and the change are one: a replayed assertion finds it done.
            same = [proofs.c[name] == value for name, value in place.items()]
            unspent = proofs.c.key_id == row["key_id"], proofs.c.counter < row["counter"]
            done = connection.execute(update(proofs).where(*same, *unspent).values(**row))
            return done.rowcount == 1

        if not self._database.write(transaction):
            raise EvidenceError("counter", "expected above the last, which was kept meanwhile")


def _takes_long(issuing: Issuing, request: TokenRequest) -> bool:
    return issuing.policy.needs_standing(request.app) or any(
        each["format"] in ATTESTED for each in request.evidence
    )


def _identity(request: TokenRequest) -> str:
    return tokens.installation_id(request.account, request.key.kid)


def _of(request: TokenRequest) -> tuple[Any, ...]:
    return proofs.c.account == request.account, proofs.c.id == _identity(request)


def _app(issuing: Issuing, request: TokenRequest) -> Registered:
    return issuing.apps.get(request.app, _UNREGISTERED)


def _refused(request: TokenRequest, evidence: Mapping[str, Any], error: EvidenceError) -> Refused:
    found = refused(evidence, error)
    logger.info(
        "evidence of %s was refused: %s: %s", _identity(request), found.format, found.reason
    )
    return found


def _key(rows: Sequence[Row[Any]]) -> AttestedKey | None:
    row = next((each for each in rows if each.key_id is not None), None)
    if row is None:
        return None
    kept = msgspec.json.decode(row.public)
    return AttestedKey(
        key_id=b64url_decode(row.key_id.encode()),
        public_key=PublicKey.from_jwk(kept["key"]),
        counter=row.counter,
        development=kept["development"],
    )


def _columns(key: AttestedKey | None) -> dict[str, Any]:
    if key is None:
        return {"key_id": None, "public": None, "counter": None}
    kept = {"key": key.public_key.jwk(), "development": key.development}
    return {
        "key_id": b64url_encode(key.key_id).decode(),
        "public": msgspec.json.encode(kept),
        "counter": key.counter,
    }


def _upsert(dialect: Any) -> Insert:
    statement = dialect.insert(proofs)
    news = "app", "bound", "said", "moment", "key_id", "public", "counter"
    found: Insert = statement.on_conflict_do_update(
        index_elements=["account", "id", "format", "level"],
        set_={name: statement.excluded[name] for name in news},
    )
    return found


_UPSERTS = {"sqlite": _upsert(sqlite), "postgresql": _upsert(postgresql)}
