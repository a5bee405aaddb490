"""The outbox: at least once, one at a time for each channel, in order, and nothing lost."""

from __future__ import annotations

from datetime import timedelta

import pytest
from livepin_server.errors import ConflictError, NotFoundError
from livepin_server.services.monitoring import outbox as module
from livepin_server.services.monitoring.channel_kinds import Email, NewChannel, Retried
from livepin_server.services.monitoring.channels import Channels
from livepin_server.services.monitoring.outbox import Outbox, put
from livepin_server.storage.schema import incidents, outbox
from notices import notice
from sqlalchemy import insert, select

LEASE = timedelta(seconds=60)
MAIL = Email(to=["ops@example.com"])


@pytest.fixture
def box(services, clock):
    return Outbox(services.database, clock=clock, jitter=lambda: 0.0)


@pytest.fixture
def channels(services, clock):
    return Channels(services.database, services.private_keys._custody, clock=clock)


@pytest.fixture
def add(channels, intent):
    def one(name="ops", **members):
        channels.add("acme", NewChannel(name=name, settings=MAIL, **members), intent)

    return one


@pytest.fixture
def retry(channels, intent):
    """Have notices of the channel ops be told anew, all that were given up if none is named."""

    def one(*numbers, **members):
        return channels.retry("acme", "ops", numbers, intent, **members)

    return one


@pytest.fixture
def post(services, clock):
    """Put a notice as an incident does, in a transaction of its own."""

    def one(key=None, **members):
        said = notice(**members)
        return services.database.write(lambda each: put(each, said, clock(), key=key))

    return one


def events(claimed):
    return [(each.channel, each.notice.event) for each in claimed]


def test_a_notice_goes_to_each_channel_that_wants_it(add, post, box):
    add("all")
    add("critical", severity="critical")
    add("payments", tags=["payments", "web"])
    add("info", severity="info")
    assert post(severity="warning") == 2
    assert [each.channel for each in box.claim(9, lease=LEASE)] == ["all", "info"]
    assert post(severity="critical", tags=["web"], incident=8) == 4
    assert post(severity="info", incident=9) == 1


def test_what_a_refused_transaction_put_is_not_there(services, add, post, box, clock):
    add()

    def fails(connection):
        put(connection, notice(), clock())
        raise ConflictError("no")

    with pytest.raises(ConflictError):
        services.database.write(fails)
    assert box.claim(9, lease=LEASE) == []


def test_the_same_key_puts_a_notice_once(add, post, box):
    add()
    assert post(key="inc-7-opened") == 1
    assert post(key="inc-7-opened") == 0
    (one,) = box.claim(9, lease=LEASE)
    assert one.key == "inc-7-opened"
    for key in ("a b", "a\r\nb", "", "x" * 65):
        with pytest.raises(ValueError, match="expected a key"):
            post(key=key)


def test_nobody_else_gets_what_is_claimed_until_the_lease_ends(add, post, box, clock):
    add()
    post()
    (first,) = box.claim(9, lease=LEASE)
    assert box.claim(9, lease=LEASE) == []
    clock.advance(seconds=60)
    (second,) = box.claim(9, lease=LEASE)
    assert (second.id, second.key, second.notice) == (first.id, first.key, first.notice)
    assert (first.attempt, second.attempt) == (1, 2)
    # Who lost it may say nothing of it any more.
    assert not box.delivered(first)
    assert not box.failed(first, "late", permanent=True)
    assert box.claim(9, lease=LEASE) == []
    assert box.delivered(second)
    clock.advance(days=1)
    assert box.claim(9, lease=LEASE) == []


def test_what_a_clock_that_was_ahead_has_put_off_is_told_and_ends(services, add, post, box, clock):
    add()
    now = clock()
    clock.advance(days=300)
    post()
    (one,) = box.claim(9, lease=LEASE)
    clock.now = now
    assert box.claim(9, lease=LEASE) == []
    services.incidents.silence()
    assert not box.delivered(one)  # somebody else has it now
    (again,) = box.claim(9, lease=LEASE)
    assert (again.id, again.created) == (one.id, now)
    assert not box.failed(again, "no route")
    clock.advance(days=4)
    (last,) = box.claim(9, lease=LEASE)
    assert box.failed(last, "no route")


