"""Version numbers: what a lost server cannot have reached, and how far they may go."""

import datetime as dt

from livepin.documents.members import MAX_VERSION
from livepin_server.services.numbering import HIGHEST, MOST_A_SECOND, above_everything

THEN = dt.datetime(2026, 11, 23, 12, tzinfo=dt.timezone.utc)


def test_it_is_above_whatever_a_server_publishes_at_a_thousand_a_second():
    for seconds in (0, 1, 59.999, 86_400, 10 * 365 * 86_400):
        now = THEN + dt.timedelta(seconds=seconds)
        assert above_everything(7, since=THEN, now=now) >= 7 + MOST_A_SECOND * seconds + 1_000_000


def test_a_clock_that_was_set_back_never_makes_it_lower():
    assert above_everything(7, since=THEN, now=THEN - dt.timedelta(days=9)) == 7 + 1_000_000


def test_after_the_highest_there_is_room_for_a_century():
    assert MAX_VERSION - HIGHEST > MOST_A_SECOND * 100 * 365 * 86_400
