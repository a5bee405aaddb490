"""Messages are read within bounds."""

from __future__ import annotations

import pytest
from livepin_server.probing.fast.wire import OddError, Reader


def test_a_reader_takes_what_is_there_and_no_more() -> None:
    reader = Reader(b"\x01\x00\x02ab\x00")
    assert (reader.number(1), reader.vector(2), reader.position) == (1, b"ab", 5)
    with pytest.raises(OddError, match="expected the end, found 1 bytes more"):
        reader.end()
    assert reader.more
    with pytest.raises(OddError, match="expected 2 bytes more, found 1"):
        reader.take(2)
    assert reader.take(1) == b"\x00"
    reader.end()


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x02a", b"\xff" + bytes(254)])
def test_a_vector_that_is_longer_than_its_message_is_odd(data: bytes) -> None:
    with pytest.raises(OddError):
        Reader(data).vector(1)


def test_extensions_are_read_once_each() -> None:
    assert Reader(b"\x00\x09\x00\x01\x00\x01x\x00\x02\x00\x00").extensions() == {1: b"x", 2: b""}
    with pytest.raises(OddError, match="expected each extension once, found 1 twice"):
        Reader(b"\x00\x08\x00\x01\x00\x00\x00\x01\x00\x00").extensions()
