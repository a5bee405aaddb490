"""Typed access to members: each reader takes its type and refuses everything else by rule 4."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from livepin.documents.members import MAX_VERSION, Members, name, seconds
from livepin.errors import MalformedError, VerificationError

NOT_TEXT = [None, 1, 1.5, True, [], {}]
NOT_INTEGER = [None, "1", 1.0, 1.5, True, False, [], {}]


def members(**found: Any) -> Members:
    return Members(found, where="root", known={"a", "b"})


def refused_by(rule: int, read: Any, *args: Any, **options: Any) -> VerificationError:
    with pytest.raises(VerificationError) as caught:
        read(*args, **options)
    assert caught.value.rule == rule
    return caught.value


@pytest.mark.parametrize("found", [None, 1, "text", [], [{}], True])
def test_what_is_no_object_is_refused(found: object) -> None:
    error = refused_by(4, Members, found, where="root.roles.root", known=())
    assert error.reason.startswith("root.roles.root: expected an object, found")


# -- critical ----------------------------------------------------------------------------------


@pytest.mark.parametrize("critical", [[], ["a"], ["a", "b", "a"]])
def test_what_is_critical_and_known_is_taken(critical: list[str]) -> None:
    assert members(critical=critical, a="x").text("a") == "x"


def test_an_unknown_member_is_ignored_unless_it_is_critical() -> None:
    assert members(future={"x": 1}, a="x").text("a") == "x"
    error = refused_by(4, members, future={"x": 1}, critical=["a", "future"])
    assert "'future'" in error.reason
    assert error.hint == "update the Livepin library"


@pytest.mark.parametrize("each", [None, 1, [], {}, "", "A", "c" * 10_000])
def test_a_critical_member_that_no_version_can_know_is_refused(each: object) -> None:
    assert len(str(refused_by(4, members, critical=[each]))) < 300


@pytest.mark.parametrize("critical", [None, "a", {"a": 1}, 1, False])
def test_critical_is_a_list(critical: object) -> None:
    refused_by(4, members, critical=critical, a="x")


# -- parsing -----------------------------------------------------------------------------------


def test_a_payload_is_read() -> None:
    found = Members.parse(b'{"a":"x"}', where="root", known=())
    assert found.has("a")
    assert not found.has("b")


def test_a_payload_that_is_too_deep_is_refused_by_rule_1() -> None:
    deep = b'{"a":' + b"[" * 7 + b"]" * 7 + b"}"
    assert Members.parse(deep, where="root", known=()).has("a")
    refused_by(1, Members.parse, b'{"a":' + b"[" * 8 + b"]" * 8 + b"}", where="root", known=())


@pytest.mark.parametrize("payload", [b"", b"[]", b"\xff", b'{"a":1,"a":2}', b'{"a":NaN}', b"{a}"])
def test_a_payload_that_is_no_unambiguous_object_is_refused_by_rule_4(payload: bytes) -> None:
    refused_by(4, Members.parse, payload, where="root", known=())


def test_critical_is_checked_in_a_payload() -> None:
    refused_by(4, Members.parse, b'{"critical":["x"]}', where="root", known=())


# -- readers -----------------------------------------------------------------------------------


def test_a_member_that_is_missing_is_named() -> None:
    for read in (members().text, members().name, members().version, members().time):
        error = refused_by(4, read, "version")
        assert error.reason == "root: expected the member version"
    refused_by(4, members().integer, "a", 0, 9)


def test_the_value_found_is_named_and_cut_short() -> None:
    error = refused_by(4, members(a=["x" * 1000]).text, "a")
    assert error.reason.startswith("root.a: expected a string, found")
    assert len(error.reason) < 200


def test_a_text_is_read() -> None:
    assert members(a="").text("a", "b") == ""
    assert members().text("a", "b") == "b"


@pytest.mark.parametrize("value", NOT_TEXT)
def test_what_is_no_text_is_refused(value: object) -> None:
    refused_by(4, members(a=value).text, "a")
    refused_by(4, members(a=value).text, "a", "default")
    refused_by(4, members(a=value).name, "a")


@pytest.mark.parametrize("value", [True, False])
def test_a_boolean_is_read(value: bool) -> None:
    assert members(a=value).boolean("a", not value) is value
    assert members().boolean("a", value) is value


@pytest.mark.parametrize("value", [None, 0, 1, "true", [], {}])
def test_what_is_no_boolean_is_refused(value: object) -> None:
    refused_by(4, members(a=value).boolean, "a", True)


@pytest.mark.parametrize("value", [-3, 0, 4])
def test_an_integer_is_read_between_its_limits(value: int) -> None:
    assert members(a=value).integer("a", -3, 4) == value
    assert members().integer("a", -3, 4, default=value) == value


@pytest.mark.parametrize("value", [-4, 5, 2**80, -(2**80)])
def test_an_integer_beyond_its_limits_is_refused(value: int) -> None:
    error = refused_by(4, members(a=value).integer, "a", -3, 4, default=0)
    assert "an integer from -3 to 4" in error.reason


@pytest.mark.parametrize("value", NOT_INTEGER)
def test_what_is_no_integer_is_refused(value: object) -> None:
    refused_by(4, members(a=value).integer, "a", 0, 1)
    refused_by(4, members(version=value).version)
    refused_by(4, members(a=value).time, "a")


@pytest.mark.parametrize(
    ("value", "taken"), [(1, True), (2**53 - 1, True), (0, False), (2**53, False), (-1, False)]
)
def test_a_version_is_from_1_to_what_every_reader_keeps_exactly(value: int, taken: bool) -> None:
    found = members(version=value)
    if taken:
        assert found.version() == value <= MAX_VERSION
    else:
        refused_by(4, found.version)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, datetime(1970, 1, 1, tzinfo=timezone.utc)),
        (1795435200, datetime(2026, 11, 23, 12, tzinfo=timezone.utc)),
        (253402300799, datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone.utc)),
    ],
)
def test_a_time_is_read_and_written_as_seconds(value: int, expected: datetime) -> None:
    assert members(a=value).time("a") == members(a=value).optional_time("a") == expected
    assert seconds(expected) == value


@pytest.mark.parametrize("value", [-1, 253402300800, 10**30, 1.5])
def test_a_time_beyond_the_calendar_is_refused(value: object) -> None:
    refused_by(4, members(a=value).time, "a")
    refused_by(4, members(a=value).optional_time, "a")


def test_an_optional_time_may_be_missing_but_not_null() -> None:
    assert members().optional_time("a") is None
    refused_by(4, members(a=None).optional_time, "a")


@pytest.mark.parametrize("reader", ["texts", "items", "mapping"])
def test_a_collection_is_empty_where_it_is_missing(reader: str) -> None:
    assert len(getattr(members(), reader)("a")) == 0


def test_collections_are_read() -> None:
    assert members(a=["x", "y"]).texts("a") == ["x", "y"]
    assert members(a=["x", 1, None]).items("a") == ["x", 1, None]
    assert members(a={"x": 1}).mapping("a") == {"x": 1}


@pytest.mark.parametrize(
    ("reader", "value"),
    [
        *(("texts", v) for v in [None, "x", {}, ["x", 1], [None], [["x"]], 0]),
        *(("items", v) for v in [None, "x", {}, 0, False]),
        *(("mapping", v) for v in [None, "x", [], 0, False]),
    ],
)
def test_another_collection_is_refused(reader: str, value: object) -> None:
    refused_by(4, getattr(members(a=value), reader), "a")


# -- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["a", "0", "acme", "a-b", "a--b", "0" * 63])
def test_a_name_is_taken(text: str) -> None:
    assert name(text, what="account") == text
    assert members(a=text).name("a") == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "-a",
        "a-",
        "A",
        "a_b",
        "a.b",
        "a/b",
        "../a",
        "a\n",
        "a ",
        "\u00e4",
        "\u0661",
        "0" * 64,
    ],
)
def test_what_could_be_more_than_one_step_of_a_path_is_no_name(text: str) -> None:
    with pytest.raises(MalformedError, match="account name"):
        name(text, what="account")
    refused_by(4, members(a=text).name, "a")
