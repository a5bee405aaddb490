"""A compressed answer of some kilobytes that expands to hundreds of megabytes."""

from __future__ import annotations

import tracemalloc
import zlib
from typing import TYPE_CHECKING

import pytest
from livepin import FetchError
from livepin.documents import config, root

if TYPE_CHECKING:
    from conftest import Delivery, Device

MIB = 1024 * 1024
EXPANDED = 256 * MIB


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """256 MiB of one letter, gzipped to 256 KiB: within the bound of what is compressed."""
    packer = zlib.compressobj(wbits=31)
    block = b"A" * MIB
    parts = [packer.compress(block) for _ in range(EXPANDED // MIB)]
    packed = b"".join([*parts, packer.flush()])
    assert len(packed) < config.MAX_COMPRESSED
    return packed


def test_a_bomb_stops_at_the_bound_of_a_config(delivery: Delivery, bomb: bytes) -> None:
    delivery.answer = lambda _path, _headers: (200, {"Content-Encoding": "gzip"}, bomb)
    with delivery.client() as pins:
        before = pins.status().version
        tracemalloc.start()
        try:
            with pytest.raises(FetchError, match=f"expected at most {config.MAX_SIZE} bytes"):
                pins.refresh(timeout=60)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert pins.status().version == before
    assert peak < 4 * config.MAX_SIZE


def test_a_bomb_in_the_place_of_a_root_stops_at_the_bound_of_a_root(
    delivery: Delivery, bomb: bytes
) -> None:
    with delivery.client() as pins:
        delivery.simulator.publish_root()
        newest = delivery.publish()
        small = bomb[: root.MAX_SIZE // 2]

        def answer(path: str, _: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
            return (200, {}, newest) if "/config/" in path else (200, gzipped, small)

        gzipped = {"Content-Encoding": "gzip"}
        delivery.answer = answer
        tracemalloc.start()
        try:
            with pytest.raises(FetchError, match=f"expected at most {root.MAX_SIZE} bytes"):
                pins.refresh(timeout=60)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert pins.status().root_version == 1
    assert peak < 4 * MIB


@pytest.mark.parametrize("encoding", ["gzip, gzip", "br", "deflate", "zstd", "x-gzip, gzip"])
def test_a_bomb_in_another_or_in_layered_encodings_is_refused(
    device: Device, bomb: bytes, encoding: str
) -> None:
    before = device.holds()
    device.offer(bomb, **{"Content-Encoding": encoding})
    with pytest.raises(FetchError):
        device.pins.refresh()
    assert device.holds() == before


def test_a_bomb_behind_a_genuine_config_is_not_expanded(device: Device, bomb: bytes) -> None:
    """A second gzip member after the first: what follows the document is not read."""
    genuine = device.simulator.publish()
    packer = zlib.compressobj(wbits=31)
    packed = packer.compress(genuine) + packer.flush()
    device.start()
    device.offer(packed + bomb, **{"Content-Encoding": "gzip"})
    tracemalloc.start()
    try:
        device.pins.refresh(timeout=60)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert device.order == (1, device.simulator.version)
    assert peak < config.MAX_SIZE
