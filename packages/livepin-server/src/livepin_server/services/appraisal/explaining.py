"""`Appraising`: how an installation is appraised, and which rule decides."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, select
from sqlalchemy.engine import Row

from livepin_server.attestation.appraisal import appraise, counts
from livepin_server.attestation.claims import NOTHING, Claims, Proof
from livepin_server.attestation.policy import Policy
from livepin_server.services.tokens.installations import Installations
from livepin_server.storage.database import Database
from livepin_server.storage.schema import claims, installations, proofs

from .model import Explanation, ProofView, WeighedSignal
from .policies import newest


class Appraising:
    """Explains verdicts, by the last evidence of an installation and the policy in force."""

    def __init__(
        self,
        database: Database,
        known: Installations,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._installations = known
        self._clock = clock

    def explain(self, account: str, name: str) -> Explanation:
        """Return how an installation, by its id or `latest`, is appraised now.

        Raises:
            NotFoundError: nothing is known of it.
        """
        view = self._installations.show(account, name)
        now = self._clock()
        with self._database.reading() as connection:
            policy = newest(connection, account)
            made = _claims(connection, account, view.id)
            app = view.app or ""
            proved = _proofs(connection, account, view.id, app, policy.policy, now)
        standing = [
            Proof(format=each.format, level=each.level, bound=each.bound, moment=each.moment)
            for each in proved
        ]
        found = appraise(policy.policy, app, made, standing, now)
        needed = policy.policy.of(app)
        return Explanation(
            installation=view.id,
            app=view.app,
            verdict=found.verdict,
            rule=found.rule,
            why=found.why,
            mode=needed.mode or policy.policy.mode,
            policy=policy.version,
            level=found.level,
            needed=needed.level,
            score=found.score,
            threshold=policy.policy.threshold,
            signals=[
                WeighedSignal(
                    signal=each.signal,
                    detail=each.detail,
                    weight=policy.policy.weight(each.signal),
                )
                for each in made.signals
            ],
            unchecked=list(made.unchecked),
            refused=list(made.refused),
            proofs=proved,
            decided=view.rule,
            last_seen=view.last_seen,
        )


def _claims(connection: Connection, account: str, identity: str) -> Claims:
    query = (
        select(claims.c.claims)
        .join(
            installations,
            (installations.c.account == claims.c.account)
            & (installations.c.claims == claims.c.digest),
        )
        .where(installations.c.account == account, installations.c.id == identity)
    )
    text = connection.scalar(query)
    return NOTHING if text is None else msgspec.json.decode(text, type=Claims)


def _proofs(
    connection: Connection, account: str, identity: str, app: str, policy: Policy, now: datetime
) -> list[ProofView]:
    query = select(proofs).where(
        proofs.c.account == account, proofs.c.id == identity, proofs.c.app == app
    )
    rows = connection.execute(query.order_by(proofs.c.format, proofs.c.level))
    return [_proof(row, policy, now) for row in rows]


def _proof(row: Row[Any], policy: Policy, now: datetime) -> ProofView:
    found = Proof(format=row.format, level=row.level, bound=row.bound, moment=row.moment)
    return ProofView(
        format=row.format,
        level=row.level,
        bound=row.bound,
        moment=row.moment,
        said=msgspec.json.decode(row.said, type=dict[str, str]),
        counts=counts(policy, found, now),
    )
