"""Raising the versions of an account above those that apps hold."""

from __future__ import annotations

import pytest
from livepin.trust import TrustedState
from livepin_server.errors import ConflictError, InvalidError, NotFoundError
from livepin_server.services.model import NewStream
from livepin_server.services.numbering import HIGHEST


def test_every_stream_is_published_again_above_it(services, intent):
    services.streams.add("acme", NewStream(name="canary"), intent)
    start = {
        name: TrustedState.from_bootstrap(services.published.bootstrap("acme", name))
        for name in ("main", "canary")
    }
    announced = []
    services.bus.subscribe(announced.append)
    done = services.versions.raise_above("acme", 1000, intent)
    assert sorted(each.version for each in done) == [1001, 1002]
    assert sorted(each.version for each in announced) == [1001, 1002]
    for each in done:
        assert (each.author, each.reason) == (intent.author, intent.reason)
        assert each.changed == ["versions go on above 1000"]
        raw = services.published.version("acme", each.stream)[1]
        state = start[each.stream].advance_config(raw)
        assert state.config.domains == start[each.stream].config.domains
    assert services.versions.raise_above("acme", 2000, intent)[0].version == 2001


def test_what_is_above_already_changes_nothing(services, intent, add_domain):
    add_domain()
    for version in (1, 2):
        with pytest.raises(ConflictError, match="the last is 2"):
            services.versions.raise_above("acme", version, intent)
    assert services.versions.raise_above("acme", 3, intent)[0].version == 4


def test_there_is_always_room_above(services, intent):
    for version in (0, -1, HIGHEST + 1, 2**53 - 1):
        with pytest.raises(InvalidError, match=f"1 to {HIGHEST}") as caught:
            services.versions.raise_above("acme", version, intent)
        assert "new root" in caught.value.hint
    assert services.versions.raise_above("acme", HIGHEST, intent)[0].version == HIGHEST + 1
    services.publisher.republish("acme", "main", intent)


def test_an_account_that_there_is_not_is_named(services, intent):
    with pytest.raises(NotFoundError):
        services.versions.raise_above("acne", 7, intent)


def test_after_a_restore_only_what_is_behind_is_published(services, intent):
    services.streams.add("acme", NewStream(name="canary"), intent)
    assert [each.stream for each in services.versions.go_on("acme", 1, intent)] == ["main"]
    assert services.versions.go_on("acme", 1, intent) == []
    assert len(services.versions.go_on("acme", 50, intent)) == 2
