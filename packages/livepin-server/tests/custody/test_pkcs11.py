"""Private keys in a PKCS#11 token: made in it, never out of it, and for one purpose each."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pkcs11
import pytest
from livepin.jose import PrivateKey
from livepin_server.custody.label import IN_TOKEN, Label
from livepin_server.custody.pkcs11 import InToken, Token
from livepin_server.errors import CustodyError
from pkcs11 import Attribute, ObjectClass

DATA = b"what is to be signed"


@pytest.fixture
def token(soft_token):
    return Token(soft_token.module, soft_token.label, lambda: soft_token.pin)


@pytest.fixture
def key(token):
    return token.new("root", account="acme", role="root")


@pytest.fixture
def keeper(token):
    return InToken(token)


@pytest.fixture
def session(soft_token, token):
    """A session of the test's own on the same token."""
    token.check()
    found = pkcs11.lib(str(soft_token.module)).get_token(token_label=soft_token.label)
    return found.open(rw=True)


def private(session, name="root"):
    return session.get_key(object_class=ObjectClass.PRIVATE_KEY, label=name)


# -- keys ----------------------------------------------------------------------------------------


def test_a_key_in_a_token_signs_es256(key):
    signature = key.sign(DATA)
    assert len(signature) == 64
    assert key.public.verifies(signature, DATA)
    assert not key.public.verifies(signature, DATA + b".")


def test_the_same_key_is_found_again(token, key):
    again = token.key("root", account="acme", role="root")
    assert again.public.kid == key.public.kid
    assert key.public.verifies(again.sign(DATA), DATA)


def test_a_key_can_never_leave_the_token(key, session):
    found = private(session)
    assert found[Attribute.SENSITIVE]
    assert found[Attribute.ALWAYS_SENSITIVE]
    assert not found[Attribute.EXTRACTABLE]
    assert found[Attribute.NEVER_EXTRACTABLE]
    assert not found[Attribute.MODIFIABLE]
    assert not found[Attribute.DERIVE]
    assert not found[Attribute.DECRYPT]
    assert not found[Attribute.UNWRAP]
    with pytest.raises(pkcs11.AttributeSensitive):
        found[Attribute.VALUE]


def test_a_name_is_given_once(token, key):
    with pytest.raises(CustodyError, match="the token acme holds a key root already"):
        token.new("root", account="acme", role="root")


@pytest.mark.parametrize("name", ["", "a\n", "x" * 201])
def test_what_is_no_name_is_refused(token, name):
    for use in (token.new, token.key):
        with pytest.raises(CustodyError, match="expected the name of a key"):
            use(name, account="acme", role="root")


def test_a_key_that_is_not_there_is_said(token):
    with pytest.raises(CustodyError, match="the token acme holds no key root") as caught:
        token.key("root", account="acme", role="root")
    assert caught.value.hint == "is it the right token, and was the key not removed from it?"


@pytest.mark.parametrize(("account", "role"), [("beta", "root"), ("acme", "config")])
def test_a_key_is_for_the_account_and_role_that_it_was_made_for(token, key, account, role):
    with pytest.raises(CustodyError, match=f"the key root in the token acme is not the {role} key"):
        token.key("root", account=account, role=role)


def test_a_key_that_could_be_read_out_is_not_used(token, session):
    curve = session.create_domain_parameters(
        pkcs11.KeyType.EC,
        {Attribute.EC_PARAMS: pkcs11.util.ec.encode_named_curve_parameters("secp256r1")},
        local=True,
    )
    template = {Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}
    curve.generate_keypair(store=True, label="root", id=b"x", private_template=template)
    with pytest.raises(CustodyError, match="the key root in the token can be read out of it"):
        token.key("root", account="acme", role="root")


def test_a_key_of_another_curve_is_not_used(token, session):
    curve = session.create_domain_parameters(
        pkcs11.KeyType.EC,
        {Attribute.EC_PARAMS: pkcs11.util.ec.encode_named_curve_parameters("secp384r1")},
        local=True,
    )
    curve.generate_keypair(store=True, label="root", id=b"x")
    with pytest.raises(CustodyError, match="the key root in the token is not one of P-256"):
        token.key("root", account="acme", role="root")


def test_a_key_that_was_removed_is_said_when_it_is_to_sign(token, key):
    token.destroy("root")
    with pytest.raises(CustodyError, match="the token acme holds no key root"):
        key.sign(DATA)
    token.destroy("root")  # once more changes nothing


def test_another_key_of_its_name_does_not_pass_for_it(token, key):
    token.destroy("root")
    token.new("root", account="acme", role="root")
    with pytest.raises(CustodyError, match="signs, but not as itself"):
        key.sign(DATA)


def test_neither_key_nor_token_shows_the_pin(soft_token, token, key):
    shown = f"{token!r} {key!r} {vars(token)!r}"
    assert soft_token.pin not in shown
    assert str(soft_token.module) not in repr(key)


# -- a token that is not there -------------------------------------------------------------------


