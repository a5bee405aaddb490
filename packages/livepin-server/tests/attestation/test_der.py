"""DER: one encoding of each thing, bounded, and nothing but `DerError` for all else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livepin_server.attestation import der
from livepin_server.attestation.der import DerError, Element
from minted_android import boolean, element, enumerated, explicit, number, octets, sequence

PLAIN = st.builds(
    Element,
    st.integers(0, 3),
    st.booleans(),
    st.one_of(st.integers(0, 40), st.integers(0, 2**28 - 1)),
    st.binary(max_size=300),
)


def encoded(found):
    return b"".join(element(e.kind, e.tag, e.content, constructed=e.constructed) for e in found)


@given(st.lists(PLAIN, max_size=5))
def test_what_is_encoded_is_read_back(listed):
    assert der.elements(encoded(listed)) == listed


@given(st.binary(max_size=64))
def test_what_is_read_has_one_encoding_and_all_else_is_a_der_error(data):
    try:
        found = der.elements(data)
    except DerError:
        return
    assert encoded(found) == data


@given(st.binary(max_size=12))
def test_a_value_that_is_read_has_one_encoding(content):
    for tag, read, write in ((2, "integer", number), (10, "enumerated", enumerated)):
        try:
            value = getattr(Element(0, False, tag, content), read)()
        except DerError:
            continue
        assert 0 <= value < 2**64
        assert write(value) == element(0, tag, content)


@given(st.integers(0, 2**64 - 1))
def test_numbers_of_64_bits_are_read(value):
    assert der.one(number(value)).integer() == value
    assert der.one(enumerated(value)).enumerated() == value


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("1f", "ends within"),
        ("05", "ends within"),
        ("0581", "ends within"),
        ("0402ff", "before its length"),
        ("0480", "at most two octets"),  # indefinite
        ("0483000001ff", "at most two octets"),
        ("048101ff", "shortest length"),
        ("04820080" + "00" * 128, "shortest length"),
        ("1f8001", "shortest tag"),
        ("1f1e00", "shortest tag"),
        ("1fffffffff7f00", "a tag of at most"),
    ],
)
def test_what_is_not_der_is_refused(data, reason):
    with pytest.raises(DerError, match=reason):
        der.elements(bytes.fromhex(data))


@pytest.mark.parametrize(
    ("read", "data", "reason"),
    [
        ("boolean", "010101", "FF or 00, found 01"),
        ("boolean", "0102ffff", "FF or 00, found FFFF"),
        ("boolean", "0100", "FF or 00, found "),
        ("integer", "0200", "at most 64 bits"),
        ("integer", "0201ff", "not negative"),
        ("integer", "02020001", "shortest number"),
        ("integer", "020901" + "00" * 8, "at most 64 bits"),
        ("integer", "020a00" + "ff" * 9, "at most 64 bits"),
        ("integer", "0a0101", "universal tag 2, found tag 10 of class 0"),
        ("enumerated", "020101", "universal tag 10"),
        ("octets", "2400", "found constructed tag 4"),
        ("sequence", "1000", "universal tag 16"),
        ("sequence", "3100", "universal tag 16"),
        ("set_of", "3000", "universal tag 17"),
        ("explicit", "8103020101", "an explicit tag"),
        ("explicit", "2103020101", "an explicit tag"),
        ("explicit", "a100", "one element, found 0"),
        ("explicit", "a106020101020101", "one element, found 2"),
    ],
)
def test_another_element_than_expected_is_refused(read, data, reason):
    with pytest.raises(DerError, match=reason):
        getattr(der.one(bytes.fromhex(data)), read)()


def test_each_kind_is_read():
    found = der.one(sequence(boolean(False), octets(b"x"), explicit(704, number(3))))
    no, text, tagged = found.sequence()
    assert (no.boolean(), text.octets()) == (False, b"x")
    assert (tagged.tag, tagged.explicit().integer()) == (704, 3)
    assert der.one(boolean(True)).boolean()
    assert [
        each.integer() for each in der.one(sequence(number(2), number(1), tag=17)).set_of()
    ] == [
        2,
        1,
    ]


def test_more_than_the_bounds_is_refused():
    assert len(der.elements(b"\x05\x00" * der.MOST_ELEMENTS)) == der.MOST_ELEMENTS
    with pytest.raises(DerError, match="at most 256 elements"):
        der.elements(b"\x05\x00" * (der.MOST_ELEMENTS + 1))
    with pytest.raises(DerError, match="at most 16384 bytes"):
        der.elements(bytes(der.MOST_BYTES + 1))
