"""An entry says what was done, and its bytes are bounded, whatever it is told."""

import datetime as dt
import hashlib
import json
import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from livepin_server.services.audit import Action, Entry, entry_of
from livepin_server.services.audit.chain import LONGEST_LINE
from livepin_server.services.audit.entry import decode, encode
from livepin_server.services.model import Intent, Role

NOW = dt.datetime(2026, 11, 23, 12, 0, 0, 5, tzinfo=dt.timezone.utc)
WHO = Intent(author="alice", reason="rotation", key_id="0123456789ab", origin="192.0.2.7")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
MEMBERS = st.none() | st.dictionaries(st.text(), VALUES, max_size=6)
ANY_TEXT = st.text(st.characters(), max_size=800)  # halves of surrogate pairs, too


def entry(**members):
    return entry_of(WHO, account="acme", action="config.publish", now=NOW, **members)


def test_an_entry_says_who_from_where_when_what_and_why():
    found = entry(target="main", before={"version": 4}, after={"version": 5}, config=5)
    assert json.loads(encode(found)) == {
        "account": "acme", "action": "config.publish", "moment": "2026-11-23T12:00:00.000005Z",
        "author": "alice", "key_id": "0123456789ab", "origin": "192.0.2.7", "reason": "rotation",
        "target": "main", "before": {"version": 4}, "after": {"version": 5}, "config": 5,
    }  # fmt: skip
    assert decode(encode(found)) == found


def test_what_is_not_said_is_left_out():
    who = Intent(author="livepin")
    found = entry_of(who, account="", action="account.prepare", now=NOW)
    assert list(json.loads(encode(found))) == ["account", "action", "moment", "author"]


def test_a_moment_is_in_utc_and_needs_a_zone():
    zone = dt.timezone(dt.timedelta(hours=2))
    found = entry_of(WHO, account="", action="probe", now=NOW.astimezone(zone))
    assert encode(found) == encode(entry_of(WHO, account="", action="probe", now=NOW))


def test_values_of_ours_become_json():
    found = entry(after={"role": Role.ADMIN, "at": NOW, "keys": ("a", "b")})
    assert found.after == {
        "role": "admin", "at": "2026-11-23T12:00:00.000005Z", "keys": ["a", "b"],
    }  # fmt: skip


def test_a_later_versions_members_do_not_keep_an_entry_from_being_read():
    data = encode(entry())[:-1] + b',"ticket":{"number":7}}'
    assert decode(data) == entry()


def test_actions_are_a_word_or_two_and_in_order():
    actions = get_args(Action)
    assert list(actions) == sorted(set(actions))
    assert all(len(each) <= 64 and each == each.lower() for each in actions)


# -- bounds --------------------------------------------------------------------------------------


def test_a_long_list_is_cut_and_the_entry_says_so():
    lines = [f"+ pin api.example.com sha256/{number:044}" for number in range(500)]
    after = {"version": 5, "changed": lines, "root_version": 1}
    found = entry(after=after)
    assert found.after["version"] == 5
    assert found.after["root_version"] == 1
    kept = found.after["changed"]
    assert kept == lines[: len(kept)]
    assert 40 < len(kept) < 80
    whole = json.dumps(after, separators=(",", ":")).encode()
    assert found.cut["after"].bytes == len(whole)
    assert found.cut["after"].sha256 == hashlib.sha256(whole).hexdigest()
    assert list(found.cut) == ["after"]


def test_a_member_that_does_not_fit_leaves_room_for_the_next():
    found = entry(before={"a": "x" * 5000, "b": ["y" * 5000], "c": {"d": 1}, "e": []})
    assert found.before == {"c": {"d": 1}, "e": []}
    assert list(found.cut) == ["before"]


def test_a_long_reason_is_cut_and_the_entry_says_so():
    who = Intent(author="a" * 201, reason="r" * 501)
    found = entry_of(who, account="acme", action="probe", now=NOW, target="t" * 300)
    assert (len(found.author), len(found.reason), len(found.target)) == (200, 500, 300)
    assert {name: cut.bytes for name, cut in found.cut.items()} == {"author": 203, "reason": 503}


def test_what_fits_is_not_cut():
    assert entry(before={}, after={"changed": ["x" * 4000]}).cut is None


@given(ANY_TEXT, ANY_TEXT, MEMBERS, MEMBERS)
@settings(deadline=None)
def test_any_entry_round_trips_in_one_bounded_line_of_ascii(author, reason, before, after):
    who = Intent(author=author, reason=reason, key_id=reason, origin=author)
    found = entry_of(
        who, account="acme", action="probe", now=NOW, target=reason, before=before, after=after
    )
    data = encode(found)
    assert decode(data) == found
    assert encode(decode(data)) == data
    assert len(data) < LONGEST_LINE // 2
    assert all(0x20 <= byte < 0x7F for byte in data)


def test_the_largest_entry_is_bounded():
    text = "\U0001f600" * 1000
    members = {text: [text] * 100, "x": {text: text}}
    who = Intent(author=text, reason=text, key_id=text, origin=text)
    found = entry_of(
        who, account="a" * 63, action="probe", now=NOW, target=text, before=members, after=members
    )
    assert len(encode(found)) < LONGEST_LINE // 2


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\udc80\udc80"])
def test_half_a_surrogate_pair_is_written_as_its_escape(text):
    who = Intent(author="alice", reason=text)
    found = entry_of(who, account="acme", action="probe", now=NOW, after={text: [text]})
    escaped = text.encode("utf-8", "backslashreplace").decode()
    assert decode(encode(found)) == found
    assert (found.reason, found.after) == (escaped, {escaped: [escaped]})
    assert "\\u" in escaped.replace("\\ud", "\\u")


def test_an_entry_can_be_made_of_what_was_read():
    assert isinstance(decode(encode(entry())), Entry)


def test_the_page_for_operators_lists_every_action_and_member():
    text = (Path(__file__).parents[5] / "docs" / "operations.md").read_text()
    section = text[text.index("\n## The audit log\n") : text.index("\n## What to watch\n")]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    named = {each for row in rows for each in re.findall(r"`([a-z_.-]+)`", row)}
    members = {each for each in Entry.__struct_fields__ if each != "cut"}
    assert named - {"livepin audit verify"} >= {*get_args(Action), *members}
