"""Every exception of the library, split first by whose fault it is.

`LivepinError` is the one family: whatever an HTTP library wraps around a failure, an
instance of it stands in the chain of causes (`find`).
"""

from __future__ import annotations

from typing import Any


class LivepinError(Exception):
    """Anything that Livepin refuses or cannot do.

    `hint` says in one line what to do about it, where there is something to do.
    """

    hint: str | None

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker process hands its errors on pickled; the default calls __init__ with `args`.
        return _bare, (type(self), self.args), self.__dict__


def _bare(kind: type[LivepinError], args: tuple[Any, ...]) -> LivepinError:
    return kind.__new__(kind, *args)


class MalformedError(LivepinError):
    """An input is not what it claims to be: a pin, a host name, a certificate, a bootstrap."""


class ConfigurationError(LivepinError):
    """Livepin is set up in a way that cannot work or would not be safe; the message says how."""


class VerificationError(LivepinError):
    """A signed document was refused; the active state stays as it was (rule 10).

    `rule` is the number of the refusing rule in `spec/documents.md`; `reason` says what was
    expected and what was found.
    """

    def __init__(self, rule: int, reason: str, *, hint: str | None = None) -> None:
        super().__init__(f"rule {rule}: {reason}", hint=hint)
        self.rule = rule
        self.reason = reason


class RollbackError(VerificationError):
    """A document is older than the one already trusted, or has its version with other content."""

    def __init__(self, reason: str, *, hint: str | None = None) -> None:
        super().__init__(7, reason, hint=hint)


class FetchError(LivepinError):
    """A document could not be fetched: no network, no answer in time, too large, wrong status.

    `reached` tells whether there was a connection, over which something else came.
    """

    def __init__(self, message: str, *, hint: str | None = None, reached: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.reached = reached


class StoreError(LivepinError):
    """The stored state cannot be read or written."""


class TokenUnavailableError(LivepinError):
    """A request needs a token and there is none; nothing of it was sent.

    `host` is the normalised name, `state` why: `no_network`, `untrusted_network` or `no_service`,
    as in `TokenState`; or `no_proof`, where there is a token and the key could not sign for it.
    Apps print such errors as text, so the text holds the hint too.
    """

    def __init__(self, message: str, *, host: str, state: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.host = host
        self.state = state

    def __str__(self) -> str:
        return f"{super().__str__()}; {self.hint}" if self.hint else super().__str__()


class PinningError(LivepinError):
    """A connection was refused before any application byte was written.

    `host` is the normalised name that was to be verified. Apps print such errors as text, so the
    text holds the hint too.
    """

    def __init__(self, message: str, *, host: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.host = host

    def __str__(self) -> str:
        return f"{super().__str__()}; {self.hint}" if self.hint else super().__str__()


class PinMismatchError(PinningError):
    """No key of the verified chain is pinned for the host.

    `chain` holds the SPKI fingerprints of the verified chain, leaf first; `expected` those of
    the pins in force; both as `sha256/BASE64`. `root_version`, `config_version` and `config_age`
    (seconds since the config was issued) tell which config was judged by.
    """

    def __init__(
        self,
        message: str,
        *,
        host: str,
        chain: tuple[str, ...],
        expected: tuple[str, ...],
        config_version: int,
        config_age: float,
        root_version: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, host=host, hint=hint)
        self.root_version = root_version
        self.chain = chain
        self.expected = expected
        self.config_version = config_version
        self.config_age = config_age


class UnlistedHostError(PinningError):
    """No domain of the config covers the host, and unlisted hosts are refused."""


class StaleConfigError(PinningError):
    """The config expired longer ago than its grace period, and the domain refuses stale pins."""


class UnverifiedChainError(PinningError):
    """The TLS stack gave no verified chain, so there is nothing to match pins against."""


class CleartextError(PinningError):
    """A request without TLS to a host that the config lists."""


def find(error: BaseException | None) -> LivepinError | None:
    """Return the Livepin error in the chain of causes of `error`, or None.

    HTTP libraries wrap what the TLS layer raises; this walks `__cause__`, `__context__`, `reason`
    (urllib, urllib3), exception arguments and the members of exception groups, each once.
    """
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, LivepinError):
            return current
        if isinstance(current, (list, tuple)):
            waiting += current
        elif isinstance(current, BaseException):
            waiting += [current.__cause__, current.__context__, current.args]
            waiting += [getattr(current, name, None) for name in ("reason", "exceptions")]
    return None