def test_a_failure_is_tried_again_with_longer_and_longer_pauses(add, post, box, clock):
    add()
    post()
    pauses = []
    for _ in range(9):
        (one,) = box.claim(9, lease=LEASE)
        assert not box.failed(one, "no route")
        before = clock.now
        while not due(box):
            clock.advance(seconds=15)
        pauses.append((clock.now - before).total_seconds())
    assert pauses == [30, 60, 120, 240, 480, 960, 1800, 1800, 1800]


def due(box):
    with box._database.reading() as connection:
        return connection.execute(module._heads(box._clock())).first()


def test_pauses_differ_by_chance_and_are_as_long_as_was_asked_for(services, add, post, clock):
    add()
    post()
    for jitter, asked, seconds in (
        (1.0, None, 24), (0.0, 45.0, 60), (0.5, 1e9, 3600), (0.0, -5.0, 240),
    ):  # fmt: skip
        box = Outbox(services.database, clock=clock, jitter=lambda jitter=jitter: jitter)
        (one,) = box.claim(9, lease=LEASE)
        box.failed(one, "busy", retry_after=asked)
        clock.advance(seconds=seconds - 1)
        assert box.claim(9, lease=LEASE) == []
        clock.advance(seconds=1)
        assert due(box)


def test_after_three_days_a_notice_is_given_up_where_people_see_it(add, post, box, channels, clock):
    add()
    post()
    tries = 0
    while not box.dead("acme"):
        for one in box.claim(9, lease=LEASE):
            tries += 1
            box.failed(one, "no route " * 100)
        clock.advance(minutes=10)
    (dead,) = box.dead("acme")
    assert timedelta(days=3) <= dead.dead - dead.created <= timedelta(days=3, hours=1)
    assert 100 < tries == dead.attempts < 200
    assert (dead.channel, dead.event, dead.title) == ("ops", "opened", notice().title)
    assert len(dead.trouble) == 300
    (view,) = channels.all("acme")
    assert (view.dead, view.waiting, view.trouble) == (1, 0, dead.trouble)


def test_a_permanent_failure_is_dead_at_once_and_can_be_told_anew(add, post, box, retry, clock):
    add()
    post()
    (one,) = box.claim(9, lease=LEASE)
    assert box.failed(one, "answered 404", permanent=True)
    (dead,) = box.dead("acme")
    clock.advance(days=5)
    assert retry(dead.id, dead.id) == Retried(notices=1)
    assert box.dead("acme") == []
    (same,) = box.claim(9, lease=LEASE)
    assert (same.key, same.attempt) == (one.key, 1)
    assert not box.failed(same, "no route")  # its time begins anew
    for number in (dead.id, 999):  # the first is not given up
        with pytest.raises(NotFoundError, match=f"ops has no notice {number} that nobody got"):
            retry(number)


def test_a_channel_that_wants_no_more_is_disabled_until_it_is_tested(
    add, post, box, channels, retry, intent
):
    add()
    post()
    post(incident=8)
    (one,) = box.claim(9, lease=LEASE)
    assert box.failed(one, "answered 410", permanent=True, disable=True)
    assert [each.trouble for each in box.dead("acme")] == ["answered 410"] * 2
    (view,) = channels.all("acme")
    assert view.disabled is not None
    assert "livepin channel add" in channels.nobody("acme")
    assert post(incident=9) == 0
    assert box.dead("acme")[0].trouble == "the channel is disabled"
    assert box.claim(9, lease=LEASE) == []
    with pytest.raises(ConflictError, match="is disabled"):
        retry(box.dead("acme")[0].id)
    channels.test("acme", "ops", intent)
    assert channels.nobody("acme") is None
    assert events(box.claim(9, lease=LEASE)) == [("ops", "test")]


