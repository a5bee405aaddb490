"""The child: what to look at as JSON on standard input, what was seen as JSON on standard output.

One target, and one observation; or with the argument `each` seconds and many targets, and a line
for each address that was seen, as it comes; or with `looks` and an algorithm batches of questions.
"""

from __future__ import annotations

import os
import sys

import msgspec

from .addresses import look_at_each
from .answering import answer as answer_batches
from .looks import ALGORITHMS
from .probe import Target, probe

_NICE = 10  # what monitors gives way to what delivers

if sys.argv[1:2] == ["looks"]:
    os.nice(_NICE)
    (algorithm,) = (each for each in ALGORITHMS if sys.argv[2:] == [each])
    answer_batches(algorithm, sys.stdin.buffer, sys.stdout.buffer)
    sys.exit()
asked, answer = sys.stdin.buffer.read(), sys.stdout.buffer
if sys.argv[1:] == ["each"]:
    seconds, targets = msgspec.json.decode(asked, type=tuple[float, list[Target]])
    for found in look_at_each(targets, seconds=seconds):
        answer.write(msgspec.json.encode(found) + b"\n")
        answer.flush()
else:
    answer.write(msgspec.json.encode(probe(msgspec.json.decode(asked, type=Target))))
