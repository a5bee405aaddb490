"""The way to the verified chain, in Pythons that have a method for it and in those before."""

from __future__ import annotations

from typing import Any

from livepin.verified import verified_chain


def test_the_verified_chain_comes_from_the_method_of_newer_pythons_too() -> None:
    class New:
        def get_verified_chain(self) -> list[bytes]:
            return [b"leaf", b"root"]

    class Neither:
        _sslobj = None

    class ShutDown(Neither):
        def get_verified_chain(self) -> Any:
            return self._sslobj.get_verified_chain()  # as the standard library does

    assert verified_chain(New()) == [b"leaf", b"root"]
    assert verified_chain(Neither()) == ()
    assert verified_chain(ShutDown()) == ()
