"""One interface: keys are made in the token where there is one, and those of both are opened."""

import contextlib

import pytest
from livepin_server.custody.keeping import Custody
from livepin_server.custody.label import IN_TOKEN, SEALED, Kept, Label
from livepin_server.custody.pkcs11 import InToken, Token
from livepin_server.custody.sealed import new_master_key
from livepin_server.errors import ConflictError, CustodyError, UnavailableError

DATA = b"what is to be signed"


@pytest.fixture
def sealed(tmp_path):
    return new_master_key(tmp_path / "master.key")


@pytest.fixture
def in_token(soft_token):
    return InToken(Token(soft_token.module, soft_token.label, lambda: soft_token.pin))


@pytest.fixture(params=["sealed", "in a token"])
def custody(request, sealed):
    if request.param == "sealed":
        return Custody(sealed)
    return Custody(sealed, request.getfixturevalue("in_token"))


def test_a_key_is_made_kept_and_opened_wherever_it_is(custody):
    made = custody.new("acme", "config")
    kept = made.keep(None)
    assert kept.label == Label("acme", "config", made.signer.public.kid)
    assert made.role().keys == {kept.label.kid: made.signer.public}
    opened = custody.open(kept.data, kept.label)
    assert made.signer.public.verifies(opened.sign(DATA), DATA)
    assert custody.warnings(None) == []


def test_a_key_of_another_label_does_not_open_wherever_it_is(custody):
    made = custody.new("acme", "config")
    kept, kid = made.keep(None), made.signer.public.kid
    other = custody.new("acme", "config").signer.public.kid
    for label in (("beta", "config", kid), ("acme", "override", kid), ("acme", "config", other)):
        with pytest.raises(CustodyError):
            custody.open(kept.data, Label(*label))


def test_new_keys_are_made_in_the_token_and_old_ones_still_open(sealed, in_token):
    old = Custody(sealed).new("acme", "config").keep(None)
    both = Custody(sealed, in_token)
    new = both.new("acme", "config").keep(old)
    assert (old.data[:1], new.data[:1]) == (SEALED, IN_TOKEN)
    for each in (old, new):
        assert both.open(each.data, each.label).public.kid == each.label.kid
    assert both.where(old.data) == "sealed on the server"
    assert both.where(new.data) == "in the token acme"


def test_a_key_in_a_token_needs_the_token(sealed, in_token):
    kept = Custody(sealed, in_token).new("acme", "config").keep(None)
    alone = Custody(sealed)
    with pytest.raises(CustodyError, match="is in a token, and none is set up") as caught:
        alone.open(kept.data, kept.label)
    assert caught.value.hint == "set pkcs11_module and pkcs11_token"
    assert alone.where(kept.data) == "in a token that is not set up"
    alone.forget([kept])  # leaves it where it is
    assert in_token.open(kept.data, kept.label)


def making(custody, exc):
    """Return the keys that were made for something that ended with an error."""
    made = []
    with contextlib.suppress(type(exc)), custody.making("acme", ("config", "override")) as found:
        made += [each.keep(None) for each in found]
        raise exc
    return made


def test_keys_that_are_refused_leave_nothing_in_the_token(sealed, in_token):
    custody = Custody(sealed, in_token)
    made = making(custody, ConflictError("refused"))
    assert len(made) == 2
    for each in made:
        with pytest.raises(CustodyError, match="holds no key"):
            custody.open(each.data, each.label)


def test_keys_of_which_nobody_knows_whether_they_are_kept_stay(sealed, in_token):
    custody = Custody(sealed, in_token)
    for each in making(custody, UnavailableError("the database went away during the commit")):
        assert custody.open(each.data, each.label)


def test_a_key_that_is_gone_already_keeps_nothing_from_being_dropped(sealed, in_token, caplog):
    custody = Custody(sealed, in_token)
    kept = [custody.new("acme", role).keep(None) for role in ("config", "override")]
    custody.forget(kept[:1])
    custody.forget(kept)
    assert "a dropped config key is still there: the token acme holds no key" in caplog.text
    with pytest.raises(CustodyError, match="holds no key"):
        custody.open(kept[1].data, kept[1].label)


def test_what_is_kept_does_not_show_itself(sealed):
    kept = Custody(sealed).new("acme", "config").keep(None)
    assert repr(kept) == f"Kept(label={kept.label!r})"
    assert isinstance(kept, Kept)
