"""A pinned aiohttp session.

python aiohttp_session.py bootstrap.json https://api.example.com/
"""

import asyncio
import sys

import aiohttp
import livepin
from livepin.adapters.aiohttp import PinnedConnector


async def main(bootstrap: str, url: str) -> None:
    with livepin.Client(bootstrap) as pins:
        async with aiohttp.ClientSession(connector=PinnedConnector(pins)) as http:
            async with http.get(url) as answer:
                print(answer.status)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
