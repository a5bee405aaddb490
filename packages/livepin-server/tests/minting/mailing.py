"""Real SMTP servers on loopback, within the loop of a test; what they were given they remember."""

from __future__ import annotations

import asyncio
import email
import email.policy
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult
from livepin.testing import Chain, make_chain, server_context

CHAIN: Chain = make_chain("localhost")
CA = CHAIN.authority.pem


class Mailbox:
    """What a server was given. `refuse` maps "MAIL", "DATA" or addresses to the reply instead.

    `hold` maps "DATA" or "QUIT" to the seconds until the reply to it.
    """

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.envelopes: list[Any] = []
        self.secure: list[bool] = []
        self.logins: list[tuple[bytes, bytes]] = []
        self.refuse: dict[str, str] = {}
        self.hold: dict[str, float] = {}
        self.port = 0

    async def handle_MAIL(self, server, session, envelope, address, options) -> str:
        if "MAIL" in self.refuse:
            return self.refuse["MAIL"]
        envelope.mail_from = address
        return "250 OK"

    async def handle_QUIT(self, server, session, envelope) -> str:
        await asyncio.sleep(self.hold.get("QUIT", 0))
        return "221 Bye"

    async def handle_RCPT(self, server, session, envelope, address, options) -> str:
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope) -> str:
        if "DATA" in self.refuse:
            return self.refuse["DATA"]
        found = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(found, EmailMessage)
        self.mails.append(found)
        self.envelopes.append(envelope)
        self.secure.append(session.ssl is not None or server.transport.get_extra_info("sslcontext"))
        await asyncio.sleep(self.hold.get("DATA", 0))
        return "250 OK"

    def authenticate(self, server, session, envelope, mechanism, data) -> AuthResult:
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"right", handled=False)


@asynccontextmanager
async def smtp_server(security: str = "starttls", *, login: bool = False) -> AsyncIterator[Mailbox]:
    """Run a server: `starttls` demands it, `tls` is TLS from the start, `cleartext` has none."""
    box = Mailbox()
    context = server_context(CHAIN)
    options: dict[str, Any] = {"hostname": "mail.example"}
    if security == "starttls":
        options |= {"tls_context": context, "require_starttls": True}
    if login:
        # It only knows of TLS that it began itself.
        by_tls = security == "starttls"
        options |= {
            "authenticator": box.authenticate, "auth_required": True, "auth_require_tls": by_tls,
        }  # fmt: skip

    def serve() -> SMTP:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a login without TLS that it began
            return SMTP(box, **options)

    async with listening(serve, ssl=context if security == "tls" else None) as port:
        box.port = port
        yield box


@asynccontextmanager
async def listening(factory: Any, ssl: Any = None) -> AsyncIterator[int]:
    """Listen on a port of the system's choice."""
    transports: list[Any] = []

    def one() -> Any:
        protocol = factory()
        connected = protocol.connection_made

        def keep(transport: Any) -> None:
            transports.append(transport)
            connected(transport)

        protocol.connection_made = keep
        return protocol

    server = await asyncio.get_running_loop().create_server(one, "127.0.0.1", 0, ssl=ssl)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for each in transports:
            each.abort()
        for _ in range(5):  # what was aborted is closed in the next turns of the loop
            await asyncio.sleep(0)
