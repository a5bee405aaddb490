"""The text of an API key: each key has one, and nothing else is taken for it."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from livepin_server.services import api_key_text
from livepin_server.services.api_key_text import id_in, parse, written

quick = settings(deadline=None, max_examples=300)
identities = st.from_regex(r"[a-z0-9]{12}", fullmatch=True)
secrets = st.binary(min_size=32, max_size=32)


@quick
@given(identity=identities, secret=secrets)
def test_what_is_written_is_read(identity, secret):
    text = written(identity, secret)
    assert parse(text) == (identity, secret)
    assert id_in(text) == identity
    assert re.fullmatch(r"lpk_[a-z0-9]{12}_[A-Za-z0-9_-]{43}", text)


@quick
@given(
    text=st.text()
    | st.from_regex(r"lpk_[a-z0-9]{12}_[A-Za-z0-9_-]{43}", fullmatch=True)
    | st.from_regex(r"\s?(lpk_)?[a-z0-9]{11,13}_[A-Za-z0-9_=+/-]{42,44}\s?", fullmatch=True)
)
def test_each_key_has_one_text(text):
    found = parse(text)
    assert found is None or written(*found) == text


@quick
@given(identity=identities, secret=secrets, at=st.integers(0, 59), other=st.characters())
def test_another_text_is_another_key_or_none(identity, secret, at, other):
    text = written(identity, secret)
    changed = text[:at] + other + text[at + 1 :]
    assert (parse(changed) == (identity, secret)) == (changed == text)


def test_the_43rd_character_of_a_secret_says_four_bits_only():
    """The other two would make four texts of one key."""
    text = written("0" * 12, bytes(32))
    taken = [each for each in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if parse(text[:-1] + each)]
    assert taken == list("AEIMQUY")


def test_new_keys_are_random():
    made = {(api_key_text.new_id(), api_key_text.new_secret()) for _ in range(100)}
    assert len({identity for identity, _ in made}) == len({secret for _, secret in made}) == 100
    assert all(parse(written(*each)) == each for each in made)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("lpk_0123456789ab", "0123456789ab"),
        ("lpk_0123456789ab_half of the secret", "0123456789ab"),
        ("lpk_0123456789abc", None),
        ("0123456789ab", None),
        ("prometheus", None),
        ("", None),
    ],
)
def test_the_id_of_a_text_that_was_cut_is_found(text, found):
    assert id_in(text) == found
