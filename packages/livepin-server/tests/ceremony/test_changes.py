"""What a root changes, in words, and what to think of before it is signed."""

import datetime as dt
import json

import pytest
from livepin.documents import Role
from livepin_server.ceremony import changes

NOW = dt.datetime(2026, 11, 23, 12, tzinfo=dt.timezone.utc)
DAY = dt.timedelta(days=1)


@pytest.fixture
def kid(keys):
    return {name: key.public.kid for name, key in keys.items()}


@pytest.fixture
def said(make_root):
    """Return what is to be thought of before signing this after root 1 of alice."""

    def one(after, before=None, **options):
        return changes.warnings(before or make_root(), after, now=NOW, **options)

    return one


def test_each_key_comes_stays_or_goes(make_root, kid):
    before, after = make_root(1, ("alice", "bob")), make_root(2, ("bob", "carol"), generation="2")
    found = {(each.role, each.kid): each.how for each in changes.key_changes(before, after)}
    assert found == {
        ("root", kid["alice"]): "goes",
        ("root", kid["bob"]): "stays",
        ("root", kid["carol"]): "comes",
        ("config", kid["config"]): "goes",
        ("config", kid["config2"]): "comes",
        ("override", kid["override"]): "goes",
        ("override", kid["override2"]): "comes",
    }


def test_in_root_1_every_key_comes(make_root):
    assert {each.how for each in changes.key_changes(None, make_root())} == {"comes"}


def test_the_history_says_what_changed(make_root, kid):
    before, after = make_root(1, ("alice",)), make_root(2, ("alice", "bob"), threshold=2)
    assert changes.lines(before, after) == [
        f"+ root key {kid['bob']}, by root 2",
        "* 2 of 2 root keys must sign, by root 2; it was 1 of 1",
    ]
    assert changes.lines(before, make_root(2)) == ["* root 2, with the keys of root 1"]
    gone = changes.lines(after, make_root(3, ("bob",)))
    assert gone[0] == f"- root key {kid['alice']}, by root 3"


def test_what_replaces_the_keys_of_the_server_and_keeps_the_rest_needs_no_thought(said, make_root):
    assert said(make_root(2, generation="2")) == []
    assert changes.warnings(None, make_root(), now=NOW) == []


def test_fewer_signatures_are_worth_a_thought(said, make_root):
    before = make_root(1, ("alice", "bob"), threshold=2)
    found = said(make_root(2, ("alice", "bob"), generation="2"), before)
    assert found == ["fewer keys must sign: 1 of 2, it was 2 of 2"]


def test_keys_of_the_server_that_stay_are_worth_a_thought(said, make_root, keys):
    text = "the keys of the server stay: if they were stolen, this does not end it"
    assert text in said(make_root(2, ("alice", "bob")))
    half = make_root(2, generation="2")
    half.roles["override"] = make_root().roles["override"]
    assert said(half) == ["the override key stays: if it was stolen too, this does not end it"]


def test_new_people_are_worth_a_thought(said, make_root):
    assert ("no root key stays: who holds the new ones has the account from now on") in said(
        make_root(2, ("bob",), generation="2")
    )


def test_a_key_that_signs_its_own_end_is_worth_a_thought(said, make_root, kid):
    after = make_root(2, ("bob",), generation="2")
    text = "the key that signs goes: root 2 is the last that it signs"
    assert text in said(after, signing=kid["alice"])
    assert text not in said(after, signing=kid["bob"])


def test_a_key_that_changes_its_role_is_worth_a_thought(said, make_root, keys, kid):
    after = make_root(2, ("alice", "config"), generation="2")
    assert changes.moved(make_root(), after) == [(kid["config"], "config", "root")]
    text = f"the key {kid['config']} was a config key and becomes a root key"
    assert text in said(after)


@pytest.mark.parametrize(
    ("expires", "text"),
    [
        (NOW - DAY, "it expired on 2026-11-22, by the clock of this machine"),
        (NOW + 30 * DAY, "it expires on 2026-12-23: the next one is due at once"),
        (NOW + 6 * 365 * DAY, "it lives 6 years: a key that leaks is trusted for that long"),
        (NOW + 5 * 365 * DAY, None),
        (NOW + 90 * DAY, None),
    ],
)
def test_a_short_and_a_long_life_are_worth_a_thought(said, make_root, expires, text):
    found = said(make_root(2, generation="2", expires=expires))
    assert found == ([text] if text else [])


def test_a_root_of_the_future_is_worth_a_thought(said, make_root):
    found = said(make_root(2, generation="2", issued=NOW + DAY, expires=NOW + 365 * DAY))
    assert found == ["it was made on 2026-11-24, which is in the future by the clock here"]


def test_what_nobody_knows_is_shown_wherever_it_stands(make_root, keys):
    payload = json.loads(make_root().payload())
    assert changes.unknown(make_root().payload()) == []
    payload["note"] = "harmless"
    payload["roles"]["timestamp"] = {"keys": []}
    payload["roles"]["root"]["weight"] = 2
    payload["roles"]["config"]["keys"][0]["use"] = "sig"
    assert changes.unknown(json.dumps(payload).encode()) == [
        'note = "harmless"',
        'roles.timestamp = {"keys":[]}',
        "roles.root.weight = 2",
        'roles.config.keys.1.use = "sig"',
    ]


def test_the_threshold_is_said_of_the_keys_that_there_are(make_root, keys):
    root = make_root(1, ("alice", "bob", "carol"), threshold=2)
    assert changes.threshold(root) == "2 of 3"
    assert isinstance(root.roles["root"], Role)
