"""Who sits between Livepin and the mail server takes STARTTLS out of what the server offers.

A client that goes on without it gives him the mail, and the password first.
"""

from __future__ import annotations

import asyncio

import pytest
from livepin.testing import server_context
from livepin_server.monitor.notifiers.email import EmailNotifier
from livepin_server.monitor.notifiers.telling import TellError
from livepin_server.services.monitoring.channel_kinds import Email
from livepin_server.settings import MailServer
from mailing import CA, CHAIN, listening
from notices import posted

MAIL = Email(to=["ops@example.com"])


class Stripping(asyncio.Protocol):
    """He answers as the server does, offers a login but no STARTTLS, and hears everything."""

    heard = b""
    offers = b"250-mail.example\r\n250 AUTH PLAIN LOGIN\r\n"
    starttls = b"454 TLS not available\r\n"

    def connection_made(self, transport):
        self.transport = transport
        transport.write(b"220 mail.example ESMTP\r\n")

    def data_received(self, data):
        type(self).heard += data
        verb = data[:8].upper()
        if verb.startswith((b"EHLO", b"HELO")):
            self.transport.write(self.offers)
        elif verb.startswith(b"STARTTLS"):
            self.transport.write(self.starttls)
        elif verb.startswith(b"DATA"):
            self.transport.write(b"354 go on\r\n")
        else:
            self.transport.write(b"235 2.7.0 OK\r\n" if b"AUTH" in verb else b"250 OK\r\n")


def attempt(attacker):
    attacker.heard = b""

    async def one():
        async with listening(attacker) as port:
            server = MailServer(
                host="localhost", port=port, security="starttls", sender="livepin@example.com",
                user="livepin", password="correct horse",
            )  # fmt: skip
            await EmailNotifier(server, ca=CA, patience=5).tell(posted(MAIL))

    with pytest.raises(TellError) as caught:
        asyncio.run(one())
    assert not caught.value.permanent  # he cannot have the notice given up
    heard = attacker.heard.upper()
    for each in (b"AUTH", b"MAIL FROM", b"API.EXAMPLE.COM"):
        assert each not in heard
    assert "horse" not in str(caught.value)


def test_without_the_offer_neither_the_password_nor_the_mail_is_sent():
    attempt(type("Offerless", (Stripping,), {}))


def test_an_offer_that_is_refused_is_no_reason_to_go_on():
    offers = b"250-mail.example\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN\r\n"
    attempt(type("Refusing", (Stripping,), {"offers": offers}))


class Injecting(Stripping):
    """He lets STARTTLS through, with a reply of his own behind it that TLS would make credible."""

    offers = b"250-mail.example\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN\r\n"
    starttls = b"220 go ahead\r\n250-evil.example\r\n250 AUTH PLAIN\r\n"


def test_a_certificate_is_asked_for_before_anything_is_said():
    """He takes STARTTLS himself, and has no certificate for that name."""
    attempt(Injecting)
    assert server_context(CHAIN)  # the real one has
