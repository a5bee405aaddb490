"""A process whose code nobody wants to change, pinned.

python inject.py bootstrap.json https://api.example.com/
"""

import sys
import urllib.request

import livepin


def main(bootstrap: str, url: str) -> None:
    with livepin.Client(bootstrap) as pins:
        livepin.inject(pins)
        with urllib.request.urlopen(url, timeout=30) as answer:
            print(answer.status)


if __name__ == "__main__":
    main(*sys.argv[1:])
