"""Who carries the proposal, or runs the server, has a signer sign other than what they read."""

import dataclasses
import json

import pytest
from livepin.documents import Role
from livepin.jose import PrivateKey, b64url_encode
from livepin_server.ceremony.proposal import Proposal

ATTACKER = PrivateKey.generate()


def file_of(proposal, **members):
    """Return the file of a proposal with members replaced."""
    return json.dumps(json.loads(proposal.to_bytes()) | members).encode()


def encoded(payload):
    return b64url_encode(payload).decode()


def with_attacker(root):
    """Return a root in which the attacker's key stands beside the owner's."""
    role = root.roles["root"]
    keys = role.keys | {ATTACKER.public.kid: ATTACKER.public}
    return dataclasses.replace(root, roles=root.roles | {"root": Role(keys=keys)})


def test_the_words_are_those_of_the_payload(offline, sign_file):
    proposal = offline.prepare(replace_online=True)
    forged = with_attacker(proposal.root)
    done = sign_file(file_of(proposal, payload=encoded(forged.payload())), offline.key, "--yes")
    assert done.code == 0
    (row,) = [line for line in done.out.splitlines() if ATTACKER.public.kid in line]
    assert row.split() == ["root", ATTACKER.public.kid, "comes"]
    assert Proposal.parse(done.file).root == forged


@pytest.mark.parametrize("name", ["summary", "account", "words", "keys"])
def test_words_that_nobody_signs_have_no_place_in_the_file(offline, sign_file, name):
    proposal = offline.prepare(replace_online=True)
    members = json.loads(proposal.to_bytes()) | {name: "only the server's keys change"}
    content = json.dumps(members).encode()
    done = sign_file(content, offline.key, "--yes")
    assert (done.code, done.file) == (2, content)
    assert f"see '{name}'" in done.err
    assert "only the server" not in done.out


def test_a_root_before_that_was_made_up_is_told(offline, sign_file):
    # In the made-up root 1 the attacker's key is a root key already: so it would seem to stay.
    proposal = offline.prepare(replace_online=True)
    before = with_attacker(proposal.previous.document)
    made_up = json.loads(offline.signed(before, ATTACKER))
    payload = encoded(with_attacker(proposal.root).payload())
    done = sign_file(file_of(proposal, payload=payload, previous=made_up), offline.key, "--yes")
    (row,) = [line for line in done.out.splitlines() if ATTACKER.public.kid in line]
    assert row.split() == ["root", ATTACKER.public.kid, "stays"]
    assert "root 1, which this key has not signed" in done.out
    assert "warning: this key has not signed root 1: compare its sha256 with what you" in done.err


def test_a_root_before_that_this_key_signed_is_told_too(offline, sign_file):
    done = sign_file(offline.prepare(replace_online=True).to_bytes(), offline.key, "--yes")
    assert "root 1, which this key has signed" in done.out
    assert "has not signed" not in done.out + done.err


@pytest.mark.parametrize(
    "place", [(), ("roles",), ("roles", "root"), ("roles", "config", "keys", 0)], ids=str
)
def test_what_nobody_can_read_is_not_signed_unless_somebody_insists(offline, sign_file, place):
    proposal = offline.prepare(replace_online=True)
    payload = json.loads(proposal.payload)
    inner = payload
    for step in place:
        inner = inner[step]
    inner["hidden"] = {"\x1b[2K": "\u202edrow"}
    content = file_of(proposal, payload=encoded(json.dumps(payload).encode()))
    done = sign_file(content, offline.key)
    assert (done.code, done.file) == (2, content)
    assert "error: the root holds what this version does not know: " in done.err
    assert "hidden" in done.err
    done = sign_file(content, offline.key, "--yes")
    assert done.code == 0
    assert "warning: unknown: " in done.err
    assert "\x1b" not in done.out + done.err
    assert "\u202e" not in done.out + done.err


def test_a_member_twice_has_no_two_readings(offline, sign_file):
    proposal = offline.prepare(replace_online=True)
    twice = proposal.payload.replace(b'{"account":"beta"', b'{"account":"acme","account":"beta"')
    content = file_of(proposal, payload=encoded(twice))
    done = sign_file(content, offline.key, "--yes")
    assert (done.code, done.file) == (2, content)
    assert "a member name stands twice" in done.err


def test_nothing_is_signed_before_somebody_agrees(offline, sign_file):
    content = offline.prepare(replace_online=True).to_bytes()
    done = sign_file(content, offline.key)
    assert (done.code, done.file) == (2, content)
    assert "error: root 2 of beta will be signed, and nobody is here to agree" in done.err
    assert offline.key.public.kid in done.out
    done = sign_file(content, offline.key, "--json")
    assert (done.code, done.file) == (2, content)


def test_a_file_without_end_is_not_read_to_its_end(offline, sign_file):
    content = offline.prepare(replace_online=True).to_bytes() + b" " * (2 * 1024 * 1024)
    done = sign_file(content, offline.key, "--yes")
    assert (done.code, done.file) == (2, content)
    assert "expected a proposal of at most" in done.err
