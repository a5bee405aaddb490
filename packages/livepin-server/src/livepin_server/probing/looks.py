"""What monitoring asks of a child that probes, and what it answers: values alone."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from .probe import Failure, Observation

Algorithm = Literal["ecdsa", "rsa"]  # of the key in a certificate; Ed25519 and Ed448 are "ecdsa"
ALGORITHMS: tuple[Algorithm, ...] = ("ecdsa", "rsa")
Engine = Literal["verified", "fast"]


class Known(Struct, frozen=True, kw_only=True, gc=False):
    """A chain that `verified` has verified lately, at an address, for one algorithm.

    `digest` is `Observation.digest`; where it is the empty string, there was no certificate of
    that algorithm. With it, `fast` may say that nothing has changed.
    """

    address: str
    algorithm: Algorithm
    digest: str


class Question(Struct, frozen=True, kw_only=True):
    """One endpoint to look at: each address of it, its ECDSA and its RSA certificate apart.

    `id` is the caller's number for it. `connect` is HOST:PORT to go to instead; `ca` is PEM, the
    only anchors. What is not in `known`, or is no more as known, is looked at by `verified`.
    """

    id: int
    host: str
    port: int = 443
    connect: str | None = None
    ca: str | None = None
    known: list[Known] = []


class Sight(Struct, frozen=True, kw_only=True, gc=False):
    """What is at one address, for one algorithm.

    `observation` is None where `fast` found the chain that was known, and its key in use; then
    `engine` is "fast". It is never None for what was not known.
    """

    address: str
    algorithm: Algorithm
    engine: Engine
    observation: Observation | None = None


class Look(Struct, frozen=True, kw_only=True, gc=False):
    """What was seen of an endpoint. Without an address there are no sights, and a failure."""

    id: int
    sights: list[Sight] = []
    failure: Failure | None = None
    error: str | None = None
    elapsed_ms: float = 0.0
