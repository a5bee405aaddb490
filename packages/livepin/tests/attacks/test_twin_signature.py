"""The twin of a signature: with (r, s), (r, n-s) is valid too, and anybody can compute it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from livepin import Bootstrap
from livepin.jose import b64url_decode, b64url_encode
from livepin.jsontext import dump
from livepin.trust import TrustedState

if TYPE_CHECKING:
    from conftest import Account, Device

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256


def twin_value(encoded: bytes) -> bytes:
    """Return (r, n-s) of a signature in base64url."""
    value = b64url_decode(encoded)
    s = ORDER - int.from_bytes(value[32:], "big")
    return b64url_encode(value[:32] + s.to_bytes(32, "big"))


def twin(raw: bytes) -> bytes:
    """Return a compact JWS with the twin of its signature."""
    signed, _, value = raw.rpartition(b".")
    found = signed + b"." + twin_value(value)
    assert found != raw
    return found


def twin_root(raw: bytes) -> bytes:
    """Return a root with the twins of its signatures."""
    jws = json.loads(raw)
    for each in jws["signatures"]:
        each["signature"] = twin_value(each["signature"].encode()).decode()
    return dump(jws)


def test_the_twin_of_a_config_is_the_same_config(account: Account) -> None:
    raw = account.config(2)
    state = account.state().advance_config(raw)
    assert state.advance_config(twin(raw)) is state


def test_the_twin_is_taken_like_the_original_on_the_wire(device: Device) -> None:
    """Who carries a config can change its signature, and gains nothing by it."""
    raw = device.simulator.publish()
    device.takes(twin(raw))
    before = device.holds()
    device.takes(raw)
    assert device.holds() == before
    device.takes(twin(raw))
    assert device.holds() == before
    device.start()
    assert device.holds() == before


def test_the_twin_of_an_older_config_is_as_old(device: Device) -> None:
    older = device.simulator.publish()
    device.simulator.publish()
    device.update()
    device.refuses(twin(older), rule=7)


def test_a_store_with_the_twin_of_the_bootstraps_root_is_used(account: Account) -> None:
    """What is looked for in the chain is the payload: the app may hold the twin."""
    state = account.state().advance_root(account.root(2))
    bootstrap = account.bootstrap()
    other = Bootstrap(root=twin_root(bootstrap.root), config=twin(bootstrap.config))
    loaded = TrustedState.load(state.dump(), other, now=account.now)
    assert loaded.root.version == 2


def test_the_twin_of_an_override_is_the_same_override(account: Account) -> None:
    give = {"thumbprint": account.thumbprint, "now": account.now}
    state = account.state().advance_override(account.override(5), **give)
    assert state.advance_override(twin(account.override(5)), **give) is state


def test_the_twin_of_an_override_that_ended_does_not_bring_it_back(
    account: Account, refused
) -> None:
    give = {"thumbprint": account.thumbprint, "now": account.now}
    lent = account.override(5)
    state = account.state().advance_override(lent, **give)
    state = state.advance_override(account.override(6, domains=[]), **give)
    refused(7, state.advance_override, twin(lent), **give)


def test_a_signature_and_its_twin_are_no_two_signatures(account: Account, refused) -> None:
    keys = account.keys["root"][:2]
    roles = account.root_members()["roles"] | {"root": account.role(*keys, threshold=2)}
    raw = json.loads(account.root(2, by=keys[:1], roles=roles))
    raw["signatures"] += json.loads(twin_root(dump(raw)))["signatures"]
    refused(3, account.state().advance_root, dump(raw))
