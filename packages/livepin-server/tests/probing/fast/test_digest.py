"""One value for a chain: of each certificate and its length, in order."""

from __future__ import annotations

from hashlib import sha256

from livepin_server.probing.fast import digest_of


def test_it_is_over_each_certificate_with_its_length_before_it() -> None:
    content = b"\x00\x00\x00\x03one\x00\x00\x00\x02to"
    assert digest_of([b"one", b"to"]) == sha256(content).hexdigest()


def test_order_and_borders_count() -> None:
    chains = [[b"a", b"b"], [b"b", b"a"], [b"ab"], [b"a", b"b", b""], []]
    assert len({digest_of(each) for each in chains}) == len(chains)
