"""The names of the signals, and what a check finds."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

Signal = Literal[
    "injected_code",
    "replaced_sdk_function",
    "changed_code",
    "replaced_ssl_function",
    "debugger",
    "tracing",
    "anonymous_code",
    "preloaded_library",
    "import_hook",
    "ca_override",
    "proxy",
    "key_log",
]
SIGNALS: tuple[Signal, ...] = get_args(Signal)  # those that say most come first
# An agent that has gone left what it changed, or left nothing: it was here all the same.
LASTING: frozenset[Signal] = frozenset(
    {"injected_code", "replaced_sdk_function", "changed_code", "replaced_ssl_function"}
)

_LONGEST = 200  # characters


class Finding(NamedTuple):
    """What a check found: the signal, and where, in printable ASCII."""

    signal: Signal
    detail: str = ""

    @classmethod
    def of(cls, signal: Signal, detail: str) -> Finding:
        """Return a finding whose detail may be anything: what was found chose the names in it."""
        shown = "".join(each if " " <= each <= "~" else "?" for each in detail[:_LONGEST])
        return cls(signal, shown)

    @property
    def key(self) -> Finding:
        """What makes it another one: of what passes, how much there is does not."""
        return self if self.signal in LASTING else Finding(self.signal)

    def __str__(self) -> str:
        return f"{self.signal}: {self.detail}"


class UnavailableError(Exception):
    """A check cannot run on this system."""
