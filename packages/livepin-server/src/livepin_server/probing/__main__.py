"""A target as JSON on standard input, the observation as JSON on standard output."""

from __future__ import annotations

import sys

import msgspec

from .probe import Target, probe

sys.stdout.buffer.write(
    msgspec.json.encode(probe(msgspec.json.decode(sys.stdin.buffer.read(), type=Target)))
)
