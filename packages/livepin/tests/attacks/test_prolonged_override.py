"""A tester who would keep a device unpinned: clocks that are set, apps that are killed."""

from __future__ import annotations

import contextlib
import datetime as dt
import socket
import ssl
import time
from typing import TYPE_CHECKING

import pytest
from livepin.client import Client
from livepin.documents import Mode
from livepin.errors import PinMismatchError
from livepin.testing import make_chain

if TYPE_CHECKING:
    from conftest import Pentest

HOST = "localhost"
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
SECOND = dt.timedelta(seconds=1)


def ends(pins: Client) -> None:
    deadline = time.monotonic() + 10
    while pins.status().override is not None:
        assert time.monotonic() < deadline, "it did not end"
        time.sleep(0.01)


@pytest.mark.parametrize("days", [-3, -400])
def test_run_time_ends_it_though_the_clock_is_set_back(pentest: Pentest, days: int) -> None:
    pins = pentest.start()
    pentest.unpin(pins, lifetime=SECOND)
    pentest.clock.advance(days=days)
    ends(pins)
    assert not pentest.reaches(pins, pentest.rogue)
    pins = pentest.start()
    assert not pentest.reaches(pins, pentest.rogue)
    assert pentest.reaches(pins, pentest.genuine)


def test_a_connection_of_before_its_end_carries_nothing_after_it(pentest: Pentest) -> None:
    """As a pool keeps them: nobody asks for another one."""
    pins, proxy = pentest.start(), pentest.rogue
    pentest.unpin(pins, lifetime=SECOND)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as sock:
        with pins.context().wrap_socket(sock, server_hostname=HOST) as tls:
            tls.sendall(REQUEST)
            assert tls.recv(65536)
            received = len(proxy.received)
            with contextlib.suppress(ConnectionResetError):  # how Python 3.13 puts it
                assert tls.recv(65536) == b""  # it was shut down here
            with pytest.raises(OSError, match=r"."):
                tls.sendall(REQUEST)
    assert len(proxy.received) == received


def test_a_clock_set_forward_ends_it_for_good(pentest: Pentest) -> None:
    pins = pentest.start()
    pentest.unpin(pins)
    pentest.clock.advance(days=2)
    assert not pentest.reaches(pins, pentest.rogue)
    pentest.clock.advance(days=-2)
    assert not pentest.reaches(pins, pentest.rogue)
    assert not pentest.reaches(pentest.start(), pentest.rogue)


def test_an_app_that_is_killed_again_and_again_uses_it_up(pentest: Pentest) -> None:
    """It is asked for anew each time, too: what has ended does not come back."""
    pentest.unpin(pentest.start(), lifetime=4 * SECOND)
    for _ in range(4):
        pins = pentest.start()
    assert pins.status().override is None
    assert not pentest.reaches(pins, pentest.rogue)


def test_one_for_longer_than_a_week_is_refused(pentest: Pentest) -> None:
    pins, week = pentest.start(), dt.timedelta(days=7)
    whose = pins.installation_thumbprint
    longer = pentest.simulator.override(whose, HOST, mode=Mode.OFF, lifetime=week + SECOND)
    pentest.refuses(pins, longer, rule=9)
    pentest.unpin(pins, lifetime=week)


def test_an_operator_who_ends_it_closes_what_is_open(pentest: Pentest) -> None:
    pins, proxy = pentest.start(), pentest.rogue
    pentest.unpin(pins)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as sock:
        with pins.context().wrap_socket(sock, server_hostname=HOST) as tls:
            pentest.simulator.end_override(pins.installation_thumbprint)
            pins.refresh()
            with pytest.raises(PinMismatchError):
                tls.sendall(REQUEST)
    assert not pentest.reaches(pins, proxy)


def test_mode_off_is_tls_that_is_verified(pentest: Pentest) -> None:
    """Not less: a certificate that the device does not trust is refused."""
    pins = pentest.start()
    pentest.unpin(pins)
    pentest.rogue.present(make_chain(HOST))
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
        pentest.reaches(pins, pentest.rogue)
