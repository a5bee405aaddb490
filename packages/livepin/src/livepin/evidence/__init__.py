"""What a process says of itself in its token requests."""

from .provider import Evidence

__all__ = ["Evidence"]
