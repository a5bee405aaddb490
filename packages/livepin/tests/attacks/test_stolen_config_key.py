"""A stolen server: its config key pins what the thief wants, until root N+1 takes it away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from livepin import VerificationError
from livepin.jose import PrivateKey
from livepin.pins import PinSet
from livepin.testing import Chain, RecordingServer

if TYPE_CHECKING:
    from conftest import Account, Device


@pytest.fixture
def malicious(rogue_chain: Chain) -> dict[str, Any]:
    """What the thief changes in a config: the API is pinned to his key."""
    return {"pin_sets": {"localhost": PinSet((rogue_chain.pin,))}}


def cure(device: Device) -> PrivateKey:
    """Replace the config key by root 2; return the stolen one."""
    stolen: PrivateKey = device.simulator.keys["config"]
    device.simulator.keys["config"] = PrivateKey.generate()
    device.simulator.publish_root()
    device.simulator.publish()
    return stolen


def forged(device: Device, key: PrivateKey, **changes: Any) -> bytes:
    ours = device.simulator
    domains = tuple(
        domain for domain in ours.domains.values() if domain.pin_set in changes["pin_sets"]
    )
    return ours.sign(ours.document(domains=domains, **changes), key=key)


def test_root_n_plus_1_takes_the_fleet_back(
    device: Device, servers: tuple[RecordingServer, RecordingServer], malicious: dict[str, Any]
) -> None:
    genuine, rogue = servers
    device.takes(forged(device, device.simulator.keys["config"], version=500, **malicious))
    assert device.reaches(rogue)  # that is what the key could do
    stolen = cure(device)
    device.update()
    assert not device.reaches(rogue)
    assert device.reaches(genuine)
    for root_version in (1, 2):
        raw = forged(device, stolen, version=900, root_version=root_version, **malicious)
        device.refuses(raw, rule=7 if root_version == 1 else 2)
    device.start()
    assert not device.reaches(rogue)


def test_a_device_that_was_offline_is_safe_once_it_has_seen_the_root(
    device: Device, servers: tuple[RecordingServer, RecordingServer], malicious: dict[str, Any]
) -> None:
    """The root is kept although its config never came: the stolen key is out from then on."""
    _, rogue = servers
    stolen = cure(device)
    config = device.simulator.config
    forgery = forged(device, stolen, version=900, root_version=2, **malicious)
    device.offer(forgery, {2: device.simulator.roots[2]})
    with pytest.raises(VerificationError, match="has no such role"):
        device.pins.refresh()
    assert device.order[0] == 2
    raw = forged(device, stolen, version=900, root_version=1, **malicious)
    device.refuses(raw, {2: device.simulator.roots[2]}, rule=7)
    assert not device.reaches(rogue)
    device.takes(config)
    assert device.order == (2, device.simulator.version)


def test_the_config_key_cannot_sign_its_own_return(device: Device) -> None:
    stolen = cure(device)
    device.update()
    device.simulator.keys["config"] = stolen
    root = device.simulator.publish_root(signers=[stolen])
    device.refuses(device.simulator.publish(), {3: root}, rule=3)


def test_a_stolen_override_key_is_out_with_root_n_plus_1(account: Account, refused) -> None:
    give = {"thumbprint": account.thumbprint, "now": account.now}
    state = account.state().advance_override(account.override(5), **give)
    roles = account.root_members()["roles"]
    roles["override"] = account.role(account.keys["override"][1])
    state = state.advance_root(account.root(2, roles=roles))
    assert state.trusted_override is None  # what it had signed has ended
    for root_version in (1, 2):
        raw = account.override(9, root_version=root_version)
        refused(2, state.advance_override, raw, **give)
