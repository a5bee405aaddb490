"""The chain that OpenSSL verified: what pins are held against, and never what was presented."""

from __future__ import annotations

import _ssl
from collections.abc import Sequence
from typing import Any, cast

_DER: Any = getattr(_ssl, "ENCODING_DER", 2)


def verified_chain(connection: Any) -> Sequence[bytes]:
    """Return the chain that OpenSSL verified, DER, leaf first; empty where there is none.

    Python 3.13 has a method for it; before, the object underneath does. A Python that has
    neither gets no connection.
    """
    try:
        public = getattr(connection, "get_verified_chain", None)
        if public is not None:
            return cast("Sequence[bytes]", public())
        found = connection._sslobj.get_verified_chain()
    except AttributeError:
        return ()  # also where another thread has just shut the connection down
    return [certificate.public_bytes(_DER) for certificate in found or ()]
