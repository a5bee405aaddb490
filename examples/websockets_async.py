"""A pinned WebSocket on asyncio.

python websockets_async.py bootstrap.json wss://api.example.com/echo
"""

import asyncio
import sys

import livepin
from livepin.adapters.websockets import connect


async def main(bootstrap: str, url: str) -> None:
    with livepin.Client(bootstrap) as pins:
        async with connect(pins, url) as websocket:
            await websocket.send("hello")
            print(await websocket.recv())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
