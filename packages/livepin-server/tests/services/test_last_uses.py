"""The last uses of API keys, in memory: taken to be written down, given back if that fails."""

import datetime as dt
import threading

from livepin_server.services.last_uses import LastUses, Use

NOW = dt.datetime(2026, 11, 23, 12, tzinfo=dt.timezone.utc)
EARLIER, LATER = Use(NOW, "192.0.2.7"), Use(NOW + dt.timedelta(minutes=1), "192.0.2.8")


def test_the_last_use_of_each_key_is_taken_once():
    uses = LastUses()
    for key_id, use in (("a", EARLIER), ("b", EARLIER), ("a", LATER)):
        uses.note(key_id, use)
    assert (uses.of("a"), uses.of("b"), uses.of("c")) == (LATER, EARLIER, None)
    assert uses.take() == {"a": LATER, "b": EARLIER}
    assert uses.take() == {}
    assert uses.of("a") is None


def test_what_is_given_back_does_not_hide_a_later_use():
    uses = LastUses()
    uses.note("a", EARLIER)
    uses.note("b", EARLIER)
    taken = uses.take()
    uses.note("a", LATER)
    uses.give_back(taken)
    assert uses.take() == {"a": LATER, "b": EARLIER}


def test_uses_that_are_noted_while_others_are_taken_are_not_lost():
    uses, found = LastUses(), {}
    stop = threading.Event()

    def take():
        while not stop.is_set():
            found.update(uses.take())

    taker = threading.Thread(target=take)
    taker.start()
    for number in range(20_000):
        uses.note(str(number), EARLIER)
    stop.set()
    taker.join(30)
    found.update(uses.take())
    assert len(found) == 20_000
