"""`Recording`: when installations were last seen, and with what. In memory, written in batches.

Nothing here decides anything. What a server that dies has not written yet, a second at most, is
lost; the next request of each installation tells it again.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
from livepin.jose import b64url_encode
from sqlalchemy import Connection, Insert, delete, exists, select
from sqlalchemy.dialects import postgresql, sqlite

from livepin_server.attestation.appraisal import UNASKED, Appraisal
from livepin_server.attestation.claims import NOTHING, Claims
from livepin_server.services.appraisal.verdicts import Judged, Verdicts
from livepin_server.storage.database import Database
from livepin_server.storage.schema import claims, installation_rules, installations, proofs

MOST = 200_000  # installations that wait to be written; more are not noted
_AT_A_TIME = 5_000  # rows of one transaction, so that publishing waits little


class Seen(NamedTuple):
    """A token request of an installation: what it said, and when."""

    account: str
    id: str
    thumbprint: str
    app: str
    stream: str
    config_version: int
    moment: datetime
    claims: Claims = NOTHING
    appraisal: Appraisal = UNASKED
    policy: int = 0

    @property
    def judged(self) -> Judged:
        """What was said of it."""
        return Judged(
            account=self.account, id=self.id, app=self.app, appraisal=self.appraisal,
            claims=self.claims, policy=self.policy, moment=self.moment,
        )  # fmt: skip


class Recording:
    """Notes requests, from one thread, and writes them, from another."""

    def __init__(self, database: Database, verdicts: Verdicts) -> None:
        self._database = database
        self._verdicts = verdicts
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, str], Seen] = {}
        self.missed = 0  # that were not noted, for lack of room

    def note(self, seen: Seen) -> None:
        """Remember a request; the last one of an installation counts."""
        with self._lock:
            if len(self._seen) < MOST or (seen.account, seen.id) in self._seen:
                self._seen[seen.account, seen.id] = seen
            else:
                self.missed += 1

    def keep(self) -> None:
        """Write down what was noted.

        Raises:
            UnavailableError: the database cannot now; it is remembered, and written next time.
        """
        with self._lock:
            taken, self._seen = self._seen, {}
        # In one order everywhere: two servers that write the same rows never wait for each other.
        rows = [taken[key] for key in sorted(taken)]
        try:
            while rows:
                batch = rows[:_AT_A_TIME]
                self._database.write(functools.partial(self._write, batch=batch))
                del rows[: len(batch)]
        except BaseException:
            with self._lock:
                self._seen = {(each.account, each.id): each for each in rows} | self._seen
            raise

    def forget(self, before: datetime) -> None:
        """Forget installations that were not seen since, and of which nothing is decided.

        What they proved goes with them.
        """

        def transaction(connection: Connection) -> None:
            decided = select(installation_rules.c.id).where(
                installation_rules.c.account == installations.c.account,
                installation_rules.c.id == installations.c.id,
            )
            connection.execute(
                delete(installations).where(
                    installations.c.last_seen < before, ~exists(decided.correlate(installations))
                )
            )
            known = select(installations.c.id).where(
                installations.c.account == proofs.c.account, installations.c.id == proofs.c.id
            )
            connection.execute(
                delete(proofs).where(proofs.c.moment < before, ~exists(known.correlate(proofs)))
            )

        self._database.write(transaction)

    def forget_claims(self, before: datetime) -> None:
        """Forget claims that were not made since, and that no installation made last.

        One that claims something else each time leaves a row a second, of thousands of bytes.
        """
        made = select(installations.c.claims).where(installations.c.claims.is_not(None))
        gone = delete(claims).where(claims.c.last_seen < before, claims.c.digest.not_in(made))
        self._database.write(lambda connection: connection.execute(gone))

    def _write(self, connection: Connection, *, batch: Sequence[Seen]) -> None:
        self._verdicts.tell(connection, (each.judged for each in batch))
        _write_claims(connection, batch)
        _write_installations(connection, batch)


def _write_claims(connection: Connection, batch: Sequence[Seen]) -> None:
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for each in batch:
        if each.claims is not NOTHING:
            digest, text = _encoded(each.claims)
            rows[each.account, digest] = {
                "account": each.account, "digest": digest, "claims": text,
                "last_seen": each.moment,
            }  # fmt: skip
    if rows:
        in_order = [rows[key] for key in sorted(rows)]
        connection.execute(_UPSERT_CLAIMS[connection.dialect.name], in_order)


@functools.lru_cache(1024)
def _encoded(found: Claims) -> tuple[str, str]:
    """Return the digest of claims, and their JSON."""
    text = msgspec.json.encode(found.kept())
    return b64url_encode(sha256(text).digest())[:22].decode(), text.decode()


def _write_installations(connection: Connection, batch: Sequence[Seen]) -> None:
    rows: list[dict[str, Any]] = [
        {
            "account": each.account, "id": each.id, "thumbprint": each.thumbprint,
            "app": each.app, "stream": each.stream, "config_version": each.config_version,
            "first_seen": each.moment, "last_seen": each.moment,
            "verdict": each.appraisal.verdict,
            "claims": None if each.claims is NOTHING else _encoded(each.claims)[0],
        }
        for each in batch
    ]  # fmt: skip
    connection.execute(_UPSERTS[connection.dialect.name], rows)


def _upsert(dialect: Any) -> Insert:
    statement = dialect.insert(installations)
    news = ("app", "stream", "config_version", "last_seen", "verdict", "claims")
    found: Insert = statement.on_conflict_do_update(
        index_elements=["account", "id"],
        set_={name: statement.excluded[name] for name in news},
        # Another server may have written a later one already.
        where=installations.c.last_seen <= statement.excluded.last_seen,
    )
    return found


def _upsert_claims(dialect: Any) -> Insert:
    # Always an update, so that nobody forgets them between this and the installations.
    statement = dialect.insert(claims)
    found: Insert = statement.on_conflict_do_update(
        index_elements=["account", "digest"], set_={"last_seen": statement.excluded.last_seen}
    )
    return found


_UPSERT_CLAIMS = {"sqlite": _upsert_claims(sqlite), "postgresql": _upsert_claims(postgresql)}
_UPSERTS = {"sqlite": _upsert(sqlite), "postgresql": _upsert(postgresql)}
