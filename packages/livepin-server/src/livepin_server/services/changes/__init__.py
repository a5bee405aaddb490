"""Changes of what an account publishes, as values: made now, kept on the stage, or made later."""

from __future__ import annotations

import msgspec

from .account import SetDelivery, SetGuards
from .change import Applying, Change, Told
from .domains import AddDomain, AddPins, FollowPinSet, RemoveDomain, RemovePin, SetDomain
from .pin_sets import AddPinSet, RemovePinSet, ReplacePins
from .restore import RestoreConfig
from .streams import AddStream, TakeDomain

_Any = (
    AddDomain | AddPinSet | AddPins | AddStream | FollowPinSet | RemoveDomain | RemovePin
    | RemovePinSet | ReplacePins | RestoreConfig | SetDelivery | SetDomain | SetGuards | TakeDomain
)  # fmt: skip

__all__ = [
    "AddDomain",
    "AddPinSet",
    "AddPins",
    "AddStream",
    "Applying",
    "Change",
    "FollowPinSet",
    "RemoveDomain",
    "RemovePin",
    "RemovePinSet",
    "ReplacePins",
    "RestoreConfig",
    "SetDelivery",
    "SetDomain",
    "SetGuards",
    "TakeDomain",
    "Told",
    "decode",
    "encode",
]


def encode(change: Change) -> str:
    """Return a change as JSON, to be kept."""
    return msgspec.json.encode(change).decode()


def decode(text: str) -> Change:
    """Return a change that was kept."""
    found: Change = msgspec.json.decode(text, type=_Any)
    return found
