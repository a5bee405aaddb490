"""Keeping the list of revoked keys: from a real HTTPS server, over restarts, and quietly."""

from __future__ import annotations

import datetime as dt
import json
import logging
import stat

import pytest
from livepin.testing import RecordingServer, make_chain
from livepin_server.attestation.asking import Asking
from livepin_server.jobs.revoking import RevocationRefresh

CHAIN = make_chain("localhost")


class Google:
    """Who publishes the list; `down` is a status with which it answers instead."""

    def __init__(self):
        self.serials = ["c0ffee"]
        self.down = None
        self.etag = True
        self.asked = []

    def respond(self, _path, headers):
        self.asked.append(headers.get("if-none-match"))
        if self.down is not None:
            return self.down, {}, b""
        entries = {each: {"status": "REVOKED", "reason": "KEY_COMPROMISE"} for each in self.serials}
        tag = f'"{len(self.serials)}"'
        if headers.get("if-none-match") == tag:
            return 304, {}, b""
        body = json.dumps({"entries": entries}).encode()
        return 200, {"ETag": tag} if self.etag else {}, body


@pytest.fixture
def google():
    """A Google on a socket."""
    found = Google()
    with RecordingServer(CHAIN, respond=found.respond) as server:
        found.url = f"https://localhost:{server.port}/attestation/status"
        yield found


@pytest.fixture
def make(google, clock, tmp_path):
    """Return a refresh as a server has one after its start."""
    made = []

    def asking():
        made.append(Asking(ca=CHAIN.authority.pem))
        return made[-1]

    def one(wanted=lambda: True, url=None):
        path = tmp_path / "revoked.json"
        return RevocationRefresh(
            path, wanted, clock=clock, url=url or google.url, make_asking=asking
        )

    yield one
    for each in made:
        each.close()


def texts(refresh):
    return [each.text for each in refresh.notes()]


def test_the_list_is_fetched_and_then_on_its_interval_on_a_condition(make, google, clock):
    refresh = make()
    assert refresh.revoked is None
    assert "there is no list of revoked Android keys yet" in texts(refresh)[0]
    refresh.run()
    assert refresh.revoked.reason(0xC0FFEE) == "REVOKED KEY_COMPROMISE"
    assert refresh.revoked.as_of == clock()
    assert texts(refresh) == []
    refresh.run()
    assert google.asked == [None]
    clock.advance(hours=6)
    refresh.run()
    assert google.asked == [None, '"1"']
    assert refresh.revoked.as_of == clock()  # it is the newest still
    google.serials.append("beef")
    clock.advance(hours=6)
    refresh.run()
    assert refresh.revoked.reason(0xBEEF) is not None


def test_where_no_app_is_registered_nobody_is_asked_and_nothing_told(make, google, caplog):
    wanted = []
    refresh = make(lambda: bool(wanted))
    refresh.run()
    assert (google.asked, texts(refresh), caplog.records) == ([], [], [])
    wanted.append("an app")
    refresh.run()
    assert refresh.revoked is not None


def test_a_restart_has_the_list_and_asks_when_it_is_time(make, google, clock, tmp_path):
    make().run()
    assert stat.S_IMODE((tmp_path / "revoked.json").stat().st_mode) == 0o600
    clock.advance(hours=5)
    again = make()
    assert again.revoked.as_of == clock() - dt.timedelta(hours=5)
    again.run()
    assert google.asked == [None]
    clock.advance(hours=1)
    again.run()
    assert google.asked == [None, '"1"']
    assert make().revoked.as_of == clock()


def test_a_list_of_another_address_counts_but_its_etag_does_not(make, google, clock):
    make().run()
    clock.advance(hours=6)
    other = make(url=google.url + "2")
    assert other.revoked is not None
    other.run()
    assert google.asked == [None, None]


def test_a_server_without_etags_sends_it_whole_each_time(make, google, clock):
    google.etag = False
    refresh = make()
    for _ in range(2):
        refresh.run()
        clock.advance(hours=6)
    assert google.asked == [None, None]


@pytest.mark.parametrize("status", [304, 302, 404, 500])
def test_a_failure_is_told_once_tried_again_and_what_is_held_counts(
    make, google, clock, caplog, status
):
    caplog.set_level(logging.INFO, logger="livepin")
    google.down = status
    refresh = make()
    for minutes in (0, 1, 2, 4):
        clock.advance(minutes=minutes)
        refresh.run()
        refresh.run()
    assert len(google.asked) == 4  # with longer and longer pauses
    assert f"answers {status}" in texts(refresh)[0]
    google.down = None
    clock.advance(hours=1)
    refresh.run()
    said = [each.message for each in caplog.records if each.name == "livepin.revoked"]
    assert len(said) == 2
    assert "cannot refresh the list" in said[0]
    assert "is refreshed again" in said[1]
    google.down = 500
    clock.advance(hours=25)
    refresh.run()
    assert refresh.revoked.reason(0xC0FFEE) is not None
    assert "will be refused after 7 days: " in texts(refresh)[0]
    clock.advance(days=7)
    assert "is refused after 7 days: " in texts(refresh)[0]
    assert refresh.revoked.is_too_old(clock())


def test_a_list_that_is_none_replaces_nothing(make, google, clock):
    refresh = make()
    refresh.run()
    google.serials.clear()
    clock.advance(hours=6)
    refresh.run()
    assert refresh.revoked.reason(0xC0FFEE) is not None
    assert refresh.revoked.as_of < clock()


def test_a_file_that_cannot_be_read_is_fetched_anew(make, google, tmp_path, caplog):
    path = tmp_path / "revoked.json"
    path.write_bytes(b"{")
    assert make().revoked is None
    assert "will fetch it anew" in caplog.text
    make().run()
    for text in (
        path.read_text().replace("Z", ""),  # a time of no zone
        path.read_text().replace("entries", "other"),
    ):
        path.write_text(text)
        refresh = make()
        assert refresh.revoked is None
    refresh.run()
    assert make().revoked is not None
    path.unlink()
    path.mkdir()
    assert make().revoked is None


def test_a_disk_that_is_full_keeps_nobody_from_refusing_a_revoked_key(make, tmp_path, caplog):
    refresh = make()
    (tmp_path / "revoked.json").mkdir()  # nothing can be renamed over it
    refresh.run()
    assert refresh.revoked.reason(0xC0FFEE) is not None
    assert "cannot write" in caplog.text


def test_a_clock_that_was_wrong_does_not_keep_an_old_list(make, google, clock):
    clock.advance(days=900)
    refresh = make()
    refresh.run()
    clock.advance(days=-900)
    assert refresh.revoked.is_too_old(clock())
    assert make().revoked.as_of == clock()  # it is no younger than now
    refresh.run()
    assert len(google.asked) == 2
    assert not refresh.revoked.is_too_old(clock())
