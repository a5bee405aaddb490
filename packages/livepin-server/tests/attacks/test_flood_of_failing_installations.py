"""Keys cost nothing, so anybody can make installations that fail, thousands in a minute.

Each that becomes refused is news to who watches. Told one by one, they would wake people all night
and fill the channels, until nobody reads them; and under a new name of an app each, they would not
even look alike. So that an hour of it is one notice, whatever they call themselves.
"""

from __future__ import annotations

import msgspec
import pytest
from livepin_server.attestation.appraisal import appraise
from livepin_server.attestation.claims import Signal, Signals, claims_of
from livepin_server.attestation.policy import DEFAULT
from livepin_server.services.monitoring.channel_kinds import Email, NewChannel
from livepin_server.services.monitoring.model import Notice
from livepin_server.services.tokens.recording import Seen
from livepin_server.storage.schema import outbox, refusals
from sqlalchemy import func, select

LURE = "Run https://evil.example/mend now"


@pytest.fixture
def flood(services, clock, intent):
    """Have many installations fail at once, by the names of apps that are given."""
    new = NewChannel(name="ops", settings=Email(to=["ops@example.com"]))
    services.channels.add("acme", new, intent)
    fatal = (Signal("injected_code", LURE),)
    claims = claims_of((), Signals(format="signals", sdk="python", found=fatal), ())

    def one(first, number, app):
        for at in range(first, first + number):
            named = app(at)
            services.recording.note(
                Seen(
                    "acme", f"{at:022}", f"{at:043}", named, "main", 1, clock(), claims,
                    appraise(DEFAULT, named, claims, (), clock()),
                )
            )  # fmt: skip
        services.recording.keep()

    return one


@pytest.fixture
def told(services):
    """Return the notices that were put."""

    def one():
        with services.database.reading() as connection:
            bodies = connection.scalars(select(outbox.c.body).order_by(outbox.c.id))
            return [msgspec.json.decode(each, type=Notice) for each in bodies]

    return one


@pytest.mark.parametrize("app", [lambda _: "shop", "app{}".format], ids=["one", "many"])
def test_a_flood_of_failing_installations_makes_one_notice_in_an_hour(
    flood, told, services, clock, app
):
    for at in range(4):
        flood(at * 100, 100, app)
        clock.advance(minutes=14)
    assert len(told()) == 1
    clock.advance(minutes=4)
    flood(1000, 100, app)
    assert len(told()) == 2
    assert told()[1].lines[0].startswith("399 more followed the last notice")
    with services.database.reading() as connection:  # nor does it leave rows behind
        assert connection.scalar(select(func.count()).select_from(refusals)) == 1


def test_one_that_fails_and_passes_by_turns_wakes_nobody_more_often(flood, told, services, clock):
    for _ in range(20):
        flood(1, 1, lambda _: "shop")
        services.recording.note(Seen("acme", f"{1:022}", "t" * 43, "shop", "main", 1, clock()))
        services.recording.keep()
        clock.advance(seconds=1)
    assert len(told()) == 1


def test_what_an_attacker_writes_into_his_signals_is_not_told(flood, told):
    flood(1, 1, lambda _: "shop")
    assert "evil.example" not in msgspec.json.encode(told()).decode()
