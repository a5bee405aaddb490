"""Text that strangers choose ends up in mails: in certificates, in host names, in addresses.

With a line break in it, it would add recipients, or end the header and write the mail.
"""

from __future__ import annotations

import asyncio

import pytest
from livepin_server.errors import InvalidError
from livepin_server.monitor.notifiers.email import EmailNotifier
from livepin_server.monitor.notifiers.telling import TellError
from livepin_server.services.monitoring.channel_kinds import Email, checked
from livepin_server.settings import MailServer
from mailing import CA, smtp_server
from notices import posted

EVIL = "x\r\nBcc: thief@evil.example\r\n\r\n<img src=https://evil.example/>\r\n.\r\nMAIL FROM:<a@b>"


def send(mail):
    async def one():
        async with smtp_server() as box:
            server = MailServer(
                host="localhost", port=box.port, security="starttls", sender="livepin@example.com"
            )
            try:
                await EmailNotifier(server, ca=CA).tell(mail)
            except TellError as exc:
                return box, exc
            return box, None

    return asyncio.run(one())


@pytest.mark.parametrize("member", ["title", "domain", "sentence", "apps", "command", "stream"])
def test_a_line_break_in_a_notice_adds_no_recipient_and_no_line(member):
    box, error = send(posted(Email(to=["ops@example.com"]), **{member: EVIL}))
    assert error is None
    (mail,) = box.mails
    assert box.envelopes[0].rcpt_tos == ["ops@example.com"]
    assert mail["Bcc"] is None
    assert mail.get_content_type() == "multipart/alternative"
    assert "<img" not in mail.get_body(("html",)).get_content()
    lines = mail.get_body(("plain",)).get_content().splitlines()
    assert not [each for each in lines if each.startswith(("Bcc", "MAIL", "."))]


@pytest.mark.parametrize(
    "address",
    ["a@b.example\r\nBcc: c@d.example", "a@b.example>\r\nRCPT TO:<c@d.example", "a@b.example,c@d"],
)
def test_an_address_with_more_in_it_is_refused_when_it_is_added(address):
    with pytest.raises(InvalidError, match="expected an address"):
        checked(Email(to=[address]))


def test_one_that_was_written_into_the_database_does_not_get_past_the_mail():
    box, error = send(posted(Email(to=["a@b.example\r\nBcc: c@d.example"])))
    assert isinstance(error, TellError)
    assert box.mails == []
