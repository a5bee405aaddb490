"""A token or another document, signed by a genuine key, that is served as a config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from livepin.jose import b64url_encode
from livepin.jsontext import dump

if TYPE_CHECKING:
    from conftest import Account, Device

TYPES = [
    "JWT",
    "jwt",
    "at+jwt",
    "JOSE",
    "JOSE+JSON",
    "livepin-root+jws",
    "livepin-override+jws",
    "livepin-token-request+jws",
    "LIVEPIN-CONFIG+JWS",
    "application/livepin-config+jws",
    "livepin-config",
    "",
    None,
    ["livepin-config+jws"],
]


@pytest.mark.parametrize("typ", TYPES)
def test_what_a_config_key_signed_as_something_else_is_no_config(
    account: Account, compact, refused, typ: Any
) -> None:
    """Even with the members of a config: a service that signs tokens must not be an oracle."""
    key = account.keys["config"][0]
    header = {"alg": "ES256", "kid": key.public.kid, "typ": typ}
    raw = compact(header, dump(account.config_members(99)), key.sign)
    refused(2, account.state().advance_config, raw)


def test_a_header_without_typ_is_no_config(account: Account, compact, refused) -> None:
    key = account.keys["config"][0]
    header = {"alg": "ES256", "kid": key.public.kid}
    raw = compact(header, dump(account.config_members(99)), key.sign)
    refused(2, account.state().advance_config, raw)


def test_a_token_of_the_account_is_no_config_on_the_wire(device: Device, compact) -> None:
    ours = device.simulator
    claims = {"iss": "https://pins.example.com", "sub": "i", "aud": "localhost", "exp": 2**33}
    config = ours.document(version=99).payload()
    token = {"alg": "ES256", "kid": ours.keys["config"].public.kid, "typ": "JWT"}
    for payload in (dump(claims), config[:-1] + b"," + dump(claims)[1:]):
        device.refuses(compact(token, payload, ours.keys["config"].sign), rule=2)


def test_an_override_is_no_config_and_a_config_no_override(account: Account, refused) -> None:
    state = account.state()
    refused(2, state.advance_config, account.override(99))
    give = {"thumbprint": account.thumbprint, "now": account.now}
    refused(2, state.advance_override, account.config(99), **give)


def test_an_override_signed_by_the_config_key_is_no_config(account: Account, refused) -> None:
    raw = account.override(99, by=account.keys["config"][0])
    refused(2, account.state().advance_config, raw)


def test_a_root_is_no_config_and_a_config_no_root(device: Device) -> None:
    ours = device.simulator
    root = ours.publish_root()
    device.refuses(root, rule=2)
    device.refuses(ours.publish(), {2: ours.config}, rule=2)


def test_a_signature_over_the_payload_alone_is_no_signature(
    account: Account, compact, refused
) -> None:
    """The header is signed too: otherwise any oracle for raw bytes would do."""
    key, payload = account.keys["config"][0], dump(account.config_members(99))
    header = {"alg": "ES256", "kid": key.public.kid, "typ": "livepin-config+jws"}
    for signed in (payload, b64url_encode(payload), b"." + b64url_encode(payload)):
        raw = compact(header, payload, lambda _, signed=signed: key.sign(signed))
        refused(3, account.state().advance_config, raw)
