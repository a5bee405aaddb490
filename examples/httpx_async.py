"""A pinned asynchronous httpx client.

python httpx_async.py bootstrap.json https://api.example.com/
"""

import asyncio
import sys

import httpx
import livepin
from livepin.adapters.httpx import AsyncPinnedTransport


async def main(bootstrap: str, url: str) -> None:
    with livepin.Client(bootstrap) as pins:
        async with httpx.AsyncClient(transport=AsyncPinnedTransport(pins)) as http:
            print((await http.get(url)).status_code)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
