"""JSON without ambiguity: bounded depth, no duplicate names, no numbers that JSON lacks."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livepin.errors import MalformedError
from livepin.jsontext import MAX_DEPTH, check_depth, dump, parse_object

VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | st.text(alphabet='\\"[]{}\n', max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=25,
)
OBJECT = st.dictionaries(st.text(max_size=5), VALUE, max_size=4)


def depth(value: Any) -> int:
    """Count levels the slow and obvious way."""
    if isinstance(value, dict):
        return 1 + max((depth(each) for each in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((depth(each) for each in value), default=0)
    return 0


def is_refused(data: bytes, limit: int = MAX_DEPTH) -> bool:
    try:
        check_depth(data, limit=limit)
    except MalformedError:
        return True
    return False


@pytest.mark.parametrize(
    ("opening", "closing"),
    [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]"), ('{"a":[', "]}"), ("[[],", ",[]]")],
    ids=["arrays", "objects", "array-object", "object-array", "siblings"],
)
@pytest.mark.parametrize("levels", [8, 10, 16, 18])
def test_depth_counts_brackets_of_either_kind(opening: str, closing: str, levels: int) -> None:
    step = opening.replace("[]", "").count("[") + opening.count("{")
    text = opening * (levels // step) + "0" + closing * (levels // step)
    assert is_refused(text.encode(), levels - 1 - ("[]" in text))
    assert not is_refused(text.encode(), levels + ("[]" in text))
    assert is_refused(text.encode()) is (levels + ("[]" in text) > MAX_DEPTH)


@given(VALUE, st.integers(0, 6), st.sampled_from([None, 1]))
def test_what_json_nests_is_what_is_counted(value: Any, limit: int, indent: int | None) -> None:
    for ascii_only in (True, False):
        text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
        data = text.encode("utf-8", errors="replace")
        assert is_refused(data, limit) is (depth(value) > limit)


@pytest.mark.parametrize(
    "text",
    [
        '"[[[[[[[[[[[["',
        r'{"a":"\"[[[[[[[[[[[[[\"","b":"\\"}',
        r'{"\\\\":"\\\"{{{{{{{{{{{{{{{{"}',
        r'["\\\\\\",[[]],"\\\\"]',
        '["","","[[[[[[[[[[[","]"]',
    ],
)
def test_brackets_inside_strings_are_no_levels(text: str) -> None:
    json.loads(text)
    check_depth(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        r'["\\",[[[[[[[[]]]]]]]]]',
        r'["\\\"",[[[[[[[[]]]]]]]]]',
        '["","",[[[[[[[[]]]]]]]]]',
        r'["\"",[[[[[[[[]]]]]]]],"\""]',
    ],
)
def test_a_string_before_them_does_not_hide_levels(text: str) -> None:
    assert depth(json.loads(text)) == MAX_DEPTH + 1
    with pytest.raises(MalformedError, match="at most 8 levels"):
        check_depth(text.encode())


@pytest.mark.parametrize("text", ["[", "]", "][", "[[]", "{", "[]]", "[" * 100_000])
def test_brackets_that_are_not_balanced_are_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        check_depth(text.encode())


def test_which_bracket_closes_which_is_left_to_the_parser() -> None:
    check_depth(b'{"a":[}]')
    with pytest.raises(MalformedError):
        parse_object(b'{"a":[}]')


@given(st.text(alphabet='[]{}"\\a,', max_size=60))
def test_what_is_too_deep_never_passes_both_checks(text: str) -> None:
    if is_refused(text.encode()):
        return
    try:
        found = parse_object(text.encode())
    except MalformedError:
        return
    assert depth(found) <= MAX_DEPTH


@pytest.mark.parametrize("piece", [b"[]", b"[", b"\\", b'"', b'\\"', b"{}[", b'"["'])
def test_checking_takes_time_in_proportion_to_the_size(piece: bytes) -> None:
    data = piece * (4_000_000 // len(piece))
    start = time.process_time()
    is_refused(data)
    assert time.process_time() - start < 2


@given(OBJECT)
def test_an_object_survives_its_text_form(value: dict[str, Any]) -> None:
    data = dump(value)
    assert data.isascii()
    assert parse_object(data) == value


@given(OBJECT)
def test_utf_8_is_read_as_well(value: dict[str, Any]) -> None:
    assert parse_object(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'"a"',
        b"1",
        b"{",
        b"{}x",
        b"{}{}",
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":01}',
        b'{"a":1}\0',
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-32-le"),
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xc0\xaf"}',
        b'{"a":"\n"}',
        b'{"a":"\\x"}',
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'{"x":{"b":[{"a":1,"a":2}]}}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":[-Infinity]}',
        b'{"a":1e999}',
        b'{"a":-1e999}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    ],
)
def test_what_is_no_unambiguous_object_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_object(data)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_json_lacks_is_not_written(number: float) -> None:
    with pytest.raises(ValueError):
        dump({"a": number})


@given(st.binary() | st.text(alphabet='{}[]",:\\ua01eE+-.tN \u00e9').map(str.encode))
def test_any_bytes_are_an_object_or_are_refused(data: bytes) -> None:
    try:
        check_depth(data)
        found = parse_object(data)
    except MalformedError:
        return
    assert isinstance(found, dict)
    assert found == json.loads(data)


@given(data=st.data())
def test_damaged_json_is_an_object_or_is_refused(data: st.DataObject, damaged) -> None:
    text = data.draw(damaged(b'{"a":[1,2.5,{"b":"\\u00e9\\\\","c":null}],"d":true}'))
    try:
        check_depth(text)
        found = parse_object(text)
    except MalformedError:
        return
    assert parse_object(dump(found)) == found
