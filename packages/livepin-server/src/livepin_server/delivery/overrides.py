"""The overrides that delivery serves, ready to be sent, by request path, each until its time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from livepin_server.exports.static.documents import override_file
from livepin_server.services.model import OverrideDocument
from livepin_server.telemetry.metrics import Metrics

from .snapshot import Document, ready


@dataclass(frozen=True, slots=True)
class _Served:
    document: Document
    override: OverrideDocument


class Overrides:
    """The overrides of all accounts. Those of one are swapped as a whole; readers never wait."""

    def __init__(self, metrics: Metrics, *, clock: Callable[[], datetime]) -> None:
        self._metrics = metrics
        self._clock = clock
        self._by_path: dict[str, _Served] = {}

    def get(self, path: str) -> Document | None:
        """Return the override at a request path, unless nobody needs it any more."""
        found = self._by_path.get(path)
        if found is None or self._clock() >= found.override.until:
            return None
        return found.document

    def replace(self, account: str, overrides: Mapping[str, OverrideDocument | None]) -> None:
        """Serve these of an account from now on, by the thumbprint that each is for."""
        fresh: dict[str, _Served] = {}
        for thumbprint, each in overrides.items():
            if each is not None and self._clock() < each.until:
                file = override_file(account, thumbprint, each.raw)
                tag = f"{each.root_version}.{each.version}"
                document = ready(account, each.version, tag, file, None)
                fresh[f"/{file.path}"] = _Served(document, each)
        others = {p: s for p, s in self._by_path.items() if s.document.account != account}
        self._by_path = others | fresh
        count = functools.partial(self.in_force, account)
        self._metrics.overrides.labels(account).set_function(count)

    def in_force(self, account: str) -> int:
        """Return how many of an account are in force now; those that only end one are not."""
        now = self._clock()
        return sum(
            served.document.account == account and now < served.override.expires
            for served in list(self._by_path.values())
        )
