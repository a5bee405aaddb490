"""Documents as files in a folder or an object store, from which apps recover.

No key and no secret comes here: what is exported is public. Credentials of a store are those of
the environment or of the machine; none is taken from a URL.
"""

from .documents import Documents
from .export import Outcome, export
from .target import Target, target

__all__ = ["Documents", "Outcome", "Target", "export", "target"]
