"""gRPC on asyncio, over a pinned channel: ask a server whether it serves.

python grpc_async.py bootstrap.json api.example.com:443
"""

import asyncio
import sys

import livepin
from livepin.adapters.grpc import AsyncPinnedChannel

SERVING = b"\x08\x01"  # a HealthCheckResponse; a stub made by protoc takes the channel as well


async def main(bootstrap: str, target: str) -> None:
    with livepin.Client(bootstrap) as pins:
        async with AsyncPinnedChannel(pins, target) as channel:
            check = channel.unary_unary("/grpc.health.v1.Health/Check")
            print("serving" if await check(b"", timeout=30) == SERVING else "not serving")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
