"""The override of a pentester's device, given to the device of somebody else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from livepin.documents import Mode
from livepin.jose import PrivateKey
from livepin.jsontext import dump, parse_object
from livepin.trust import TrustedState

if TYPE_CHECKING:
    from conftest import Account

THEIRS = PrivateKey.generate().public.kid
OFF = [{"pattern": "api.example.com", "pin_set": "pentest", "mode": "off"}]


@pytest.fixture
def give(account: Account) -> dict[str, Any]:
    return {"thumbprint": account.thumbprint, "now": account.now}


def test_the_override_of_another_installation_is_refused(
    account: Account, refused, give: dict[str, Any]
) -> None:
    state = account.state()
    theirs = account.override(domains=OFF, installation=THEIRS)
    refused(9, state.advance_override, theirs, **give)
    found = state.lookup("api.example.com")
    assert found is not None
    assert found.mode is Mode.ENFORCE


def test_the_installation_that_it_names_takes_it(account: Account, give: dict[str, Any]) -> None:
    ours = account.override(domains=OFF)
    found = account.state().advance_override(ours, **give).lookup("api.example.com")
    assert found is not None
    assert found.mode is Mode.OFF


@pytest.mark.parametrize("installation", ["", "*", ..., None, [], ["i" * 43], "i" * 42, "i" * 44])
def test_an_override_for_everybody_is_refused(
    account: Account, refused, give: dict[str, Any], installation: Any
) -> None:
    raw = account.override(domains=OFF, installation=installation)
    refused(4, account.state().advance_override, raw, **give)


def test_the_thumbprint_is_compared_whole_and_exactly(
    account: Account, refused, give: dict[str, Any]
) -> None:
    near = account.override(domains=OFF, installation=account.thumbprint.swapcase())
    refused(9, account.state().advance_override, near, **give)


def test_a_store_copied_from_the_pentesters_device_brings_no_override(
    account: Account, give: dict[str, Any]
) -> None:
    """Its roots and config are genuine and stay; the override is for another key."""
    theirs = account.state().advance_config(account.config(2))
    theirs = theirs.advance_override(account.override(domains=OFF), **give)
    copied = TrustedState.load(
        theirs.dump(), account.bootstrap(), now=account.now, thumbprint=THEIRS
    )
    assert copied.config.version == 2
    assert copied.trusted_override is None
    same = TrustedState.load(theirs.dump(), account.bootstrap(), **give)
    assert same.trusted_override is not None


def test_an_override_laid_into_a_store_by_hand_is_not_used(
    account: Account, give: dict[str, Any]
) -> None:
    stored = parse_object(account.state().dump())
    stored["override"] = account.override(domains=OFF, installation=THEIRS).decode()
    loaded = TrustedState.load(dump(stored), account.bootstrap(), **give)
    assert loaded.trusted_override is None


def test_an_app_without_a_key_of_its_own_takes_no_stored_override(
    account: Account, give: dict[str, Any]
) -> None:
    stored = account.state().advance_override(account.override(domains=OFF), **give).dump()
    loaded = TrustedState.load(stored, account.bootstrap(), now=account.now)
    assert loaded.trusted_override is None


def test_a_refused_override_uses_up_no_version(
    account: Account, refused, give: dict[str, Any]
) -> None:
    """Else another's override could block ours."""
    state = account.state()
    refused(9, state.advance_override, account.override(2**53 - 1, installation=THEIRS), **give)
    assert state.advance_override(account.override(2), **give).trusted_override is not None
