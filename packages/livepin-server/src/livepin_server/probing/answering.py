"""The child of a `Prober`: batches of questions on standard input, looks on standard output.

A line of JSON each way: `Batch`, then a `Look` for each of its questions, or `OVER` where there was
no time for the rest, with empty lines between as signs of life. What is seen together
is told together, and lost together where a child crashes: it is asked for anew. A child ends with
its standard input, or where nobody takes its signs of life, so that none outlives its server.
"""

from __future__ import annotations

import gc
from typing import BinaryIO

import msgspec
from msgspec import Struct

from livepin_server.descriptors import allow

from .looks import Algorithm, Look, Question
from .loop import Loop
from .resolving import Resolving

OVER = b"null\n"
_SPARE = 64  # descriptors besides those of conversations


class Batch(Struct, frozen=True, kw_only=True):
    """What a child is to look at, and how long for."""

    seconds: float
    patience: float
    at_once: int
    questions: list[Question]


def answer(algorithm: Algorithm, asked: BinaryIO, told: BinaryIO) -> None:
    """Answer batches until there are no more.

    Raises:
        msgspec.DecodeError: what was asked is none.
    """
    gc.collect()
    gc.freeze()  # what is loaded stays, and need not be looked at again
    resolving = Resolving(0.0)

    def tell(look: Look) -> None:
        told.write(msgspec.json.encode(look) + b"\n")

    def beat() -> None:
        told.write(b"\n")

    for line in asked:
        batch = msgspec.json.decode(line, type=Batch)
        allow(batch.at_once + _SPARE)
        resolving.patience = batch.patience
        loop = Loop(algorithm, at_once=batch.at_once, patience=batch.patience, resolving=resolving)
        seconds = batch.seconds
        if loop.run(batch.questions, seconds=seconds, tell=tell, beat=beat, flush=told.flush):
            told.write(OVER)
            told.flush()
        loop.close()
    resolving.close()
