"""A document that was cut off: by a broken connection, or by who wants a shorter list."""

from __future__ import annotations

import gzip
import json
import socket
from typing import TYPE_CHECKING

import pytest
from livepin import FetchError, VerificationError
from livepin.jose import b64url_decode, b64url_encode
from livepin.jsontext import dump

if TYPE_CHECKING:
    from conftest import Account, Delivery, Device


def test_a_config_cut_off_anywhere_is_refused(account: Account) -> None:
    state, raw = account.state(), account.config(2)
    for length in range(len(raw)):
        with pytest.raises(VerificationError) as caught:
            state.advance_config(raw[:length])
        assert caught.value.rule in (2, 3), length


def test_a_root_cut_off_anywhere_is_refused(account: Account) -> None:
    state, raw = account.state(), account.root(2)
    for length in range(len(raw)):
        with pytest.raises(VerificationError) as caught:
            state.advance_root(raw[:length])
        assert caught.value.rule in (1, 2), length


def test_a_config_without_the_last_byte_of_its_signature_is_refused(device: Device) -> None:
    header, payload, signature = device.simulator.publish().split(b".")
    cut_off = b64url_encode(b64url_decode(signature)[:-1])
    device.refuses(b".".join([header, payload, cut_off]), rule=3)


def test_a_config_without_its_last_domain_is_refused(device: Device) -> None:
    header, payload, signature = device.simulator.publish().split(b".")
    members = json.loads(b64url_decode(payload))
    members["domains"] = members["domains"][:-1]
    members["version"] += 1
    device.refuses(b".".join([header, b64url_encode(dump(members)), signature]), rule=3)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_connection_that_ends_early_is_no_answer(
    delivery: Delivery, odd_server, packed: bool
) -> None:
    raw = delivery.simulator.config
    body = gzip.compress(raw) if packed else raw
    encoding = "Content-Encoding: gzip\r\n" if packed else ""

    def handle(sock: socket.socket) -> None:
        sock.recv(65536)
        head = f"HTTP/1.1 200 OK\r\n{encoding}Content-Length: {len(body)}\r\n\r\n"
        sock.sendall(head.encode() + body[:-1])

    server = odd_server(handle, tls=True)
    delivery.publish(urls=(server.url,))
    with delivery.client() as pins:
        before = pins.status().version
        with pytest.raises(FetchError, match="ends early"):
            pins.refresh(timeout=10)
        assert pins.status().version == before


@pytest.mark.parametrize("missing", [1, 8, 12])
def test_a_compressed_answer_that_lost_its_end_is_no_answer(
    delivery: Delivery, missing: int
) -> None:
    """Its length fits, but not to the check sum: even if the document seems whole."""
    with delivery.client() as pins:
        before = pins.status().version
        packed = gzip.compress(delivery.publish())[:-missing]
        delivery.answer = lambda _path, _headers: (200, {"Content-Encoding": "gzip"}, packed)
        with pytest.raises(FetchError, match="ends early"):
            pins.refresh()
        assert pins.status().version == before


@pytest.mark.parametrize("kept", [0, 1, 0.5, -1])
def test_a_store_that_was_cut_off_is_replaced_by_the_bootstrap(device: Device, kept: float) -> None:
    held = device.order
    device.simulator.publish()
    device.update()
    stored = device.path.read_bytes()
    device.stop()
    device.path.write_bytes(stored[: int(kept * len(stored)) if kept == 0.5 else int(kept)])
    device.start()
    assert device.order == held
    assert "stored state" in (device.pins.status().store_problem or "")
    device.update()
    assert device.pins.status().store_problem is None
