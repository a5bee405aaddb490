"""A process with all that an honest app may have loaded; it prints what it says of itself."""

from __future__ import annotations

import contextlib
import importlib
import json

LIBRARIES = "aiohttp", "cffi", "grpc", "httpx", "requests", "truststore", "uvloop", "websockets"


def main() -> None:
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    import livepin
    from livepin.testing import DeliverySimulator

    service = DeliverySimulator()
    service.pin("api.example.com", livepin.Pin(bytes(32)), token=True)
    with service.client() as pins, livepin.inject(pins):
        with contextlib.suppress(ImportError):
            closures()
        with contextlib.suppress(ImportError):
            importlib.import_module("livepin.adapters.grpc")  # loaded later than the client
        pins.token("api.example.com")
        service.publish()
        pins.refresh()
        assert pins._signals is not None
        pins._signals.look(thorough=True)
        pins.token("api.example.com", "other")
        print(json.dumps(service.token_requests[-1].evidence))


def closures() -> None:
    """Have libffi make code, as cffi and ctypes do for callbacks."""
    import ctypes

    import cffi

    kept.append(ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 1))
    kept.append(cffi.FFI().callback("int(void)", lambda: 1))


kept: list[object] = []

if __name__ == "__main__":
    main()
