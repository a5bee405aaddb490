"""A pinned gRPC channel: ask a server whether it serves.

python grpc_sync.py bootstrap.json api.example.com:443
"""

import sys

import livepin
from livepin.adapters.grpc import PinnedChannel

SERVING = b"\x08\x01"  # a HealthCheckResponse; a stub made by protoc takes the channel as well


def main(bootstrap: str, target: str) -> None:
    with livepin.Client(bootstrap) as pins:
        with PinnedChannel(pins, target) as channel:
            check = channel.unary_unary("/grpc.health.v1.Health/Check")
            print("serving" if check(b"", timeout=30) == SERVING else "not serving")


if __name__ == "__main__":
    main(*sys.argv[1:])
