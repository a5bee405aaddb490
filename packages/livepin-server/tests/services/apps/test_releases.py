"""Releases are registered by the manifest of their files, and end."""

from __future__ import annotations

import pytest
from livepin.evidence.manifest import Manifest
from livepin_server.bus.memory import TokensChanged
from livepin_server.errors import ConflictError, InvalidError, NotFoundError
from livepin_server.services.apps import parsing
from livepin_server.services.apps.model import NewApp, NewRelease
from livepin_server.services.audit.log import Wanted
from livepin_server.storage.schema import releases
from sqlalchemy import select


def manifest(number: int = 0) -> str:
    """Return the manifest of a release, another one for each number."""
    return f"{number:064x} 10 app.py\n{number:064x} 20 data/names.txt\n"


@pytest.fixture
def add(services, intent):
    """Register a release of `shop`."""
    services.apps.add("acme", NewApp(name="shop"), intent)

    def one(version="1.0", number=0, text=None):
        new = NewRelease(version=version, manifest=text or manifest(number))
        return services.releases.add("acme", "shop", new, intent)

    return one


def test_a_release_is_registered_by_its_digest(services, add) -> None:
    made = add("1.0+build.7")
    assert made.digest == Manifest.parse(manifest()).digest
    assert (made.files, made.author, made.ended) == (2, "alice", None)
    assert services.releases.all("acme", "shop") == [made]
    assert services.apps.show("acme", "shop").releases == 1
    found = services.tokens.load("acme").apps["shop"]
    assert found.releases == {made.digest: "1.0+build.7"}


def test_the_one_that_was_added_last_comes_first(services, add, clock) -> None:
    for number, version in enumerate(["1.0", "0.9"]):
        add(version, number)
        clock.advance(minutes=1)
    assert [each.version for each in services.releases.all("acme", "shop")] == ["0.9", "1.0"]


def test_a_release_ends_and_may_come_back(services, add, intent, clock) -> None:
    add()
    clock.advance(minutes=1)
    ended = services.releases.end("acme", "shop", "1.0", intent)
    assert ended.ended == clock()
    assert services.releases.all("acme", "shop") == [ended]
    assert services.tokens.load("acme").apps["shop"].releases == {}
    with services.database.reading() as connection:
        assert connection.execute(select(releases)).one().manifest is None
    assert add(number=1).ended is None
    assert len(services.releases.all("acme", "shop")) == 1


def test_every_change_is_told_at_once_and_audited(services, add, intent) -> None:
    heard = []
    services.bus.subscribe(heard.append, TokensChanged)
    made = add()
    services.releases.end("acme", "shop", "1.0", intent)
    assert heard == [TokensChanged(account="acme")] * 2
    ended, added = (
        each.entry for each in services.audit.log("acme", Wanted(action="release.")).items
    )
    said = {"digest": made.digest, "files": 2}
    assert (added.action, added.target, added.after) == ("release.add", "shop 1.0", said)
    assert (ended.action, ended.before, ended.after) == ("release.end", said, None)


def test_a_version_or_its_files_are_in_force_once(services, add) -> None:
    add()
    with pytest.raises(ConflictError, match=r"the release 1\.0 of shop is in force already"):
        add(number=1)
    with pytest.raises(ConflictError, match=r"the release 1\.0 of shop has the same files"):
        add("1.1")


def test_an_app_has_so_many_releases_at_most(services, add, intent, monkeypatch) -> None:
    monkeypatch.setattr("livepin_server.services.apps.releases.MOST_RELEASES", 1)
    add()
    with pytest.raises(ConflictError, match="at most 1 releases of shop in force"):
        add("2", 2)
    services.releases.end("acme", "shop", "1.0", intent)
    add("2", 2)


def test_of_those_that_ended_the_oldest_are_forgotten(services, add, intent, clock, monkeypatch):
    monkeypatch.setattr("livepin_server.services.apps.releases._MOST_ENDED", 2)
    for number in range(4):
        add(str(number), number)
        services.releases.end("acme", "shop", str(number), intent)
        clock.advance(minutes=1)
    assert [each.version for each in services.releases.all("acme", "shop")] == ["3", "2"]


@pytest.mark.parametrize("version", ["", ".5", "1/2", "1 2", "x" * 64, "1\n", "é"])
def test_what_is_no_version_is_refused(services, add, version) -> None:
    with pytest.raises(InvalidError, match="expected a version"):
        add(version)


@pytest.mark.parametrize("text", ["x", "\n", "0 1 app.py\n", f"{'0' * 64} 1 ../app.py\n"])
def test_what_is_no_manifest_is_refused(services, add, text) -> None:
    with pytest.raises(InvalidError, match=r"^manifest: (line 1 .*: )?expected ") as caught:
        add(text=text)
    assert caught.value.hint == "livepin app measure makes one"


@pytest.mark.parametrize("character", ["x", "é"])
def test_a_manifest_of_so_many_bytes_at_most(services, add, monkeypatch, character) -> None:
    monkeypatch.setattr(parsing, "MOST_MANIFEST", 99)
    with pytest.raises(InvalidError, match="at most 99 bytes"):
        add(text=f"{'0' * 64} 1 {character * 50}\n"[: 100 if character == "x" else 98])


def test_a_wrong_name_suggests_the_right_one(services, add, intent) -> None:
    add()
    with pytest.raises(NotFoundError, match="there is no app 'shp'"):
        services.releases.all("acme", "shp")
    with pytest.raises(NotFoundError, match=r"no release in force '1\.1'") as caught:
        services.releases.end("acme", "shop", "1.1", intent)
    assert caught.value.hint == "did you mean 1.0?"
    services.releases.end("acme", "shop", "1.0", intent)
    with pytest.raises(NotFoundError):
        services.releases.end("acme", "shop", "1.0", intent)