def test_an_incident_is_told_in_order_and_others_do_not_wait_for_it(add, post, box):
    add()
    post(event="opened")
    post(event="resolved")
    post(event="opened", incident=8)
    (one,) = box.claim(9, lease=LEASE)  # one at a time for a channel
    box.failed(one, "no route")
    (other,) = box.claim(9, lease=LEASE)
    assert other.notice.incident == 8
    box.delivered(other)
    assert box.claim(9, lease=LEASE) == []  # the end waits for the beginning


def test_after_the_beginning_is_dead_the_end_is_told(add, post, box):
    add()
    post(event="opened")
    post(event="resolved")
    (one,) = box.claim(9, lease=LEASE)
    box.failed(one, "no", permanent=True)
    assert events(box.claim(9, lease=LEASE)) == [("ops", "resolved")]


def test_a_channel_that_is_told_just_now_gets_nothing_else_and_others_do(add, post, box):
    add("a")
    add("b")
    for incident in (7, 8):
        post(incident=incident)
    first = box.claim(9, lease=LEASE)
    assert [each.channel for each in first] == ["a", "b"]
    box.delivered(first[1])
    (more,) = box.claim(9, lease=LEASE)
    assert (more.channel, more.notice.incident) == ("b", 8)
    assert len({each.key for each in (*first, more)}) == 3


def test_only_as_many_are_claimed_as_were_asked_for(add, post, box):
    for name in "abc":
        add(name)
    post()
    assert [each.channel for each in box.claim(2, lease=LEASE)] == ["a", "b"]
    assert box.claim(0, lease=LEASE) == []


def opened(services, clock, *, over=False):
    """Note the incident that notices are of."""
    row = {
        "account": "acme", "number": 7, "cause": "c", "kind": "pin_mismatch", "notices": 1,
        "severity": "critical", "opened": clock(), "seen": clock(), "said": "{}",
        "resolved": clock() if over else None,
    }  # fmt: skip
    services.database.write(lambda each: each.execute(insert(incidents).values(**row)))


def told(box, trouble=None):
    """Tell what is to be told, or fail for good."""
    (one,) = box.claim(9, lease=LEASE)
    if trouble is None:
        box.delivered(one)
    else:
        box.failed(one, trouble, permanent=True)
    return one.id


def test_an_incident_that_is_over_is_not_opened_again_by_sending_old_notices(
    services, add, post, box, retry, clock
):
    """PagerDuty would page somebody, and nothing would ever resolve that."""
    add()
    opened(services, clock, over=True)
    post(event="opened")
    post(event="resolved")
    old = told(box, "no route")
    told(box)
    assert retry() == Retried(notices=0, skipped=1)
    with pytest.raises(ConflictError, match=f"the notice {old} is out of date") as caught:
        retry(old)
    assert caught.value.hint == f"livepin channel retry ops {old} --drop"
    assert box.claim(9, lease=LEASE) == []
    assert [each.id for each in box.dead("acme")] == [old]


def test_of_an_incident_that_was_over_before_anybody_was_told_the_end_is(
    services, add, post, box, retry, clock
):
    add()
    opened(services, clock, over=True)
    post(event="opened")
    post(event="resolved")
    told(box, "no route")
    end = told(box, "no route")
    assert retry() == Retried(notices=1, skipped=1)
    assert told(box) == end


def test_an_incident_that_goes_on_is_not_ended_by_sending_old_notices(
    services, add, post, box, retry, clock
):
    add()
    opened(services, clock)
    post(event="resolved")
    post(event="opened")
    told(box, "no route")
    begin = told(box, "no route")
    assert retry() == Retried(notices=1, skipped=1)
    assert told(box) == begin


def test_what_was_told_more_of_since_is_out_of_date(services, add, post, box, retry, clock):
    add()
    opened(services, clock)
    for _ in range(2):
        post(event="again")
    told(box, "no route")
    (one,) = box.claim(9, lease=LEASE)
    box.delivered(one, again=AGAIN)
    assert retry() == Retried(notices=0, skipped=1)


