"""A process that says what it found; it may have removed what it was started with."""

from __future__ import annotations

import json
import os

from livepin.evidence.signals import Signals

os.environ.pop("LD_PRELOAD", None)
print(json.dumps(Signals().texts()))
