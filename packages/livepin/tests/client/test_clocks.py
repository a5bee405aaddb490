"""The clocks of a client."""

from __future__ import annotations

import pytest
from livepin.client import clocks


def test_run_time_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert clocks.run_time() <= clocks.run_time()
    monkeypatch.delattr(clocks.time, "CLOCK_BOOTTIME", raising=False)
    assert clocks.run_time() <= clocks.run_time()
