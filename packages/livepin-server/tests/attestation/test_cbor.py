"""CBOR that is refused before anything is made of it."""

from __future__ import annotations

import cbor2
import pytest
from livepin.errors import MalformedError
from livepin_server.attestation import cbor


@pytest.mark.parametrize("found", [{}, {"a": [1, b"2"]}, {"b": {"c": {"d": []}}, "a": -1}])
def test_a_map_is_read(found):
    assert cbor.parse(cbor2.dumps(found)) == found


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ("", "expected CBOR"),
        ("a1", "expected CBOR"),
        ("a16161", "expected CBOR"),
        ("a1616101a0", "shortest form"),
        ("a161611801", "shortest form"),
        ("a178016101", "shortest form"),
        ("a26161016161 02", "expected CBOR"),
        ("bf616101ff", "expected CBOR"),
        ("a161615f4161ff", "expected CBOR"),
        ("a16161c101", "expected CBOR"),
        ("d9d9f7a0", "expected CBOR"),
        ("a16161c5821b7fffffffffffffff01", "expected CBOR"),
        ("a161618181818181 80", "expected CBOR"),
        ("a10101", "expected CBOR"),
        ("a1416101", "texts as keys"),
        ("80", "expected a CBOR map"),
        ("01", "expected a CBOR map"),
        ("f97e01", "shortest form"),
        ("bbffffffffffffffff", "expected CBOR"),
        ("a161615bffffffffffffffff", "expected CBOR"),
        ("a16161d81c81d81d00", "expected CBOR"),
        ("ff", "expected CBOR"),
        ("61ff", "expected CBOR"),
    ],
)
def test_anything_else_is_refused(raw, why):
    with pytest.raises(MalformedError, match=why):
        cbor.parse(bytes.fromhex(raw))


def test_the_decoder_never_walks_through_its_tags():
    # It looks for a tag by name; that it could list them is a matter of its interface.
    assert list(cbor._NoTags()) == []
    assert len(cbor._NoTags()) == 0
