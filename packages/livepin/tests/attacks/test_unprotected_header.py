"""A header that nobody signed: JWS allows it, and whoever carries the document may write it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from livepin.jose import b64url_decode, b64url_encode
from livepin.jsontext import dump

if TYPE_CHECKING:
    from conftest import Account, Device

Change = Callable[[dict[str, Any]], object]


def _header(jws: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(b64url_decode(jws["signatures"][0]["protected"].encode()))
    return found


def _move(jws: dict[str, Any], *names: str) -> None:
    """Move parameters of the first signature from the protected to the unprotected header."""
    header = _header(jws)
    first = jws["signatures"][0]
    first["header"] = {name: header.pop(name) for name in names}
    first["protected"] = b64url_encode(dump(header)).decode()


CHANGES: dict[str, Change] = {
    "beside": lambda jws: jws["signatures"][0].update(header={"kid": "mallory"}),
    "empty": lambda jws: jws["signatures"][0].update(header={}),
    "null": lambda jws: jws["signatures"][0].update(header=None),
    "a copy": lambda jws: jws["signatures"][0].update(header=_header(jws)),
    "at the top": lambda jws: jws.update(header={"alg": "none"}),
    "the kid moved": lambda jws: _move(jws, "kid"),
    "the alg moved": lambda jws: _move(jws, "alg"),
    "all moved": lambda jws: _move(jws, "alg", "kid", "typ"),
    "only unprotected": lambda jws: jws.update(
        signatures=[{"header": _header(jws), "signature": jws["signatures"][0]["signature"]}]
    ),
    "flattened": lambda jws: jws.update(jws.pop("signatures")[0]),
    "flattened beside": lambda jws: jws.update(jws["signatures"][0]),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_root_with_an_unprotected_header_is_refused(
    account: Account, refused, change: Change
) -> None:
    jws = json.loads(account.root(2))
    change(jws)
    refused(2, account.state().advance_root, dump(jws))


def test_a_root_with_an_unprotected_header_is_refused_on_the_wire(device: Device) -> None:
    jws = json.loads(device.simulator.publish_root())
    CHANGES["beside"](jws)
    device.refuses(device.simulator.publish(), {2: dump(jws)}, rule=2)


def test_a_config_in_json_serialisation_is_refused(account: Account, refused) -> None:
    """A config is compact, and has no place for an unprotected header."""
    header, payload, signature = account.config(2).decode().split(".")
    flattened = {"protected": header, "payload": payload, "signature": signature}
    refused(2, account.state().advance_config, dump(flattened))
