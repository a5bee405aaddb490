"""Mail at real SMTP servers: with STARTTLS, TLS, a login, and servers that refuse or hang."""

from __future__ import annotations

import asyncio

import pytest
from livepin_server.monitor.notifiers.email import EmailNotifier
from livepin_server.monitor.notifiers.telling import TellError
from livepin_server.services.monitoring.channel_kinds import Email
from livepin_server.settings import MailServer
from mailing import CA, listening, smtp_server
from notices import COMMAND, posted

MAIL = Email(to=["ops@example.com", "dev@example.com"])


def server(port, security="starttls", **members):
    said = {"host": "localhost", "sender": "livepin@example.com", "port": port}
    return MailServer(security=security, **{**said, **members})


def send(
    security, *, box=None, login=False, mail=None, ca=CA, refuse=(), hold=(), using=None, **members
):
    """Send a mail to a server that begins and ends with it; return what it was given."""

    async def one():
        async with smtp_server(security, login=login) as box:
            box.refuse, box.hold = dict(refuse), dict(hold)
            notifier = EmailNotifier(server(box.port, security, **members), ca=ca, **(using or {}))
            box.trouble = await notifier.tell(mail or posted(MAIL))
            return box

    return asyncio.run(one())


@pytest.mark.parametrize("security", ["starttls", "tls", "cleartext"])
@pytest.mark.parametrize("login", [False, True])
def test_a_mail_is_taken_by_a_real_server(security, login):
    user = {"user": "livepin", "password": "right"} if login else {}
    box = send(security, login=login, **user)
    (mail,) = box.mails
    (envelope,) = box.envelopes
    assert envelope.mail_from == "livepin@example.com"
    assert envelope.rcpt_tos == MAIL.to
    assert bool(box.secure[0]) == (security != "cleartext")
    assert mail["Message-ID"] == "<k1.livepin@example.com>"
    lines = mail.get_body(("plain",)).get_content().splitlines()
    assert COMMAND in lines  # by itself, verbatim
    assert box.logins == ([(b"livepin", b"right")] if login else [])


def test_a_wrong_password_is_told_without_it_and_tried_again():
    with pytest.raises(TellError, match="535") as caught:
        send("starttls", login=True, user="livepin", password="wr0ng-secret")
    assert not caught.value.permanent
    assert "wr0ng" not in str(caught.value)


@pytest.mark.parametrize(
    ("refuse", "permanent"),
    [
        ({"ops@example.com": "550 no", "dev@example.com": "550 no"}, True),
        ({"ops@example.com": "550 no", "dev@example.com": "451 later"}, False),
        ({"DATA": "554 looks like spam"}, True),
        ({"DATA": "452 mailbox is full"}, False),
        # Those are about the server: it is set up anew, and then all that waits is told.
        ({"MAIL": "550 who are you"}, False),
        ({"MAIL": "530 5.7.0 log in first"}, False),
        (dict.fromkeys(MAIL.to, "550 5.7.1 relaying denied"), False),
        (dict.fromkeys(MAIL.to, "530 log in first"), False),
    ],
)
def test_a_reply_says_whether_the_mail_may_be_taken_later(refuse, permanent):
    with pytest.raises(TellError, match=r"the SMTP server.*[45][35][0-9] ") as caught:
        send("starttls", refuse=refuse)
    assert caught.value.permanent == permanent
    assert "example.com" not in str(caught.value)


@pytest.mark.parametrize("reply", ["452 mailbox is full", "550 no such user"])
def test_one_full_mailbox_has_nobody_else_told_again_and_is_said(reply):
    """It would be 150 mails to each of the others, in three days."""
    box = send("starttls", refuse={"ops@example.com": reply})
    assert box.envelopes[0].rcpt_tos == ["dev@example.com"]
    assert box.trouble == f"the SMTP server refused ops@example.com: {reply}"
    assert send("starttls").trouble is None


def test_of_many_who_are_refused_some_are_named():
    to = [f"{n}@example.com" for n in range(6)]
    refuse = dict.fromkeys(to[1:], "550 no")
    trouble = send("cleartext", mail=posted(Email(to=to)), refuse=refuse).trouble
    assert "refused 1@example.com, 2@example.com, 3@example.com and 2 more: 550 no" in trouble


def test_a_server_that_looks_through_a_mail_first_is_waited_for():
    """To give up means that it is taken all the same, and sent anew each half an hour."""
    box = send("cleartext", hold={"DATA": 2.2}, using={"patience": 2.0})
    assert len(box.mails) == 1
    with pytest.raises(TellError, match="the SMTP server: Timed out") as caught:
        send("cleartext", hold={"DATA": 60.0}, using={"taking": 0.3})
    assert not caught.value.permanent


def test_what_was_taken_is_told_however_the_server_says_good_bye():
    assert len(send("cleartext", hold={"QUIT": 60.0}).mails) == 1


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_server_that_is_not_verified_gets_nothing(security):
    with pytest.raises(TellError, match="certificate is not verified"):
        send(security, ca=None, user="livepin", password="right", login=True)
    with pytest.raises(TellError, match="certificate is not verified"):
        send(security, host="127.0.0.1")


def test_without_a_server_the_message_says_which_settings_are_missing():
    with pytest.raises(TellError, match="smtp and smtp_from") as caught:
        asyncio.run(EmailNotifier(None).tell(posted(MAIL)))
    assert not caught.value.permanent


class Speaking(asyncio.Protocol):
    """A server that says this, and nothing more."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def connection_made(self, transport):
        transport.write(self._data)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"", "took over 0.3 seconds"),
        (b"220-" + b"x" * 200_000, "too long"),
        (b"220-hello\r\n" * 100_000, "too long"),
        (b"garbage\x1b[31m\r\n", "Malformed"),
        (b"554 go \x1b]0;away\r\n", "554 go"),
        (b"421 later\r\n", "421 later"),
    ],
    ids=["silent", "long line", "many lines", "garbage", "554", "421"],
)
def test_a_server_that_is_none_is_bounded_and_tried_again(said, reason):
    async def one():
        async with listening(lambda: Speaking(said)) as port:
            notifier = EmailNotifier(server(port, "cleartext"), ca=CA, patience=0.3)
            await notifier.tell(posted(MAIL))

    with pytest.raises(TellError, match=reason) as caught:
        asyncio.run(one())
    assert not caught.value.permanent
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_nobody_who_listens_is_told_in_words():
    async def one():
        async with listening(asyncio.Protocol) as port:
            pass
        await EmailNotifier(server(port)).tell(posted(MAIL))

    with pytest.raises(TellError, match="the SMTP server: ") as caught:
        asyncio.run(one())
    assert not caught.value.permanent
