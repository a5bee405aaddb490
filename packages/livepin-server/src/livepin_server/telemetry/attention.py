"""What needs an operator's attention while a server runs: asked for anew each time it is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Note:
    """Something to look at, in words. Without `account` it is about the server as a whole."""

    text: str
    account: str | None = None


class Attention:
    """Gathers notes from whoever has some."""

    def __init__(self) -> None:
        self._sources: list[Callable[[], Iterable[Note]]] = []

    def add(self, source: Callable[[], Iterable[Note]]) -> None:
        """Ask `source` from now on."""
        self._sources.append(source)

    def texts(self, account: str | None = None) -> list[str]:
        """Return everything there is to say now, or about one account alone."""
        notes = (note for source in self._sources for note in source())
        return [each.text for each in notes if account in (None, each.account)]
