"""Telling what is in the outbox: several at once, a deadline for each, and never less than once."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

import pytest
from livepin_server.errors import CustodyError, UnavailableError
from livepin_server.monitor import notifying
from livepin_server.monitor.notifiers import apprise, calling, email
from livepin_server.monitor.notifiers.email import EmailNotifier
from livepin_server.monitor.notifiers.telling import TellError
from livepin_server.monitor.notifying import LEASE, Notifying
from livepin_server.services.monitoring.channel_kinds import Email, NewChannel, PagerDuty
from livepin_server.services.monitoring.channels import Channels
from livepin_server.services.monitoring.outbox import Outbox, put
from livepin_server.settings import MailServer
from mailing import CA, smtp_server
from notices import notice

PATIENCE = 60.0


class Speaker:
    """A notifier that remembers what it told; `hang` and `fail` name channels."""

    again = None

    def __init__(self):
        self.told = []
        self.hang, self.fail = set(), {}
        self.at_once = self.most = 0
        self.news = asyncio.Event()

    async def tell(self, posted):
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            assert posted.settings is not None
            if posted.channel in self.hang:
                await asyncio.Event().wait()
            await asyncio.sleep(0)
            if posted.channel in self.fail:
                raise self.fail[posted.channel]
            self.told.append((posted.channel, posted.notice.incident))
            self.news.set()
        finally:
            self.at_once -= 1


class Place:
    """An outbox with channels, and what tells them."""

    def __init__(self, services, clock, intent):
        self.services, self.clock, self.intent = services, clock, intent
        self.box = Outbox(services.database, clock=clock, jitter=lambda: 0.0)
        self.channels = Channels(services.database, services.private_keys._custody, clock=clock)
        self.outcomes = []

    def add(self, *names, settings=None):
        for name in names:
            new = NewChannel(name=name, settings=settings or Email(to=["ops@example.com"]))
            self.channels.add("acme", new, self.intent)

    def post(self, **members):
        said = notice(**members)
        self.services.database.write(lambda each: put(each, said, self.clock()))

    def notifying(self, notifier, **options):
        def told(*outcome):
            self.outcomes.append(outcome)

        found = {"email": notifier}
        return Notifying(self.box, self.channels, found, clock=self.clock, told=told, **options)


@pytest.fixture
def place(services, clock, intent):
    return Place(services, clock, intent)


def test_a_round_tells_each_channel_and_what_was_told_is_not_told_again(place):
    place.add("a", "b")
    place.post()
    speaker = Speaker()
    place.clock.advance(seconds=3)

    async def two():
        notifying = place.notifying(speaker)
        return await notifying.round(), await notifying.round()

    assert asyncio.run(two()) == (2, 0)
    assert sorted(speaker.told) == [("a", 7), ("b", 7)]
    assert place.outcomes == [("email", "delivered", timedelta(seconds=3))] * 2
    assert [each.trouble for each in place.channels.all("acme")] == [None, None]


@pytest.mark.parametrize(
    ("error", "outcome", "trouble"),
    [
        (TellError("answered 503"), "failed", "answered 503"),
        (TellError("answered 404", permanent=True), "dead", "answered 404"),
        (TellError("answered 410", permanent=True, disable=True), "dead", "answered 410"),
        (CustodyError("it does not open"), "failed", "it does not open"),
        (UnavailableError("busy"), "failed", "busy"),
        (ZeroDivisionError("the secret of it"), "failed", "it failed: ZeroDivisionError"),
    ],
)
def test_whatever_fails_is_noted_and_the_others_are_told(place, caplog, error, outcome, trouble):
    place.add("a", "b")
    place.post()
    speaker = Speaker()
    speaker.fail["a"] = error
    with caplog.at_level(logging.DEBUG, logger="livepin.monitor"):
        asyncio.run(place.notifying(speaker).round())
    assert speaker.told == [("b", 7)]
    assert sorted(each[1] for each in place.outcomes) == sorted(["delivered", outcome])
    view = place.channels.all("acme")[0]
    assert view.trouble == trouble
    assert (view.disabled is not None) == getattr(error, "disable", False)
    assert "secret" not in caplog.text


def test_a_channel_of_a_kind_that_nothing_tells_waits(place):
    place.add("pager", settings=PagerDuty(routing_key="a" * 32))
    place.post()
    asyncio.run(place.notifying(Speaker()).round())
    assert (
        place.channels.all("acme")[0].trouble == "nothing here tells channels of the kind pagerduty"
    )


def test_a_channel_that_hangs_ends_with_the_patience(place):
    place.add("a", "b")
    place.post()
    speaker = Speaker()
    speaker.hang.add("a")
    asyncio.run(place.notifying(speaker, patience=0.05).round())
    assert place.channels.all("acme")[0].trouble == "no answer within 0.05 seconds"
    assert speaker.told == [("b", 7)]


def running(place, notifying, script):
    """Run until the script is through; return what came of that."""

    async def one():
        task = asyncio.create_task(notifying.run())
        try:
            async with asyncio.timeout(PATIENCE):
                return await script()
        finally:
            notifying.stop()
            await task

    return asyncio.run(one())


def test_who_hangs_does_not_hold_up_the_others(place):
    place.add("a", "b", "c")
    for incident in range(5):
        place.post(incident=incident)
    speaker = Speaker()
    speaker.hang.add("a")
    notifying = place.notifying(speaker, patience=1.5, at_once=2, every=0.01)

    async def script():
        while len(speaker.told) < 10:
            speaker.news.clear()
            await speaker.news.wait()
        # Neither order nor the hanging one's single place was given up.
        for name in "bc":
            assert [n for each, n in speaker.told if each == name] == list(range(5))
        assert speaker.most == 2

    running(place, notifying, script)


def test_it_is_woken_and_looks_by_itself_too(place):
    place.add("a")
    speaker = Speaker()

    async def woken(notifying):
        place.post()
        notifying.wake()
        await speaker.news.wait()

    slow = place.notifying(speaker, every=PATIENCE)
    slow.wake()  # before it runs, it says nothing
    running(place, slow, lambda: woken(slow))

    async def by_itself():
        speaker.news = asyncio.Event()  # of this loop
        place.post(incident=8)
        await speaker.news.wait()

    running(place, place.notifying(speaker, every=0.01), by_itself)
    assert speaker.told == [("a", 7), ("a", 8)]


def test_what_is_under_way_is_told_to_its_end_when_it_is_stopped(place):
    place.add("a")
    place.post()
    begun, go = asyncio.Event(), asyncio.Event()

    class Slow(Speaker):
        async def tell(self, posted):
            begun.set()
            await go.wait()
            await super().tell(posted)

    speaker = Slow()

    async def one():
        notifying = place.notifying(speaker, every=0.01)
        task = asyncio.create_task(notifying.run())
        await begun.wait()
        notifying.stop()
        await asyncio.sleep(0)
        assert not task.done()
        go.set()
        await task

    asyncio.run(one())
    assert place.outcomes[0][1] == "delivered"


def test_who_ends_it_at_once_has_it_told_again(place):
    place.add("a")
    place.post()
    speaker = Speaker()
    speaker.hang.add("a")

    async def one():
        task = asyncio.create_task(place.notifying(speaker, every=0.01).run())
        while not speaker.at_once:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(one())
    assert place.outcomes == []
    speaker.hang.clear()
    place.clock.advance(seconds=LEASE.total_seconds())
    asyncio.run(place.notifying(speaker).round())
    assert speaker.told == [("a", 7)]


class Broken:
    """An outbox whose database is away for a while."""

    def __init__(self, box):
        self._box = box
        self.claims, self.notes = 1, 1

    def claim(self, most, *, lease):
        if self.claims:
            self.claims -= 1
            raise UnavailableError("the database is locked")
        return self._box.claim(most, lease=lease)

    def delivered(self, posted, *, again=None, trouble=None):
        if self.notes:
            self.notes -= 1
            raise UnavailableError("the database is locked")
        return self._box.delivered(posted, again=again, trouble=trouble)


def test_a_database_that_is_away_loses_nothing(place, caplog):
    place.add("a")
    place.post()
    speaker = Speaker()
    place.box = Broken(place.box)
    notifying = place.notifying(speaker)

    async def rounds():
        found = [await notifying.round(), await notifying.round()]
        place.clock.advance(seconds=LEASE.total_seconds())
        return [*found, await notifying.round(), await notifying.round()]

    assert asyncio.run(rounds()) == [0, 1, 1, 0]
    assert speaker.told == [("a", 7)] * 2
    assert len(place.outcomes) == 1
    assert "the outbox cannot be read" in caplog.text
    assert "cannot be noted" in caplog.text


def test_a_lease_is_longer_than_the_patience_for_one(place):
    with pytest.raises(ValueError, match="expected a lease"):
        place.notifying(Speaker(), patience=LEASE.total_seconds())
    for module in (email, calling, apprise):
        assert getattr(module, "TAKING", 0) + module.PATIENCE < notifying.PATIENCE


def test_one_full_mailbox_leaves_the_others_with_one_mail_and_the_channel_with_its_trouble(place):
    place.add("ops", settings=Email(to=["ops@example.com", "bob@example.com"]))
    place.post()

    async def one():
        async with smtp_server() as box:
            box.refuse = {"bob@example.com": "452 mailbox is full"}
            server = MailServer(
                host="localhost", port=box.port, security="starttls", sender="livepin@example.com"
            )
            telling = place.notifying(EmailNotifier(server, ca=CA))
            for _ in range(3):
                await telling.round()
                place.clock.advance(hours=1)
            place.post(event="resolved")
            await telling.round()
            return [each["Subject"] for each in box.mails]

    subjects = asyncio.run(one())
    assert len(subjects) == 2
    assert "resolved" in subjects[1]
    (view,) = place.channels.all("acme")
    assert view.trouble == "the SMTP server refused bob@example.com: 452 mailbox is full"
    assert (view.waiting, view.dead) == (0, 0)


def test_a_mail_is_delivered_after_the_server_was_down_for_an_hour(place):
    """Real SMTP; the hour is the clock's."""
    place.add("ops")
    place.post()

    async def one():
        async with smtp_server() as box:
            port = box.port
        server = MailServer(
            host="localhost", port=port, security="starttls", sender="livepin@example.com"
        )
        notifying = place.notifying(EmailNotifier(server, ca=CA))
        tries = 0
        for _ in range(120):
            tries += await notifying.round()
            place.clock.advance(seconds=30)
        assert place.channels.all("acme")[0].waiting == 1
        async with smtp_server() as box:
            server = MailServer(
                host="localhost", port=box.port, security="starttls", sender=server.sender
            )
            notifying = place.notifying(EmailNotifier(server, ca=CA))
            late = 0
            while not box.mails:
                await notifying.round()
                place.clock.advance(seconds=30)
                late += 30
            assert late <= 30 * 60 + 30
            for _ in range(10):
                await notifying.round()
                place.clock.advance(minutes=30)
            return tries, [each["Message-ID"] for each in box.mails]

    tries, mails = asyncio.run(one())
    assert 6 <= tries <= 8  # it is not hammered
    assert len(mails) == 1
    assert [each[1] for each in place.outcomes] == ["failed"] * tries + ["delivered"]
