"""Updating over real sockets: the pinned channel, the recovery channel, and what each may do."""

from __future__ import annotations

import livepin
import pytest
from livepin.jose import PrivateKey


def test_a_forged_config_on_the_recovery_channel_is_reported_with_its_rule(
    delivery, plain_server, closed_port
) -> None:
    forger = PrivateKey.generate()
    forged = delivery.simulator.sign(delivery.simulator.document(version=99), key=forger)
    recovery = plain_server(lambda _path, _headers: (200, {}, forged))
    delivery.publish(urls=(f"https://localhost:{closed_port}",), recovery_urls=(recovery.url,))
    with delivery.client() as pins:
        with pytest.raises(livepin.VerificationError) as caught:
            pins.refresh()
        status = pins.status()
    assert caught.value.rule == 2
    assert (status.last_error_rule, status.version) == (2, delivery.simulator.version)
