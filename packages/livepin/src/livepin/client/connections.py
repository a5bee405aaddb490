"""The connections of a pinned context: nothing is read or written before they are judged.

OpenSSL also runs a handshake inside the first read or write. So these are guarded too; checking
in `do_handshake` alone lets the first request leave.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from operator import attrgetter
from typing import Any, cast

from .judging import UNJUDGED, Connection, Judging, Seen


class _Guarded:
    """What both kinds of connection share: nothing is read or written unjudged."""

    _generation = UNJUDGED
    _seen: Seen | None = None

    _sslobj: Any
    _by: Any  # a `Judging`, found without a call

    def _guard(self) -> None:
        if self._sslobj is None:
            # Before it connects and after a shutdown, a TLS socket of the standard library
            # carries cleartext. It looks at ENOTCONN itself, while it wraps.
            raise OSError(errno.ENOTCONN, "there is no TLS connection")
        by: Judging = self._by
        if self._generation == by.generation:
            return
        connection = cast("PinnedSocket | PinnedObject", self)
        if self._generation == UNJUDGED:
            connection.do_handshake()
        else:
            by.judge(connection)

    def is_current(self) -> bool:
        """Tell whether a judged connection is right by the pins of now, without a report.

        A pool asks before it uses a connection again.
        """
        if self._sslobj is None:
            return False
        by: Judging = self._by
        if self._generation == by.generation:
            return True
        return self._generation != UNJUDGED and by._still_right(cast("Connection", self))


class PinnedSocket(_Guarded, ssl.SSLSocket):
    """A TLS socket of a `PinnedContext`."""

    # Read-only: by another context, unverified, it could connect, and come back to be judged. It
    # is there also when another thread has just shut the TLS object down.
    context: Any = property(attrgetter("_context"), doc="Always the one that made it.")
    _by = context

    def do_handshake(self, block: bool = False) -> None:
        """Handshake, then judge; a mismatch raises before anything can be written."""
        super().do_handshake(block)
        self._by.judge(self)

    def read(self, *args: Any, **kwargs: Any) -> Any:
        """Read, once judged."""
        self._guard()
        return super().read(*args, **kwargs)

    def write(self, data: Any) -> int:
        """Write, once judged."""
        self._guard()
        return super().write(data)

    # Not those of the standard library: where another thread shuts the socket down after the
    # check, they go on in cleartext. `read` and `write` raise.

    def send(self, data: Any, flags: int = 0) -> int:
        """Send, once judged."""
        _no_flags(flags)
        return self.write(data)

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all, once judged."""
        _no_flags(flags)
        self._guard()
        with memoryview(data) as view, view.cast("B") as octets:
            sent = 0
            while sent < len(octets):
                sent += self.write(octets[sent:])

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Send a file, once judged."""
        self._guard()
        return cast("Any", self)._sendfile_use_send(file, offset, count)  # type: ignore[no-any-return]

    def sendto(self, *args: Any, **kwargs: Any) -> int:
        """Refuse, as any TLS socket does, but without TLS too."""
        self._guard()
        return super().sendto(*args, **kwargs)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Receive, once judged."""
        _no_flags(flags)
        return cast("bytes", self.read(buflen))

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """Receive into a buffer, once judged."""
        _no_flags(flags)
        if nbytes is None:
            with memoryview(buffer) as view:
                nbytes = view.nbytes or 1024
        return cast("int", self.read(nbytes, buffer))

    def recvfrom(self, *args: Any, **kwargs: Any) -> tuple[bytes, Any]:
        """Refuse, as any TLS socket does, but without TLS too."""
        self._guard()
        return super().recvfrom(*args, **kwargs)

    def recvfrom_into(self, *args: Any, **kwargs: Any) -> tuple[int, Any]:
        """Refuse, as any TLS socket does, but without TLS too."""
        self._guard()
        return super().recvfrom_into(*args, **kwargs)

    def _cut(self) -> None:
        try:
            socket.socket.shutdown(self, socket.SHUT_RDWR)
        except OSError:
            return  # closed already

    def _can_wait(self) -> bool:
        return self.gettimeout() != 0.0

    def _is_closed(self) -> bool:
        return cast("Any", self)._sslobj is None or self.fileno() == -1


class PinnedObject(_Guarded, ssl.SSLObject):
    """The TLS half of an asynchronous connection of a `PinnedContext`."""

    context: Any = property(attrgetter("_sslobj.context"), doc="Always the one that made it.")
    _by = context

    def do_handshake(self) -> None:
        """Handshake, then judge; a mismatch raises before anything can be written."""
        self._sslobj.do_handshake()
        self._by.judge(self)

    def read(self, *args: Any, **kwargs: Any) -> Any:
        """Read, once judged."""
        self._guard()
        return super().read(*args, **kwargs)

    def write(self, data: Any) -> int:
        """Write, once judged."""
        self._guard()
        return super().write(data)

    _socket: socket.socket | None = None

    def attach(self, sock: socket.socket | None) -> None:
        """Tell which socket carries this connection, so that pools notice when it is cut."""
        self._socket = sock

    def _cut(self) -> None:
        """Shut the socket down where it is known; the guard refuses the next write anyhow."""
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except TypeError:
                _shut_down(self._socket.fileno())  # uvloop's have no shutdown
            except OSError:
                return  # closed already

    def _can_wait(self) -> bool:
        return False

    def _is_closed(self) -> bool:
        return self._socket is not None and self._socket.fileno() == -1


def _shut_down(descriptor: int) -> None:
    try:
        with socket.socket(fileno=os.dup(descriptor)) as same:
            same.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # closed already


def _no_flags(flags: int) -> None:
    if flags:
        raise ValueError("a TLS socket takes no flags")
