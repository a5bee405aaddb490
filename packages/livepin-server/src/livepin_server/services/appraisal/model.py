"""The values of appraisal that use cases take and return."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from livepin_server.attestation.appraisal import Rule, Verdict
from livepin_server.attestation.attested import Level
from livepin_server.attestation.claims import Refused
from livepin_server.attestation.policy import Mode, Policy, Weight
from livepin_server.services.tokens.model import Rule as Decision


class PolicyView(Struct, frozen=True, kw_only=True):
    """A version of a policy, and the weights of all signals under it. Version 0 is as shipped."""

    version: int
    policy: Policy
    weights: dict[str, Weight]
    created: datetime | None
    author: str
    reason: str


class Group(Struct, frozen=True, kw_only=True):
    """So many installations of an app that a rule would refuse, and one of them."""

    app: str
    rule: Rule
    why: str
    installations: int
    example: str


class Effect(Struct, frozen=True, kw_only=True):
    """What a policy would do to installations that were seen in a day, by their last evidence.

    `refused_before` and `refused` are how many the policy in force and this one refuse or, in
    report mode, would; `newly` are those that pass now, the largest groups first.
    """

    installations: int
    refused_before: int
    refused: int
    newly_refused: int
    newly_passing: int
    newly: list[Group]


class PolicySet(Struct, frozen=True, kw_only=True):
    """A policy that was set, and what it does."""

    policy: PolicyView
    effect: Effect


class WeighedSignal(Struct, frozen=True, kw_only=True):
    """A signal that was found, and what its kind weighs."""

    signal: str
    detail: str
    weight: Weight


class ProofView(Struct, frozen=True, kw_only=True):
    """What was proved, when, and what else that evidence says; relayable if not `bound`."""

    format: str
    level: Level
    bound: bool
    moment: datetime
    said: dict[str, str]
    counts: bool


class Explanation(Struct, frozen=True, kw_only=True):
    """How an installation is appraised under the policy in force, and which rule decides.

    `decided` is what an operator decided, which goes before any verdict.
    """

    installation: str
    app: str | None
    verdict: Verdict
    rule: Rule
    why: str
    mode: Mode
    policy: int
    level: Level | None
    needed: Level | None
    score: int
    threshold: int
    signals: list[WeighedSignal]
    unchecked: list[str]
    refused: list[Refused]
    proofs: list[ProofView]
    decided: Decision | None
    last_seen: datetime | None
