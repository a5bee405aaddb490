"""The signed documents, one file each: root, config, override.

A document value exists only if its payload keeps rule 4. Signatures, order and time are judged
in `livepin.trust`. The wire format is described in `spec/documents.md`.
"""

from .config import Config, Delivery, Domain, Mode, Stale
from .override import Override
from .root import Role, Root

__all__ = ["Config", "Delivery", "Domain", "Mode", "Override", "Role", "Root", "Stale"]