def test_a_module_that_is_none_is_said(soft_token, tmp_path):
    (tmp_path / "no.so").write_text("no library")
    for path in (tmp_path / "gone.so", tmp_path / "no.so"):
        with pytest.raises(
            CustodyError, match=f"the PKCS#11 module {path} cannot be used"
        ) as caught:
            Token(path, "acme", lambda: "").check()
        assert "such as /usr/lib/softhsm" in caught.value.hint


def test_another_token_is_named_with_those_that_there_are(soft_token):
    with pytest.raises(CustodyError, match="there is no token with the label 'acne'") as caught:
        Token(soft_token.module, "acne", lambda: "").check()
    assert caught.value.hint == "the module shows: acme"


def test_two_tokens_of_one_label_are_not_guessed_between(soft_token, token):
    soft_token.add("acme")
    soft_token.restart()
    with pytest.raises(CustodyError, match="there are several tokens with the label 'acme'"):
        token.check()


def test_without_the_extra_there_is_a_word_for_it(token, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pkcs11", None)
        with pytest.raises(CustodyError, match="not installed") as caught:
            token.check()
    assert caught.value.hint == "install livepin-server[pkcs11]"


@pytest.mark.parametrize("wrong", ["wrong pin", "123", "x" * 300])
def test_a_wrong_pin_is_tried_once_and_never_again(soft_token, wrong):
    asked = []

    def pin():
        asked.append(1)
        return wrong

    token = Token(soft_token.module, soft_token.label, pin)
    for _ in range(20):
        with pytest.raises(CustodyError, match="does not take this PIN") as caught:
            token.check()
        assert wrong not in f"{caught.value} {caught.value.hint}"
    assert asked == [1]
    # The token is not locked: the right one opens it.
    Token(soft_token.module, soft_token.label, lambda: soft_token.pin).check()


def test_a_token_that_went_away_is_said_and_used_again_once_it_is_back(soft_token, token, key):
    with soft_token.away():
        for _ in range(2):
            with pytest.raises(CustodyError, match="cannot be used: GeneralError"):
                key.sign(DATA)
    assert key.public.verifies(key.sign(DATA), DATA)


def test_a_token_that_goes_away_in_the_middle_is_said_and_used_again(soft_token, token, key):
    # The session is there still, what it is to write to is not.
    with soft_token.gone():
        with pytest.raises(CustodyError, match="the token acme does not answer: ") as caught:
            token.new("another", account="acme", role="root")
        assert caught.value.hint == "is it there? it is tried again when it is next needed"
    assert key.public.verifies(key.sign(DATA), DATA)
    assert token.new("another", account="acme", role="root").public.kid != key.public.kid


def test_a_session_that_was_cut_off_is_opened_anew(soft_token, key):
    soft_token.restart()
    assert key.public.verifies(key.sign(DATA), DATA)


def test_a_token_that_has_logged_us_out_is_logged_in_to_again(soft_token, token, key):
    # The first to log in logs out for the whole process, as a token does by itself after a while.
    other = Token(soft_token.module, soft_token.label, lambda: soft_token.pin)
    same = other.key("root", account="acme", role="root")
    token._session.close()
    assert key.public.verifies(same.sign(DATA), DATA)
    assert key.public.verifies(key.sign(DATA), DATA)


def test_a_second_login_in_one_process_is_none(soft_token, token, key):
    other = Token(soft_token.module, soft_token.label, lambda: soft_token.pin)
    assert other.key("root", account="acme", role="root").public.kid == key.public.kid


def test_many_threads_sign_at_once(key):
    with ThreadPoolExecutor(8) as pool:
        done = [*pool.map(lambda number: (number, key.sign(b"%d" % number)), range(100))]
    assert all(key.public.verifies(signature, b"%d" % number) for number, signature in done)
    assert threading.active_count() < 30


# -- the keys of a server ------------------------------------------------------------------------


def test_what_is_kept_of_a_key_is_where_it_is(keeper):
    key = keeper.new("acme", "config")
    label = Label("acme", "config", key.public.kid)
    kept = keeper.keep(key, label, beside=None)
    assert kept == IN_TOKEN + key.name.encode()
    assert key.name.startswith("livepin acme config ")
    assert keeper.open(kept, label).public.kid == label.kid
    assert keeper.where == "in the token acme"


def test_a_key_of_another_kind_is_not_kept_here(keeper):
    key = PrivateKey.generate()
    with pytest.raises(TypeError):
        keeper.keep(key, Label("acme", "config", key.public.kid), beside=None)


def test_a_key_that_is_forgotten_is_gone_from_the_token(keeper, token):
    key = keeper.new("acme", "config")
    label = Label("acme", "config", key.public.kid)
    keeper.forget(IN_TOKEN + key.name.encode(), label)
    with pytest.raises(CustodyError, match="holds no key"):
        keeper.open(IN_TOKEN + key.name.encode(), label)


def test_there_is_something_to_say_of_a_token_that_cannot_be_used(soft_token, keeper):
    assert keeper.warning(None) is None
    with soft_token.away():
        assert "cannot be used: GeneralError; " in keeper.warning(None)
    wrong = InToken(Token(Path("/nowhere.so"), "acme", lambda: ""))
    assert wrong.warning(None).startswith("the PKCS#11 module /nowhere.so cannot be")
