"""A pinned httpx client.

python httpx_sync.py bootstrap.json https://api.example.com/
"""

import sys

import httpx
import livepin
from livepin.adapters.httpx import PinnedTransport


def main(bootstrap: str, url: str) -> None:
    with livepin.Client(bootstrap) as pins:
        with httpx.Client(transport=PinnedTransport(pins)) as http:
            print(http.get(url).status_code)


if __name__ == "__main__":
    main(*sys.argv[1:])
