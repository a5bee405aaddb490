"""A pinned pool manager of urllib3.

python urllib3_pool.py bootstrap.json https://api.example.com/
"""

import sys

import livepin
from livepin.adapters.urllib3 import PinnedPoolManager


def main(bootstrap: str, url: str) -> None:
    with livepin.Client(bootstrap) as pins:
        print(PinnedPoolManager(pins).request("GET", url).status)


if __name__ == "__main__":
    main(*sys.argv[1:])
