"""What a use case may refuse with. The web layer makes problems of these, the commands lines."""

from __future__ import annotations

from livepin.errors import LivepinError


class ServiceError(Exception):
    """A use case was refused; nothing was changed. `hint` says what to do."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class NotFoundError(ServiceError):
    """What was named is not there."""


class ConflictError(ServiceError):
    """It is there already, or its state does not allow this."""


class UnconfirmedError(ConflictError):
    """It weakens what protects or reaches apps, and nobody has agreed to it: see `to_confirm`."""

    def __init__(self, to_confirm: list[str]) -> None:
        super().__init__("; ".join(to_confirm), hint="to agree: confirmed, or --yes")
        self.to_confirm = to_confirm


class OutdatedError(ConflictError):
    """It has changed since the caller looked at it."""


class InvalidError(ServiceError):
    """The input is not what was expected."""


class ForbiddenError(ServiceError):
    """The caller may not do this."""


class UnavailableError(ServiceError):
    """The storage cannot do it now: locked, full, read-only or gone. Nothing was acknowledged."""


class CustodyError(LivepinError):
    """A private key cannot be read, opened or written. The message never holds key material."""


class SchemaError(LivepinError):
    """The database has another schema than this version needs."""


class TamperedError(LivepinError):
    """The audit log, or what seals it, is not what it was."""


class BackupError(LivepinError):
    """A backup cannot be made, opened or put back. The message never holds what is in it."""


class ExportError(LivepinError):
    """A folder or object store cannot be read or written. The message never holds credentials."""
