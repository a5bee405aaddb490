"""A channel that is added while something is open: it is told of that at once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from livepin_server.services.model import Intent
from livepin_server.services.monitoring import outbox
from livepin_server.services.monitoring.channel_kinds import Email, NewChannel
from livepin_server.services.monitoring.channels import Channels
from livepin_server.services.monitoring.incidents import catching_up as module
from livepin_server.services.monitoring.model import NewMaintenance
from livepin_server.services.monitoring.outbox import Outbox

HOST, OTHER = "api.example.com", "b.example.com"
INTENT = Intent(author="bob")
BOTH = pytest.mark.parametrize("data_folder", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def add(services, clock):
    """Add a channel; return what it is told at once."""
    channels = Channels(services.database, services.private_keys._custody, clock=clock)
    box = Outbox(services.database, clock=clock)

    def one(name="ops", **members):
        new = NewChannel(name=name, settings=Email(to=["ops@example.com"]), **members)
        channels.add("acme", new, INTENT)
        told = []
        while claimed := box.claim(10, lease=timedelta(minutes=1)):
            told += claimed
            assert all(box.delivered(each) for each in claimed)
        return [(each.channel, each.notice.event, each.notice.domain) for each in told]

    return one


@BOTH
def test_it_is_told_that_what_is_open_goes_on_and_nobody_else_is(watch, wrong, clock, add):
    watch.twice({HOST: [wrong()]})
    watch.twice({OTHER: [wrong(OTHER, cause="another")]})
    assert watch.events == ["opened", "opened"]
    assert add() == [("ops", "again", HOST), ("ops", "again", OTHER)]
    assert add("second") == [("second", "again", HOST), ("second", "again", OTHER)]


def test_what_is_over_or_only_suspected_is_not_told(watch, wrong, clock, add):
    watch.look({HOST: [wrong()]})
    assert add() == []
    watch.look({HOST: [wrong()]})
    watch.twice({HOST: []})
    clock.advance(hours=1)
    watch.twice({HOST: []})
    assert watch.events == ["opened", "resolved"]
    assert add("second") == []


def test_what_came_back_is_told_as_ever(watch, wrong, add):
    watch.twice({HOST: [wrong()]})
    watch.twice({HOST: []})
    watch.twice({HOST: [wrong()]})
    (shown,) = watch.incidents.all("acme")
    assert shown.notice.domain == HOST
    assert watch.events == ["opened", "resolved"]
    assert add() == []
    assert shown.next_notice is not None


@pytest.mark.parametrize("said", ["acknowledged", "snoozed", "maintenance"])
def test_what_nobody_is_reminded_of_is_not_told(watch, wrong, add, add_domain, said):
    add_domain(HOST)
    watch.twice({HOST: [wrong()]})
    if said == "acknowledged":
        watch.incidents.acknowledge("acme", 1, INTENT)
    elif said == "snoozed":
        watch.incidents.snooze("acme", 1, 3600, INTENT)
    else:
        watch.maintenances.add("acme", NewMaintenance(pattern=HOST, lasts=3600), INTENT)
    assert add() == []


def test_it_is_told_what_it_wants(watch, wrong, add):
    watch.twice({HOST: [wrong(severity="warning", tags=["shop"])]})
    assert add("calm", severity="critical") == []
    assert add("bank", tags=["bank"]) == []
    assert add("shop", tags=["shop"]) == [("shop", "again", HOST)]


def test_of_very_many_it_is_told_the_newest(watch, wrong, add, monkeypatch):
    monkeypatch.setattr(module, "MOST", 2)
    for number in range(3):
        host = f"{number}.example.com"
        watch.twice({host: [wrong(host, cause=host)]})
    assert [domain for _, _, domain in add()] == ["1.example.com", "2.example.com"]


def test_one_that_cannot_be_told_loses_neither_the_others_nor_the_channel(
    watch, wrong, add, monkeypatch, caplog
):
    watch.twice({HOST: [wrong()]})
    watch.twice({OTHER: [wrong(OTHER, cause="another")]})
    put = outbox.put_for

    def fails(connection, channel, notice, now):
        if notice.domain == HOST:
            raise ValueError("of a test")
        return put(connection, channel, notice, now)

    monkeypatch.setattr(outbox, "put_for", fails)
    assert add() == [("ops", "again", OTHER)]
    assert "the incident 1 for the channel ops was not kept" in caplog.text