def test_what_nobody_got_can_be_dropped(add, post, box, channels, retry):
    add()
    for incident in (7, 8, 9):
        post(incident=incident)
    first, _, _ = (told(box, "no route") for _ in range(3))
    assert retry(first, first, drop=True) == Retried(notices=0, dropped=1)
    with pytest.raises(NotFoundError):
        retry(first, drop=True)
    assert retry(drop=True) == Retried(notices=0, dropped=2)
    assert (box.dead("acme"), channels.all("acme")[0].dead) == ([], 0)
    assert box.claim(9, lease=LEASE) == []


# -- what is told over and over again ------------------------------------------------------------

AGAIN = timedelta(minutes=2)


def test_what_goes_on_is_told_again_until_its_end(add, post, box, channels, clock):
    add()
    post()
    keys = set()
    for _ in range(4):
        (one,) = box.claim(9, lease=LEASE)
        keys.add(one.key)
        assert box.delivered(one, again=AGAIN)
        assert box.claim(9, lease=LEASE) == []
        clock.advance(minutes=2)
    assert len(keys) == 1
    assert channels.all("acme")[0].waiting == 0
    post(event="resolved")
    (end,) = box.claim(9, lease=LEASE)
    assert end.notice.event == "resolved"
    box.delivered(end, again=AGAIN)
    clock.advance(days=1)
    assert box.claim(9, lease=LEASE) == []


def test_the_end_waits_for_a_repetition_that_is_under_way(add, post, box, clock):
    """Else it might arrive before it, and the alert would come back."""
    add()
    post()
    (one,) = box.claim(9, lease=LEASE)
    box.delivered(one, again=AGAIN)
    clock.advance(minutes=2)
    (repeated,) = box.claim(9, lease=LEASE)
    post(event="resolved")
    assert box.claim(9, lease=LEASE) == []
    assert not box.delivered(repeated, again=AGAIN)
    assert events(box.claim(9, lease=LEASE)) == [("ops", "resolved")]


def test_what_has_no_end_notice_ends_with_its_incident(services, add, post, box, clock):
    add()
    post()
    (one,) = box.claim(9, lease=LEASE)
    box.delivered(one, again=AGAIN)
    opened(services, clock, over=True)
    clock.advance(minutes=2)
    (one,) = box.claim(9, lease=LEASE)
    box.delivered(one, again=AGAIN)
    clock.advance(days=1)
    assert box.claim(9, lease=LEASE) == []


def test_a_notice_that_was_told_for_days_is_not_given_up_at_the_first_failure(
    add, post, box, clock
):
    add()
    post()
    clock.advance(days=4)
    (one,) = box.claim(9, lease=LEASE)
    box.delivered(one, again=AGAIN)
    clock.advance(minutes=2)
    (one,) = box.claim(9, lease=LEASE)
    assert not box.failed(one, "restarting")
    clock.advance(seconds=30)
    assert box.claim(9, lease=LEASE)


def test_a_test_and_what_has_no_incident_are_told_once(add, post, box, clock):
    add()
    post(incident=None)
    (one,) = box.claim(9, lease=LEASE)
    box.delivered(one, again=AGAIN)
    clock.advance(days=1)
    assert box.claim(9, lease=LEASE) == []


def test_what_is_done_is_forgotten_after_a_while_and_nothing_else(services, add, post, box, clock):
    add()
    for incident in (1, 2, 3):
        post(incident=incident)
    (one,) = box.claim(9, lease=LEASE)
    box.delivered(one)
    (two,) = box.claim(9, lease=LEASE)
    box.failed(two, "no", permanent=True)
    assert box.forget(clock()) == 0
    clock.advance(days=30)
    assert box.forget(clock()) == 2
    with services.database.reading() as connection:
        assert connection.scalars(select(outbox.c.incident)).all() == [3]
