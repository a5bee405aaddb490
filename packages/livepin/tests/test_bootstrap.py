"""The bootstrap: what an app embeds, as a file or as one string."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livepin.bootstrap import MAX_SIZE, Bootstrap
from livepin.errors import MalformedError
from livepin.jose import b64url_encode
from livepin.trust import TrustedState

if TYPE_CHECKING:
    from conftest import Account


def text_form(data: bytes) -> bytes:
    return b"livepin:" + b64url_encode(data)


def members(account: Account, **changes: Any) -> bytes:
    found = json.loads(account.bootstrap().to_json()) | changes
    return json.dumps({name: value for name, value in found.items() if value is not ...}).encode()


def test_a_bootstrap_survives_both_forms(account: Account) -> None:
    bootstrap = account.bootstrap()
    assert Bootstrap.parse(bootstrap.to_json()) == bootstrap
    assert Bootstrap.parse(bootstrap.to_json().decode()) == bootstrap
    assert Bootstrap.parse(bootstrap.to_text()) == bootstrap
    assert Bootstrap.parse(bootstrap.to_text().encode()) == bootstrap


def test_the_json_form_is_what_the_format_says(account: Account) -> None:
    bootstrap = account.bootstrap()
    found = json.loads(bootstrap.to_json())
    assert found == {
        "format": "livepin-bootstrap/1",
        "root": json.loads(bootstrap.root),
        "config": bootstrap.config.decode(),
    }


def test_the_one_string_form_is_safe_in_an_environment_variable(account: Account) -> None:
    text = account.bootstrap().to_text()
    assert text.startswith("livepin:")
    assert text.removeprefix("livepin:").replace("-", "").replace("_", "").isalnum()


def test_white_space_around_a_bootstrap_is_no_part_of_it(account: Account) -> None:
    bootstrap = account.bootstrap()
    for form in (bootstrap.to_json().decode(), bootstrap.to_text()):
        assert Bootstrap.parse(f"\n  {form}\r\n") == bootstrap


def test_a_bootstrap_edited_by_hand_means_the_same(account: Account) -> None:
    bootstrap = account.bootstrap()
    pretty = json.dumps(json.loads(bootstrap.to_json()), indent=2)
    state = TrustedState.from_bootstrap(Bootstrap.parse(pretty))
    assert state.order == (1, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": ...},
        {"format": "livepin-bootstrap/2"},
        {"format": None},
        {"format": ["livepin-bootstrap/1"]},
        {"root": ...},
        {"root": None},
        {"root": "text"},
        {"root": []},
        {"config": ...},
        {"config": None},
        {"config": {}},
        {"config": "\u00e4"},
        {"config": "\ud800"},
        {"x": [[[[[[[[1]]]]]]]]},
    ],
)
def test_a_bootstrap_of_another_shape_is_refused(account: Account, changes: dict[str, Any]) -> None:
    data = members(account, **changes)
    for form in (data, text_form(data), text_form(data).decode()):
        with pytest.raises(MalformedError) as caught:
            Bootstrap.parse(form)
        assert caught.value.hint == "make a new one with: livepin bootstrap"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "{}",
        "[]",
        "livepin:",
        "livepin:AAAAA",
        "livepin:e30=",
        "LIVEPIN:e30",
        "livepin: e30",
        "bootstrap.json",
        "\ud800",
        "\u00e4",
        b"\xff",
        b"\xef\xbb\xbf{}",
        "\0",
    ],
)
def test_what_is_no_bootstrap_is_refused(text: str | bytes) -> None:
    with pytest.raises(MalformedError, match="bootstrap"):
        Bootstrap.parse(text)


def test_a_bootstrap_that_is_too_large_is_refused_before_it_is_read(account: Account) -> None:
    data = members(account)[:-1]
    room = MAX_SIZE - len(data) - len(b',"x":""}')
    assert Bootstrap.parse(data + b',"x":"' + b"a" * room + b'"}')
    with pytest.raises(MalformedError, match="at most"):
        Bootstrap.parse(data + b',"x":"' + b"a" * (room + 1) + b'"}')
    with pytest.raises(MalformedError, match="at most"):
        Bootstrap.parse("A" * (MAX_SIZE + 1))


def test_nothing_in_a_bootstrap_is_trusted_by_reading_it(account: Account) -> None:
    found = Bootstrap.parse(members(account, root={}, config="..."))
    assert (found.root, found.config) == (b"{}", b"...")


def check_any(data: str | bytes) -> None:
    try:
        found = Bootstrap.parse(data)
    except MalformedError:
        return
    assert Bootstrap.parse(found.to_json()) == found
    assert Bootstrap.parse(found.to_text()) == found


@given(st.binary() | st.text())
def test_any_text_is_a_bootstrap_or_is_refused(data: str | bytes) -> None:
    check_any(data)
    if isinstance(data, bytes):
        check_any(text_form(data))


@given(data=st.data())
def test_a_damaged_bootstrap_is_one_or_is_refused(
    data: st.DataObject, account: Account, mangled, damaged
) -> None:
    valid = members(account)
    changed = mangled(json.loads(valid)).map(lambda each: json.dumps(each).encode())
    json_form = data.draw(changed | damaged(valid))
    check_any(json_form)
    check_any(text_form(json_form))
    check_any(data.draw(damaged(text_form(valid))))
