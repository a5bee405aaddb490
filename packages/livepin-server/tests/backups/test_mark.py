"""The mark of a restored server: it goes when its work is done, and a spoilt one harms nothing."""

from __future__ import annotations

import logging

import pytest
from livepin_server.backups import mark
from livepin_server.backups.mark import Mark, MarkedAccount
from livepin_server.errors import UnavailableError


@pytest.fixture
def marked(opened, clock):
    def one(**accounts):
        mark.write(opened.data, Mark(backup=clock(), accounts=accounts))
        return opened

    return one


def versions(opened, stream="main"):
    return [each.version for each in opened.services.published.history("acme", stream)]


def test_without_a_mark_nothing_is_published(opened):
    mark.go_on(opened)
    assert versions(opened) == [1]
    assert list(mark.notes(opened)) == []


def test_each_stream_is_published_once(marked, services, intent):
    from livepin_server.services.model import NewStream

    services.streams.add("acme", NewStream(name="canary"), intent)
    opened = marked(acme=MarkedAccount(floor=2, root_version=1))
    mark.go_on(opened)
    assert (versions(opened), versions(opened, "canary")) == ([4, 1], [3, 2])
    assert not (opened.data / mark.FILE).exists()


def test_overrides_of_the_backup_are_ended_and_later_ones_are_not(marked, add_domain, intent):
    """Nobody knows whether they were ended since; and the mark may stay for long."""
    from livepin_server.services.overrides.model import NewOverride

    add_domain()
    opened = marked(acme=MarkedAccount(floor=3, root_version=1, foreign=99))

    def in_force(letter):
        overrides = opened.services.overrides
        domains = ["api.example.com"]
        new = NewOverride(installation=letter * 43, domains=domains, mode="off")
        version = overrides.create("acme", new, intent, tested=False).version

        def one():
            listed = overrides.all("acme", tested=False)
            return next(each.in_force for each in listed if each.version == version)

        return one

    old = in_force("o")
    mark.go_on(opened)
    new = in_force("n")
    mark.go_on(opened)
    assert (old(), new()) == (False, True)
    assert (opened.data / mark.FILE).exists()


def test_a_stream_that_is_above_already_is_not_published_again(marked, add_domain):
    add_domain()
    opened = marked(acme=MarkedAccount(floor=1, root_version=1))
    mark.go_on(opened)
    assert versions(opened) == [2, 1]


def test_what_cannot_be_published_is_logged_and_tried_again(marked, caplog, monkeypatch):
    opened = marked(acme=MarkedAccount(floor=1, root_version=1))

    def refused(*_):
        raise UnavailableError("the database is locked")

    monkeypatch.setattr(type(opened.services.versions), "go_on", refused)
    with caplog.at_level(logging.WARNING):
        mark.go_on(opened)
    assert "nothing can be published for acme: the database is locked" in caplog.text
    assert (opened.data / mark.FILE).exists()
    monkeypatch.undo()
    mark.go_on(opened)
    assert versions(opened) == [2, 1]
    assert not (opened.data / mark.FILE).exists()


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 10_000, b'{"accounts": 7}'])
def test_a_mark_that_is_spoilt_is_told_in_the_log_and_stops_nothing(opened, caplog, content):
    (opened.data / mark.FILE).write_bytes(content)
    mark.go_on(opened)
    assert "cannot read" in caplog.text
    assert list(mark.notes(opened)) == []


def test_a_note_ends_with_a_new_root(marked, signed):
    opened = marked(acme=MarkedAccount(floor=1, root_version=1, foreign=99))
    mark.go_on(opened)
    (note,) = mark.notes(opened)
    assert "config 99 of acme" in note.text
    signed.keep(2, signed.root(2))
    assert list(mark.notes(opened)) == []
    mark.go_on(opened)
    assert not (opened.data / mark.FILE).exists()
