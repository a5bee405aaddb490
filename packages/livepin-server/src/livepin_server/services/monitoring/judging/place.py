"""`Place`: the endpoint that is judged, and from where it was seen."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An endpoint as one vantage sees it. `endpoint` is its number."""

    host: str
    port: int
    vantage: str
    endpoint: int

    @property
    def name(self) -> str:
        """The host, with its port where that is not 443."""
        if self.port == 443:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
