"""Placeholder until merged."""

from __future__ import annotations

from typing import Any

from livepin_server.attestation.registered import Registered


class Apps:
    def read(self, connection: Any, account: str) -> dict[str, Registered]:
        return {}

    def any_android(self) -> bool:
        return False
