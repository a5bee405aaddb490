"""A pinned WebSocket in a thread.

python websockets_sync.py bootstrap.json wss://api.example.com/echo
"""

import sys

import livepin
from livepin.adapters.websockets import sync_connect


def main(bootstrap: str, url: str) -> None:
    with livepin.Client(bootstrap) as pins:
        with sync_connect(pins, url) as websocket:
            websocket.send("hello")
            print(websocket.recv())


if __name__ == "__main__":
    main(*sys.argv[1:])
