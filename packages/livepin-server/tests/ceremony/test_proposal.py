"""The proposal of a root: a file that gathers signatures, each of another key that counts."""

import json

import pytest
from livepin import jsontext
from livepin.errors import LivepinError, MalformedError, VerificationError
from livepin_server.ceremony.proposal import FORMAT, MOST, Proposal, SignedRoot
from livepin_server.errors import CustodyError


@pytest.fixture
def propose(make_root, sign):
    """Propose root 2 of `acme`, after root 1 by alice."""

    def one(*root, before=None, **members):
        after = make_root(2, root or ("alice", "bob"), **members)
        return Proposal.new(after.payload(), before or sign(make_root()))

    return one


def changed(proposal, **members):
    """Return the file with members replaced; None takes one out."""
    found = json.loads(proposal.to_bytes()) | members
    return json.dumps({name: each for name, each in found.items() if each != "gone"}).encode()


def test_a_proposal_is_written_and_read(propose, keys):
    proposal = propose()
    assert Proposal.parse(proposal.to_bytes()) == proposal
    signed = proposal.signed(keys["alice"])
    assert Proposal.parse(signed.to_bytes()) == signed
    assert json.loads(signed.to_bytes())["format"] == FORMAT
    assert signed.to_bytes().endswith(b"}\n")


def test_what_is_signed_is_the_payload_and_clients_take_it(propose, keys, sign, make_root):
    signed = propose().signed(keys["alice"]).signed(keys["bob"])
    raw = jsontext.dump(signed.document())
    found = SignedRoot.parse(raw)
    assert found.payload == signed.payload
    assert found.signed_by == (keys["alice"].public.kid, keys["bob"].public.kid)


def test_it_says_how_many_signatures_are_missing_of_the_old_and_of_the_new(make_root, sign, keys):
    before = sign(make_root(1, ("alice", "bob"), threshold=2), "alice", "bob")
    after = make_root(2, ("bob", "carol"), threshold=2)
    proposal = Proposal.new(after.payload(), before)
    assert (proposal.missing.old, proposal.missing.new) == (2, 2)
    proposal = proposal.signed(keys["bob"])  # in both
    assert (proposal.missing.old, proposal.missing.new) == (1, 1)
    proposal = proposal.signed(keys["carol"])
    assert (proposal.missing.old, proposal.missing.new) == (1, 0)
    assert proposal.missing
    proposal = proposal.signed(keys["alice"])
    assert not proposal.missing


def test_root_1_follows_on_none(make_root, keys):
    proposal = Proposal.new(make_root(1, ("alice", "bob"), threshold=2).payload(), None)
    assert Proposal.parse(proposal.to_bytes()).previous is None
    assert (proposal.missing.old, proposal.missing.new) == (0, 2)
    with pytest.raises(CustodyError, match="is not a root key of root 1 of acme"):
        proposal.signed(keys["carol"])


@pytest.mark.parametrize(
    ("members", "rule"),
    [({"version": 3}, 6), ({"version": 1}, 6), ({"version": 2, "account": "beta"}, 5)],
    ids=str,
)
def test_what_does_not_follow_is_refused(make_root, sign, members, rule):
    with pytest.raises(VerificationError) as caught:
        Proposal.new(make_root(**members).payload(), sign(make_root()))
    assert caught.value.rule == rule


def test_a_later_root_without_the_one_before_is_refused(make_root):
    with pytest.raises(VerificationError, match="expected the root before root 2 in it"):
        Proposal.new(make_root(2).payload(), None)


def test_the_root_before_must_be_signed_by_itself(make_root, sign):
    two = make_root(1, ("alice", "bob"), threshold=2)
    for wrong in (sign(make_root(), "stranger"), sign(two, "alice"), sign(two, "alice", "alice")):
        with pytest.raises(VerificationError, match="rule 3"):
            Proposal.new(make_root(2).payload(), wrong)


def test_signatures_of_the_keys_before_it_stand_in_a_root_and_are_not_its_own(make_root, sign):
    found = SignedRoot.parse(sign(make_root(2, ("bob",)), "alice", "bob"))
    assert len(found.signed_by) == 1


def test_a_root_that_is_too_large_is_refused():
    with pytest.raises(VerificationError, match="rule 1"):
        SignedRoot.parse(b" " * (256 * 1024 + 1))


WRONG = {
    "no JSON": (b"nothing", "expected a proposal of a root: "),
    "no object": (b"[]", "expected a proposal of a root: "),
    "deep": (b"[" * 100, "expected a proposal of a root: expected JSON of at most 8 levels"),
    "large": (b" " * (MOST + 1), "expected a proposal of at most"),
    "another format": (b'{"format": "livepin-bootstrap/1"}', "expected a proposal of the format"),
    "twice": (b'{"format": 1, "format": 2}', "a member name stands twice"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_proposal_is_refused(what):
    data, message = WRONG[what]
    with pytest.raises(MalformedError, match=message) as caught:
        Proposal.parse(data)
    assert caught.value.hint == "make a new one with: livepin root prepare"


@pytest.mark.parametrize(
    "members",
    [
        {"payload": 1}, {"payload": "é"}, {"payload": "a"}, {"payload": "e30"}, {"payload": "gone"},
        {"previous": []}, {"previous": {}}, {"previous": "gone"}, {"previous": None},
        {"signatures": None}, {"signatures": [{}]}, {"signatures": ["x"]},
        {"signatures": [{"protected": "e30", "signature": ""}]}, {"signatures": [{}] * 33},
    ],
    ids=str,
)  # fmt: skip
def test_a_damaged_file_is_refused(propose, members):
    with pytest.raises(LivepinError):
        Proposal.parse(changed(propose(), **members))


def test_signatures_that_were_gathered_elsewhere_are_taken_in(propose, keys):
    proposal = propose()
    elsewhere = proposal.signed(keys["bob"])
    both = proposal.signed(keys["alice"]).merged(elsewhere.document())
    assert both.signed_by == (keys["alice"].public.kid, keys["bob"].public.kid)
    with pytest.raises(VerificationError, match="stands in it twice"):
        both.merged(elsewhere.document())
    with pytest.raises(MalformedError, match="those of another"):
        propose("alice").merged(elsewhere.document())
