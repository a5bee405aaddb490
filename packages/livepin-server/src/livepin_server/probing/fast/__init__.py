"""The probe engine `fast`: is the chain that was known still there, and its key in use?

Sans I/O. It offers TLS 1.3 and 1.2, ends as soon as the server has proven that it holds the key of
its certificate, and sends nothing after its hello. It verifies no chain and no host name: that
the chain is the one `verified` has verified is all it says. What it does not expect it calls odd,
and leaves to `verified`. Not in here: sockets, deadlines, and what becomes of an answer.
"""

from livepin_server.probing.digest import digest_of

from .conversation import Answer, FastConversation

__all__ = ["Answer", "FastConversation", "digest_of"]
