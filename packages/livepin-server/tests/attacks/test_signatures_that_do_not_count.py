"""Who lacks root keys fills the threshold with foreign signatures, or with one key's twice."""

import json

import pytest
from livepin import jsontext
from livepin.documents.root import TYP
from livepin.jose import PrivateKey, b64url_decode, b64url_encode, parse_general, sign_general
from livepin_server.ceremony.proposal import Proposal
from livepin_server.errors import ConflictError

ATTACKER, BOB = PrivateKey.generate(), PrivateKey.generate()
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256


@pytest.fixture
def for_two(offline):
    """A proposal that the owner and bob must sign."""
    return offline.prepare(add_keys=[dict(BOB.public.jwk())], threshold=2)


def entries(payload, *signers):
    return json.loads(sign_general(payload, typ=TYP, signers=list(signers)))["signatures"]


def mirrored(entry):
    """Return another valid signature of the same key: (r, n-s) verifies, too."""
    raw = b64url_decode(entry["signature"].encode())
    s = (ORDER - int.from_bytes(raw[32:], "big")).to_bytes(32, "big")
    return entry | {"signature": b64url_encode(raw[:32] + s).decode()}


def document(payload, signatures):
    return {"payload": b64url_encode(payload).decode(), "signatures": signatures}


def file_of(proposal, signatures):
    return json.dumps(json.loads(proposal.to_bytes()) | {"signatures": signatures}).encode()


def test_a_foreign_key_signs_nothing(offline, for_two, sign_file):
    content = for_two.to_bytes()
    done = sign_file(content, ATTACKER, "--yes")
    assert (done.code, done.file) == (2, content)
    assert f"the key {ATTACKER.public.kid} is not a root key of root 1 or 2 of beta" in done.err


def test_a_root_key_of_another_account_signs_nothing(offline, for_two, sign_file):
    content = for_two.to_bytes()
    done = sign_file(content, offline.key, "--yes", account="acme")
    assert (done.code, done.file) == (2, content)
    assert "is of the account acme, and this is a root of beta" in done.err


def test_a_planted_foreign_signature_is_found_before_anybody_signs(offline, for_two, sign_file):
    content = file_of(for_two, entries(for_two.payload, ATTACKER))
    done = sign_file(content, offline.key, "--yes")
    assert (done.code, done.file) == (2, content)
    assert "is not a root key" in done.err


def test_a_planted_signature_in_the_name_of_a_root_key_is_found(offline, for_two, sign_file):
    (forged,) = entries(for_two.payload, ATTACKER)
    (genuine,) = entries(for_two.payload, BOB)
    content = file_of(for_two, [genuine | {"signature": forged["signature"]}])
    done = sign_file(content, offline.key, "--yes")
    assert (done.code, done.file) == (2, content)
    assert f"the signature of {BOB.public.kid} is not valid" in done.err


def test_one_key_signs_once(offline, for_two, sign_file):
    once = sign_file(for_two.to_bytes(), offline.key, "--yes")
    assert once.code == 0
    assert "Missing: 1 signature by root keys of root 2." in once.out
    twice = sign_file(once.file, offline.key, "--yes")
    assert (twice.code, twice.file) == (2, once.file)
    assert f"the key {offline.key.public.kid} has signed this already" in twice.err


@pytest.mark.parametrize("again", [entries, lambda *a: [mirrored(each) for each in entries(*a)]])
def test_one_key_twice_is_no_second_key(offline, for_two, sign_file, again):
    first = entries(for_two.payload, offline.key)
    both = first + again(for_two.payload, offline.key)
    content = file_of(for_two, both)
    done = sign_file(content, BOB, "--yes")
    assert (done.code, done.file) == (2, content)
    assert "stands in it twice" in done.err
    # And where nobody looked: the server counts keys, not signatures.
    with pytest.raises(ConflictError, match="rule 3: expected signatures of 2 distinct keys"):
        offline.publish(document(for_two.payload, both))
    assert offline.version == 1


def test_the_mirrored_signature_is_a_valid_one(offline, for_two):
    (entry,) = entries(for_two.payload, offline.key)
    raw = jsontext.dump(document(for_two.payload, [mirrored(entry)]))
    (found,) = parse_general(raw, typ=TYP).signatures
    assert found.verified_by(offline.key.public)


@pytest.mark.parametrize("signers", [(ATTACKER,), (BOB,), (BOB, ATTACKER)])
def test_a_root_that_its_own_new_keys_alone_sign_is_not_published(offline, for_two, signers):
    with pytest.raises(ConflictError, match=r"clients would refuse this root: rule [23]"):
        offline.publish(document(for_two.payload, entries(for_two.payload, *signers)))
    assert offline.version == 1


def test_with_both_it_is_published(offline, for_two):
    signed = for_two.signed(offline.key).signed(BOB)
    assert isinstance(signed, Proposal)
    offline.publish(signed.document())
    assert offline.version == 2
