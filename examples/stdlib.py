"""The standard library alone, pinned.

python stdlib.py bootstrap.json https://api.example.com/
"""

import sys

import livepin
from livepin.adapters import stdlib


def main(bootstrap: str, url: str) -> None:
    with livepin.Client(bootstrap) as pins:
        with stdlib.opener(pins).open(url, timeout=30) as answer:
            print(answer.status)


if __name__ == "__main__":
    main(*sys.argv[1:])
