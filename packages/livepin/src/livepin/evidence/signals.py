"""All signals of one process, and the evidence that is made of them."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from . import debugging, environment, hooks, text, threads, tls_functions
from .finding import LASTING, SIGNALS, Finding, Signal, UnavailableError
from .functions import Functions
from .mappings import Mappings
from .memory import Map, Memory

logger = logging.getLogger("livepin")

SDK = "livepin-python"
MOST = 32  # findings in one request
_MOST_OF_ONE = 4  # findings of one signal

_Check = Callable[[], Iterable[Finding]]


class Signals:
    """Looks for signs of tampering in this process; what it may, at once and without waiting.

    `data` is a check of the client's own: what of the data that it judges by is not what was
    signed. What says that there was an agent stays reported after the agent has gone.
    """

    def __init__(self, data: Callable[[], Iterable[str]] = tuple) -> None:
        self._lock = threading.Lock()
        self._functions: Functions | None = None
        self._mappings = Mappings()
        self._map: Map | None = None
        self._data = data
        self._lasting: dict[Finding, None] = {}
        self._passing: tuple[Finding, ...] = ()
        self._unchecked: set[Signal] = set()
        self._known: set[Finding] = set()
        self._asked = False
        self.look()
        self._functions = Functions()  # what is remembered now, need not be looked at

    def look(self, *, thorough: bool = False) -> bool:
        """Look, and tell whether there is something new since evidence was first given.

        `thorough` takes milliseconds, with many domains dozens of them, and does all.
        """
        with self._lock:
            found: list[Finding] = []
            self._unchecked = set()
            for signals, check in self._checks(thorough=thorough):
                try:
                    found.extend(check())  # what was found before it fails, too
                except UnavailableError as exc:
                    logger.debug("%s: %s", ", ".join(signals), exc)
                    self._unchecked.update(signals)
                except Exception as exc:  # noqa: BLE001 - no token may fail for it
                    logger.warning("%s could not be checked: %r", ", ".join(signals), exc)
                    self._unchecked.update(signals)
            self._keep(found)
            keys = {each.key for each in self._found()}
            news = self._asked and not keys <= self._known
            self._known |= keys
            return news

    def evidence(self) -> dict[str, Any]:
        """Return what was found as evidence."""
        with self._lock:
            self._asked = True
            return {
                "format": "signals",
                "sdk": SDK,
                "checked": [each for each in SIGNALS if each not in self._unchecked],
                "unchecked": [each for each in SIGNALS if each in self._unchecked],
                "found": [{"signal": f.signal, "detail": f.detail} for f in self._found()],
            }

    def texts(self) -> tuple[str, ...]:
        """Return what was found, in words."""
        with self._lock:
            return tuple(map(str, self._found()))

    def reset_lock(self) -> None:
        """Forget a lock that another thread held when this process was forked."""
        self._lock = threading.Lock()

    def _checks(self, *, thorough: bool) -> Iterator[tuple[tuple[Signal, ...], _Check]]:
        yield ("injected_code", "anonymous_code"), self._mapped
        yield ("injected_code",), threads.agents
        yield ("changed_code",), self._changed
        if self._functions is not None:
            yield ("replaced_sdk_function",), self._functions.replaced
        yield ("replaced_ssl_function",), tls_functions.replaced
        yield ("debugger",), debugging.python_debuggers
        yield ("debugger",), debugging.tracer
        yield ("tracing",), debugging.tracing
        yield ("preloaded_library",), environment.preloaded
        yield ("import_hook",), hooks.import_hooks
        yield ("ca_override", "proxy", "key_log"), environment.variables
        if thorough and self._functions is not None:
            yield ("replaced_sdk_function",), self._functions.rewritten
            yield ("replaced_sdk_function",), self._data_replaced

    def _mapped(self) -> Iterator[Finding]:
        self._map = None
        self._map = Map()
        with Memory() as memory:
            yield from self._mappings.look(self._map, memory)

    def _changed(self) -> Iterator[Finding]:
        if self._map is None:
            raise UnavailableError("nothing is known of what is mapped")
        with Memory() as memory:
            yield from text.changed(self._map.executable, memory)

    def _data_replaced(self) -> Iterator[Finding]:
        for detail in self._data():
            yield Finding.of("replaced_sdk_function", detail)

    def _keep(self, found: list[Finding]) -> None:
        counted = Counter(each.signal for each in self._lasting)
        for each in found:
            if each.signal in LASTING and each not in self._lasting:
                counted[each.signal] += 1
                if counted[each.signal] <= _MOST_OF_ONE:
                    self._lasting[each] = None
        self._passing = tuple(each for each in found if each.signal not in LASTING)

    def _found(self) -> list[Finding]:
        """Return what is to be told, what says most first."""
        counted: Counter[Signal] = Counter()
        found = []
        for each in dict.fromkeys((*self._lasting, *self._passing)):
            counted[each.signal] += 1
            if counted[each.signal] <= _MOST_OF_ONE:
                found.append(each)
        return sorted(found, key=lambda each: SIGNALS.index(each.signal))[:MOST]
