"""Who may add a webhook has the server ask what only the server can reach (SSRF).

The metadata service of a cloud, a database on loopback, a router: by an address, by a name that
leads there, by one that leads there only when it is asked again (DNS rebinding), or by a redirect.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
from livepin.testing import FakeClock, RecordingServer, make_chain
from livepin_server.errors import InvalidError
from livepin_server.monitor.notifiers.calling import Call, Calling
from livepin_server.monitor.notifiers.telling import TellError
from livepin_server.services.monitoring.channel_kinds import Alertmanager, Webhook, checked

CHAIN = make_chain("hooks.example.com")


@pytest.fixture
def victim():
    """Something on loopback that nobody outside may ask; it has even the right certificate."""
    with RecordingServer(CHAIN) as server:
        yield server


def post(victim, *answers, allow_private=False, scheme="https"):
    """Post to a name whose server gives these addresses, another answer each time."""
    asked = iter(answers)

    async def lying(host, port):
        return next(asked)

    url = f"{scheme}://hooks.example.com:{victim.port}/x"
    call = Call(
        url=url, body=b"{}", headers={}, ca=CHAIN.authority.pem, allow_private=allow_private
    )
    asyncio.run(Calling(clock=FakeClock(), resolve=lying, patience=5).post(call))


@pytest.mark.parametrize("kind", [Webhook, Alertmanager])
@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "[::1]", "169.254.169.254", "10.0.0.1", "[::ffff:127.0.0.1]", "192.168.0.1"],
)
def test_an_address_of_ours_is_refused_when_it_is_added(kind, host):
    with pytest.raises(InvalidError, match="no notice is sent to"):
        checked(kind(url=f"https://{host}/"))


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "10.0.0.1", "64:ff9b::7f00:1"],
)
def test_a_name_that_leads_into_our_network_is_not_connected_to(victim, address):
    with pytest.raises(TellError, match="no notice is sent to"):
        post(victim, [address])
    assert victim.connections == 0


def test_one_bad_address_among_good_ones_is_enough_to_refuse(victim):
    for addresses in (["1.1.1.1", "127.0.0.1"], ["127.0.0.1", "1.1.1.1"]):
        with pytest.raises(TellError, match="private address"):
            post(victim, addresses)
    assert victim.connections == 0


def test_a_name_that_changes_after_it_was_judged_gains_nothing(victim):
    """The address that was judged is the one that is connected to: it is asked for once."""
    post(victim, ["127.0.0.1"], ["169.254.169.254"], allow_private=True)
    assert victim.requests == 1
    with pytest.raises(TellError):
        # It leads to us only when it is asked a second time, which nobody does.
        post(victim, ["127.0.0.9"], ["127.0.0.1"], allow_private=True)
    assert victim.connections == 1


def test_even_what_may_be_private_is_no_metadata_service(victim):
    with pytest.raises(TellError, match="metadata"):
        post(victim, ["169.254.169.254"], allow_private=True)


def test_a_redirect_into_our_network_is_not_followed(victim):
    answer = 307, {"Location": f"https://hooks.example.com:{victim.port}/"}, b""
    server = RecordingServer(CHAIN, post=lambda *_: answer)
    with contextlib.closing(server), pytest.raises(TellError, match="a redirect"):
        post(server, ["127.0.0.1"], ["127.0.0.1"], allow_private=True)
    assert victim.connections == 0


def test_a_proxy_of_the_environment_is_not_asked(victim, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        post(victim, ["127.0.0.1"], allow_private=True)
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()
    assert victim.requests == 1


def test_nothing_goes_in_cleartext_to_a_public_address(victim):
    with pytest.raises(TellError, match="cleartext to a public address"):
        post(victim, ["1.1.1.1"], allow_private=True, scheme="http")
    assert victim.connections == 0
