"""The appraisal of claims under a policy: which verdict, and which rule decided. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from . import measured
from .attested import Level
from .claims import NOTHING, Claims, Proof
from .policy import DEFAULT, AppPolicy, Policy, Weight, higher, rank

HARDWARE_KEY_LIVES = timedelta(days=90)

# `report` is what would fail, if the policy were enforced.
Verdict = Literal["pass", "report", "fail"]
Rule = Literal["pass", "app", "signal", "score", "level", "release"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Appraisal:
    """What became of the claims of an installation: by which rule, and in words why."""

    verdict: Verdict
    rule: Rule
    why: str
    level: Level | None
    score: int

    @property
    def passes(self) -> bool:
        """Whether its tokens are genuine."""
        return self.verdict != "fail"


def appraise(
    policy: Policy, app: str, claims: Claims, standing: Sequence[Proof], now: datetime
) -> Appraisal:
    """Return the appraisal of an installation of an app.

    `standing` is what it proved in earlier requests.
    """
    if claims is NOTHING and policy is DEFAULT:
        return UNASKED
    needed = policy.of(app)
    level, score = _level(policy, (*claims.proofs, *standing), now), _score(policy, claims)
    broken = next(_broken(policy, app, needed, claims, level, score), None)
    if broken is None:
        return Appraisal(verdict="pass", rule="pass", why="", level=level, score=score)
    rule, why = broken
    verdict: Verdict = "fail" if needed.mode == "enforce" else "report"
    return Appraisal(verdict=verdict, rule=rule, why=why, level=level, score=score)


def counts(policy: Policy, proof: Proof, now: datetime) -> bool:
    """Tell whether a proof counts: it is fresh, and no other device's.

    That a key is in hardware counts for longer: Android attests no key a second time. It does not
    count for ever, for what attested it may be revoked since.
    """
    age = timedelta(0) if proof.moment is None else now - proof.moment
    lives = timedelta(seconds=policy.fresh)
    if proof.level == "hardware_key":
        lives = max(lives, HARDWARE_KEY_LIVES)
    return age < lives and (proof.bound or policy.relayable or proof.level == "self")


def weighed(policy: Policy, claims: Claims) -> dict[str, Weight]:
    """Return the weight of each kind of signal that was found."""
    return {name: policy.weight(name) for name in _kinds(claims)}


def _broken(
    policy: Policy,
    app: str,
    needed: AppPolicy,
    claims: Claims,
    level: Level | None,
    score: int,
) -> Iterator[tuple[Rule, str]]:
    """Give the rules that are broken, and how; the first decides."""
    if not policy.takes(app):
        yield "app", f"the app {app} is not one of the policy"
    for name in _kinds(claims):
        if policy.weight(name) == "fatal":
            details = [each.detail for each in claims.signals if each.signal == name]
            yield "signal", f"the signal {name} is fatal{_in_words(details)}"
    if score >= policy.threshold:
        names = ", ".join(name for name in _kinds(claims) if policy.weight(name))
        yield "score", f"{names} weigh {score} of {policy.threshold}"
    if rank(level) < rank(needed.level):
        yield "level", f"expected the level {needed.level}, found {level or 'none'}"
    if needed.release and not any(each.format == measured.FORMAT for each in claims.proofs):
        yield "release", f"expected the measured files of a registered release of {app}"


def _in_words(details: list[str]) -> str:
    found = [each for each in details if each]
    return f": {'; '.join(found)}"[:300] if found else ""


def _kinds(claims: Claims) -> list[str]:
    """Return the kinds of signals that were found, those among them that are ours alone."""
    kinds = dict.fromkeys(each.signal for each in claims.signals)
    kinds |= {"unchecked": None} if claims.unchecked else {}
    kinds |= {"refused_evidence": None} if claims.refused else {}
    return list(kinds)


def _score(policy: Policy, claims: Claims) -> int:
    weights = (policy.weight(name) for name in _kinds(claims))
    return sum(each for each in weights if each != "fatal")


def _level(policy: Policy, proofs: Sequence[Proof], now: datetime) -> Level | None:
    found: Level | None = None
    for each in proofs:
        if counts(policy, each, now):
            found = higher(found, each.level)
    return found


UNASKED = Appraisal(verdict="pass", rule="pass", why="", level=None, score=0)
