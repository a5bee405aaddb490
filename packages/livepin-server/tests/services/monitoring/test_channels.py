"""Channels: added, tested, listed and removed, on the record; their secrets sealed, never shown."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from livepin_server.errors import ConflictError, CustodyError, InvalidError, NotFoundError
from livepin_server.services import key_rows
from livepin_server.services.monitoring import channels as module
from livepin_server.services.monitoring.channel_kinds import (
    Alertmanager,
    Apprise,
    Email,
    NewChannel,
    PagerDuty,
    Webhook,
)
from livepin_server.services.monitoring.channels import Channels
from livepin_server.services.monitoring.outbox import Outbox
from livepin_server.storage import schema
from sqlalchemy import select, update

LEASE = timedelta(seconds=60)
SECRET = "whsec_" + "QUJD" * 10
KINDS = {
    "email": (Email(to=["ops@example.com", "b@example.org"]), "ops@example.com, b@example.org"),
    "webhook": (
        Webhook(url="https://hooks.example.com:8443/T0/secret-path", secret=SECRET),
        "https://hooks.example.com:8443",
    ),
    "pagerduty": (PagerDuty(routing_key="a1" * 16), "PagerDuty"),
    "alertmanager": (
        Alertmanager(url="https://alerts.example.com/am", bearer="token-text"),
        "https://alerts.example.com",
    ),
    "apprise": (Apprise(url="slack://TokenA/TokenB/TokenC"), "slack://"),
}


@pytest.fixture
def channels(services, clock):
    return Channels(services.database, services.private_keys._custody, clock=clock)


@pytest.fixture
def box(services, clock):
    return Outbox(services.database, clock=clock)


def new(kind, name="ops", **members):
    return NewChannel(name=name, settings=KINDS[kind][0], **members)


def rows(services):
    with services.database.reading() as connection:
        return connection.execute(select(schema.channels)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_channel_of_each_kind_is_kept_shown_without_secrets_and_opened(
    services, channels, box, intent, kind
):
    settings, target = KINDS[kind]
    added = channels.add("acme", new(kind, tags=["web", "web"], severity="info"), intent)
    (view,) = channels.all("acme")
    assert added.channel == view
    assert (view.kind, view.target, view.tags, view.author) == (kind, target, ["web"], "alice")
    assert added.secret is None
    (row,) = rows(services)
    shown = repr((row, added, view, settings)) + str(msgspec.to_builtins(view))
    for each in ("secret-path", SECRET, "a1a1", "token-text", "TokenB"):
        assert each not in shown
    channels.test("acme", "ops", intent)
    (posted,) = box.claim(1, lease=LEASE)
    opened = channels.opened(posted)
    assert opened.settings == settings
    assert "settings" not in repr(opened)


def test_a_webhook_without_a_secret_gets_one_which_is_shown_once(channels, intent):
    made = NewChannel(name="hook", settings=Webhook(url="https://hooks.example.com/"))
    one = channels.add("acme", made, intent).secret
    two = channels.add("acme", msgspec.structs.replace(made, name="other"), intent).secret
    assert one.startswith("whsec_")
    assert one != two
    assert len(one) == len("whsec_") + 44


def test_a_name_is_taken_once_and_there_are_not_too_many(channels, intent, monkeypatch):
    channels.add("acme", new("email"), intent)
    with pytest.raises(ConflictError, match="there is a channel 'ops' already"):
        channels.add("acme", new("webhook"), intent)
    monkeypatch.setattr(module, "MOST_CHANNELS", 1)
    with pytest.raises(ConflictError, match="at most 1 channels"):
        channels.add("acme", new("email", "two"), intent)


def test_what_is_not_there_is_named_with_the_nearest(channels, intent):
    channels.add("acme", new("email", "operators"), intent)
    for change in (channels.test, channels.remove):
        with pytest.raises(NotFoundError) as caught:
            change("acme", "operator", intent)
        assert caught.value.hint == "did you mean operators?"
        with pytest.raises(NotFoundError, match="no account"):
            change("other", "operators", intent)
    with pytest.raises(NotFoundError):
        channels.all("other")
    with pytest.raises(NotFoundError):
        channels.add("other", new("email"), intent)


def test_a_channel_that_is_removed_takes_what_waits_for_it_along(services, channels, box, intent):
    channels.add("acme", new("email"), intent)
    number = channels.test("acme", "ops", intent)
    assert channels.all("acme")[0].waiting == 1
    (posted,) = box.claim(1, lease=LEASE)
    assert posted.id == number
    assert channels.remove("acme", "ops", intent).waiting == 1
    assert channels.all("acme") == []
    with pytest.raises(NotFoundError):
        channels.opened(posted)
    assert not box.delivered(posted)
    channels.add("acme", new("email"), intent)
    assert box.claim(9, lease=LEASE) == []  # of the one before it gets nothing


def test_everything_done_to_a_channel_is_on_the_record_without_its_secrets(
    services, channels, intent
):
    channels.add("acme", new("webhook"), intent)
    channels.test("acme", "ops", intent)
    channels.remove("acme", "ops", intent)
    with services.database.reading() as connection:
        found = connection.execute(
            select(schema.audit.c.entry).where(schema.audit.c.account == "acme")
        ).all()
    text = b"\n".join(each.entry for each in found)
    for action in (b"channel.add", b"channel.test", b"channel.remove"):
        assert text.count(b'"' + action + b'"') == 1
    assert b"hooks.example.com:8443" in text
    assert b"secret-path" not in text
    assert SECRET.encode() not in text


def test_until_there_is_a_channel_the_warning_says_what_to_do(channels, intent):
    assert "livepin channel add" in channels.nobody("acme")
    channels.add("acme", new("email"), intent)
    assert channels.nobody("acme") is None
    assert channels.nobody("other") is not None


# -- sealed --------------------------------------------------------------------------------------


def test_a_new_master_key_opens_channels_and_the_old_one_none(services, channels, box, intent):
    channels.add("acme", new("pagerduty"), intent)
    (before,) = rows(services)
    with services.database.reading() as connection:
        labels = [each.label for each in key_rows.sealed(connection)]
    assert [each.role for each in labels].count("channel") == 1
    services.private_keys.rekey(intent)
    (after,) = rows(services)
    assert before.sealed != after.sealed
    channels.test("acme", "ops", intent)
    (posted,) = box.claim(1, lease=LEASE)
    assert channels.opened(posted).settings == KINDS["pagerduty"][0]
    change = update(schema.channels).values(sealed=before.sealed)
    services.database.write(lambda each: each.execute(change))
    with pytest.raises(CustodyError, match="channel key ops of acme does not open"):
        channels.opened(posted)


def test_settings_do_not_open_for_a_channel_of_another_name(services, channels, box, intent):
    """Who can write the database has a webhook of his own be told what another one is told."""
    channels.add("acme", new("webhook", "mine"), intent)
    channels.add("acme", new("pagerduty", "theirs"), intent)
    sealed = {row.name: row.sealed for row in rows(services)}
    change = update(schema.channels).where(schema.channels.c.name == "theirs")
    services.database.write(lambda each: each.execute(change.values(sealed=sealed["mine"])))
    channels.test("acme", "theirs", intent)
    (posted,) = box.claim(1, lease=LEASE)
    with pytest.raises(CustodyError):
        channels.opened(posted)


def test_settings_that_are_damaged_are_told_as_such(services, channels, box, intent):
    channels.add("acme", new("email"), intent)
    (row,) = rows(services)
    kept = key_rows.channel(row)
    sealed = channels._sealed.keep_secret(b"{}", kept.label, beside=None)
    change = update(schema.channels).values(sealed=sealed)
    services.database.write(lambda each: each.execute(change))
    channels.test("acme", "ops", intent)
    (posted,) = box.claim(1, lease=LEASE)
    with pytest.raises(CustodyError, match="settings of the channel ops of acme are damaged"):
        channels.opened(posted)


def test_what_is_not_right_is_refused_before_anything_is_kept(services, channels, intent):
    with pytest.raises(InvalidError):
        channels.add("acme", NewChannel(name="x", settings=Email(to=["nobody"])), intent)
    assert rows(services) == []
