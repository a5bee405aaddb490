"""Looking at what is out there: only what clients would take counts, and the newest of it."""

from __future__ import annotations

import dataclasses
import datetime as dt

import pytest
from livepin.jose import PrivateKey
from livepin_server.backups import looking
from livepin_server.backups.looking import Sightings, check, lines, look
from livepin_server.backups.sources import Web, source
from livepin_server.errors import BackupError
from livepin_server.exports.static import export, target
from livepin_server.exports.static.documents import Documents

MAIN = "v1/acme/config/main"


@pytest.fixture
def place(site):
    """A web server, and it as a place to look at."""
    found = site()
    return found, Web(name=found.url)


def test_there_is_nothing_where_there_is_nothing(signed, place):
    assert look(signed.documents(), [place[1]]) == Sightings()
    assert look(signed.documents(), []) == Sightings()


def test_the_same_and_the_older_need_no_word(signed, place, add_domain):
    older = signed.documents().configs["main"]
    add_domain()
    for raw in (older, signed.documents().configs["main"]):
        place[0].put(MAIN, raw)
        found = look(signed.documents(), [place[1]])
        assert (found.newer, found.said, found.roots) == ({}, [], {})


def domains(pins, **modes):
    """Return the members of a config with these pins by domain, each with a set of its own."""
    sets = {name: [{"sha256": pin.removeprefix("sha256/")} for pin in listed]
            for name, listed in pins.items()}  # fmt: skip
    listed = [
        {"pattern": name, "pin_set": name, "mode": modes.get(name[0], "enforce")} for name in pins
    ]
    return {"pin_sets": sets, "domains": listed}


def test_a_newer_config_is_found_with_what_it_holds(signed, place, pin_text):
    was = domains({"a.example.com": [pin_text(1)], "b.example.com": [pin_text(2), pin_text(3)]})
    now = domains(
        {"b.example.com": [pin_text(3), pin_text(5)], "c.example.com": [pin_text(4)]}, b="report"
    )
    delivery = {"urls": ["https://elsewhere.example.com"], "pins": [{"sha256": "A" * 43 + "="}]}
    before = dataclasses.replace(
        signed.documents(), configs={"main": signed.config(version=3, **was)}
    )
    raw = signed.config(version=8, **now, delivery=delivery)
    place[0].put(MAIN, raw)
    newer = look(before, [place[1]]).newer["main"]
    assert (newer.where, newer.config.version, newer.before.version) == (place[0].url, 8, 3)
    assert newer.raw == raw
    assert list(lines(newer)) == [
        "- domain a.example.com",
        "* b.example.com: mode report, was enforce",
        f"+ pin b.example.com {pin_text(5)}",
        f"- pin b.example.com {pin_text(2)}",
        "+ domain c.example.com",
        "* delivery is https://elsewhere.example.com",
    ]


def test_of_several_places_the_newest_counts(signed, site, add_domain, tmp_path):
    before, places = signed.documents(), []
    for number in (1, 2, 0):
        if number:
            add_domain(f"{number}.example.com")
        found = site()
        found.put(MAIN, signed.documents().configs["main"] if number else before.configs["main"])
        places.append(Web(name=found.url))
    for order in (places, places[::-1]):
        assert look(before, order).newer["main"].config.version == 3


def test_what_nobody_of_ours_signed_counts_for_nothing_and_is_said(signed, place):
    stranger = PrivateKey.generate()
    for raw, reason in (
        (b"", "rule 2"),
        (b"hello", "rule 2"),
        (signed.config(version=9, signer=stranger), "rule 2: the kid"),
        (signed.config(version=9, account="beta"), "rule 5"),
        (signed.config(version=9, stream="canary"), "rule 5"),
        (signed.config(version=9, root_version=2), "rule 6: root 2, which it names, is not there"),
        (signed.config(version=9)[:-4] + b"AAAA", "rule 3"),
        (b"x" * 9_000_000, "expected at most"),
    ):
        place[0].put(MAIN, raw)
        found = look(signed.documents(), [place[1]])
        assert (found.newer, found.issued) == ({}, None)
        (said,) = found.said
        assert reason in said
        assert place[0].url in said


def test_another_content_of_a_version_that_we_have_is_said(signed, place):
    place[0].put(MAIN, signed.config(refresh_interval=7))
    (said,) = look(signed.documents(), [place[1]]).said
    assert "other content" in said


# -- roots ---------------------------------------------------------------------------------------


