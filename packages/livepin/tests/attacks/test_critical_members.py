"""A document with a limit that this reader does not know: ignoring it would widen the trust."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from livepin.jose import b64url_encode
from livepin.jsontext import dump

if TYPE_CHECKING:
    from conftest import Account, Device

UNKNOWN = {"only_for": "rooted devices", "critical": ["only_for"]}


def test_an_unknown_critical_member_of_a_config_is_refused(account: Account, refused) -> None:
    refused(4, account.state().advance_config, account.config(2, **UNKNOWN))


def test_an_unknown_member_that_is_not_critical_is_ignored(account: Account) -> None:
    state = account.state().advance_config(account.config(2, only_for="rooted devices"))
    assert state.config.version == 2


def test_a_critical_member_that_is_known_is_taken(account: Account) -> None:
    state = account.state().advance_config(account.config(2, critical=["domains", "expires"]))
    assert state.config.version == 2


@pytest.mark.parametrize("critical", ["only_for", None, {}, [1], [None], [["only_for"]], 0, False])
def test_a_list_of_critical_members_in_another_shape_is_refused(
    account: Account, refused, critical: Any
) -> None:
    refused(4, account.state().advance_config, account.config(2, critical=critical))


def test_a_critical_member_that_is_not_even_there_is_refused(account: Account, refused) -> None:
    refused(4, account.state().advance_config, account.config(2, critical=["only_for"]))


def test_an_unknown_critical_member_deep_in_a_config_is_refused(account: Account, refused) -> None:
    pin = account.pin() | UNKNOWN
    domain = {"pattern": "api.example.com", "pin_set": "api"} | UNKNOWN
    delivery = account.config_members()["delivery"]
    for members in (
        {"domains": [domain]},
        {"pin_sets": {"api": [account.pin(), pin], "pentest": [account.pin(9)]}},
        {"delivery": delivery | UNKNOWN},
        {"delivery": delivery | {"pins": [pin]}},
    ):
        refused(4, account.state().advance_config, account.config(2, **members))


def test_an_unknown_critical_member_of_a_root_is_refused(account: Account, refused) -> None:
    roles = account.root_members()["roles"]
    refused(4, account.state().advance_root, account.root(2, **UNKNOWN))
    for role in roles:
        changed = roles | {role: roles[role] | UNKNOWN}
        refused(4, account.state().advance_root, account.root(2, roles=changed))


def test_an_unknown_critical_member_of_an_override_is_refused(account: Account, refused) -> None:
    """An override that is limited in a new way must not be taken for one without limit."""
    give = {"thumbprint": account.thumbprint, "now": account.now}
    domain = {"pattern": "api.example.com", "pin_set": "pentest"} | UNKNOWN
    for raw in (account.override(**UNKNOWN), account.override(domains=[domain])):
        refused(4, account.state().advance_override, raw, **give)


def test_an_unknown_critical_member_is_refused_on_the_wire(device: Device) -> None:
    ours = device.simulator
    payload = ours.document(version=99).payload()[:-1] + b"," + dump(UNKNOWN)[1:]
    header, _, _ = ours.config.split(b".")
    signing_input = header + b"." + b64url_encode(payload)
    raw = signing_input + b"." + b64url_encode(ours.keys["config"].sign(signing_input))
    device.refuses(raw, rule=4)
