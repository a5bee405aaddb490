"""What evidence of one installation claims, as data: kept, appraised, and appraised again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from .attested import Attested, EvidenceError, Level

SIGNALS = "signals"  # the format
_MOST_FOUND = 32
_MOST_CHECKS = 64
_LONGEST = 300  # characters of a refusal
_MOST_KEPT = 2048  # bytes of claims, with their details

SignalName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,39}\Z")]


class Signal(Struct, frozen=True):
    """Something that a process noticed of itself."""

    signal: SignalName
    detail: Annotated[str, Meta(max_length=200, pattern=r"^[ -~]*\Z")] = ""


class Signals(Struct, frozen=True, kw_only=True):
    """Evidence of the format `signals`: what a process looked for in itself, and found."""

    format: Literal["signals"]
    sdk: Annotated[str, Meta(max_length=63, pattern=r"^[ -~]*\Z")]
    found: Annotated[tuple[Signal, ...], Meta(max_length=_MOST_FOUND)]
    checked: Annotated[tuple[SignalName, ...], Meta(max_length=_MOST_CHECKS)] = ()
    unchecked: Annotated[tuple[SignalName, ...], Meta(max_length=_MOST_CHECKS)] = ()

    @classmethod
    def read(cls, evidence: Mapping[str, Any]) -> Signals:
        """Return the signals in a piece of evidence.

        Raises:
            EvidenceError: malformed.
        """
        try:
            return msgspec.convert(evidence, cls)
        except msgspec.ValidationError as exc:
            raise EvidenceError("malformed", str(exc)) from exc


class Proof(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A level that evidence of a format proved; not `bound`, it may be that of another device."""

    format: str
    level: Level
    bound: bool = True
    moment: datetime | None = None  # None: in this very request


class Refused(Struct, frozen=True, kw_only=True):
    """Evidence of a format that was refused, by which check, and why."""

    format: str
    check: str
    reason: str


class Claims(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the evidence of a request claims, and what of it was refused."""

    proofs: tuple[Proof, ...] = ()
    signals: tuple[Signal, ...] = ()
    unchecked: tuple[str, ...] = ()
    refused: tuple[Refused, ...] = ()

    def kept(self) -> Claims:
        """Return what is kept of them: bounded, for strangers make them up."""
        if len(msgspec.json.encode(self)) <= _MOST_KEPT:
            return self
        names = sorted({each.signal for each in self.signals})
        return msgspec.structs.replace(
            self,
            signals=tuple(map(Signal, names)),
            refused=tuple(msgspec.structs.replace(each, reason="") for each in self.refused),
        )


NOTHING = Claims()


def proof_of(attested: Attested) -> Proof:
    """Return the proof that stands in claims."""
    return Proof(format=attested.format, level=attested.level, bound=attested.bound)


def refused(evidence: Mapping[str, Any], error: EvidenceError) -> Refused:
    """Return what claims say of a refusal; bounded and printable, for it is of a stranger."""
    text = "".join(each if " " <= each <= "~" else "?" for each in str(error)[:_LONGEST])
    return Refused(format=evidence["format"], check=error.check, reason=text)


def claims_of(
    proofs: Iterable[Proof], signals: Signals | None, refusals: Iterable[Refused]
) -> Claims:
    """Return claims, in one order, so that alike claims are equal."""
    own = [] if signals is None else [Proof(format=SIGNALS, level="self")]
    return Claims(
        proofs=tuple(sorted([*proofs, *own], key=lambda each: (each.format, each.level))),
        signals=() if signals is None else tuple(sorted(set(signals.found), key=_order)),
        unchecked=() if signals is None else tuple(sorted(set(signals.unchecked))),
        refused=tuple(refusals),
    )


def _order(signal: Signal) -> tuple[str, str]:
    return signal.signal, signal.detail