def test_newer_roots_are_found_also_one_by_one_at_different_places(signed, site):
    first, second = site(), site()
    first.put("v1/acme/root/3", signed.root(3))
    second.put("v1/acme/root/2", signed.root(2))
    second.put("v1/acme/root/4", signed.root(4))
    key = signed.config_key
    second.put(MAIN, signed.config(version=7, root_version=4, signer=key))
    found = look(signed.documents(), [Web(name=first.url), Web(name=second.url)])
    assert sorted(found.roots) == [2, 3, 4]
    assert found.newer["main"].config.root_version == 4


def test_a_root_that_the_old_one_did_not_sign_counts_for_nothing(signed, place):
    place[0].put("v1/acme/root/2", signed.root(2, signer=PrivateKey.generate()))
    place[0].put("v1/acme/root/3", signed.root(3))
    found = look(signed.documents(), [place[1]])
    assert found.roots == {}
    (said,) = found.said
    assert "root 2 is refused" in said


def test_a_config_under_the_old_root_is_judged_by_that(signed, place, add_domain):
    """The root was published, and the recovery copy of the config is still the one before."""
    before = signed.documents()
    add_domain()
    place[0].put("v1/acme/root/2", signed.root(2, config_key=PrivateKey.generate()))
    place[0].put(MAIN, signed.documents().configs["main"])
    found = look(before, [place[1]])
    assert sorted(found.roots) == [2]
    assert found.newer["main"].config.version == 2


def test_a_config_under_a_root_before_the_backups_needs_no_word(signed, place):
    old = signed.documents().configs["main"]
    signed.keep(2, signed.root(2))
    documents = dataclasses.replace(
        signed.documents(), configs={"main": signed.config(version=2, root_version=2)}
    )
    place[0].put(MAIN, old)
    found = look(documents, [place[1]])
    assert (found.newer, found.said) == ({}, [])


def test_the_latest_time_of_issue_is_told(signed, place):
    late = dt.datetime(2026, 12, 24, tzinfo=dt.timezone.utc)
    expires = int(late.timestamp()) + 1000
    place[0].put(MAIN, signed.config(version=2, issued=int(late.timestamp()), expires=expires))
    assert look(signed.documents(), [place[1]]).issued == late


# -- places that do not answer -------------------------------------------------------------------


def test_a_place_that_does_not_answer_is_named_and_asked_once(signed, site):
    dead = Web(name="http://127.0.0.1:1")
    found = look(signed.documents(), [dead])
    (said,) = found.said
    assert said.startswith("http://127.0.0.1:1: ")
    slow = site()
    slow.put("v1/acme/root/2", b"", 503)
    look(signed.documents(), [Web(name=slow.url)])
    assert len(slow.asked) == 1


def test_nothing_is_asked_when_the_time_is_up(signed, place, tmp_path):
    place[0].put("v1/acme/root/2", signed.root(2))
    places = [place[1], source(str(tmp_path), {})]
    found = look(signed.documents(), places, seconds=-1)
    assert (found.roots, found.newer, place[0].asked) == ({}, {}, [])
    assert found.said == [f"{each.name}: there was no time left to look" for each in places]


def test_a_server_that_answers_is_told_for_it_may_still_run(signed, place):
    live = dataclasses.replace(place[1], live=True)
    assert look(signed.documents(), [live]).alive == [place[0].url]
    assert look(signed.documents(), [place[1]]).alive == []
    dead = Web(name="http://127.0.0.1:1", live=True)
    assert look(signed.documents(), [dead]).alive == []


# -- the backup's own ----------------------------------------------------------------------------


def test_documents_that_clients_would_take_are_sound(signed):
    check(signed.documents())
    signed.keep(2, signed.root(2))
    check(signed.documents())


@pytest.mark.parametrize(
    "wrong", ["config", "root", "next root", "no root", "no such root", "no config"]
)
def test_documents_that_clients_would_refuse_are_not(signed, wrong):
    documents = signed.documents()
    roots, configs = dict(documents.roots), dict(documents.configs)
    if wrong == "config":
        configs["main"] = signed.config(signer=PrivateKey.generate())
    elif wrong == "root":
        roots[1] = signed.root(1, signer=PrivateKey.generate())
    elif wrong == "next root":
        roots[2] = signed.root(2, signer=PrivateKey.generate())
    elif wrong == "no root":
        roots.clear()
    elif wrong == "no config":
        configs.clear()
    else:
        configs["main"] = signed.config(root_version=9)
    with pytest.raises(BackupError, match="not sound"):
        check(Documents(account="acme", roots=roots, configs=configs))


def test_an_exported_folder_is_a_place_too(signed, tmp_path, add_domain):
    before = signed.documents()
    add_domain()
    export(signed.documents(), target(str(tmp_path), {}))
    found = look(before, [source(str(tmp_path), {})])
    assert found.newer["main"].where == str(tmp_path)


def test_the_time_for_all_of_it_is_a_minute():
    assert looking.TIME == 60
