"""A pinned session of requests.

python requests_session.py bootstrap.json https://api.example.com/
"""

import sys

import livepin
from livepin.adapters import requests


def main(bootstrap: str, url: str) -> None:
    with livepin.Client(bootstrap) as pins, requests.session(pins) as http:
        print(http.get(url, timeout=30).status_code)


if __name__ == "__main__":
    main(*sys.argv[1:])
