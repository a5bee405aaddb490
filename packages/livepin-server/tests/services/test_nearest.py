"""A wrong name suggests the nearest right one, and never repeats a long text."""

import pytest
from livepin_server.errors import NotFoundError
from livepin_server.services.nearest import not_found


@pytest.mark.parametrize(
    ("known", "hint"),
    [
        (["main", "canary"], "did you mean main?"),
        (["zzz", "yyy"], "there is yyy, zzz"),
        (list("abcdef"), "there is a, b, c, d, e ..."),
        ([], "there is no stream yet"),
    ],
)
def test_the_hint_names_what_is_near_or_what_there_is(known, hint):
    found = not_found("stream", "mian", iter(known))
    assert isinstance(found, NotFoundError)
    assert str(found) == "there is no stream 'mian'"
    assert found.hint == hint


def test_a_long_name_is_cut():
    assert len(str(not_found("stream", "x" * 10_000, []))) < 300
