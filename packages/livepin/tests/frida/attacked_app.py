"""An app to be attacked: a real client, that does what the test says, one JSON object per line.

`connect` is a port to send a request to over TLS, `token` what a new token is bound to, `find`
the beginning of a signal to wait for. It is started with the path of its settings.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from pathlib import Path
from typing import Any

from livepin import Client, LivepinError
from livepin.client import healing, watching

HOST = "localhost"
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer s3cret\r\n\r\n"

# What takes an app seconds is not what is tested.
healing.DEADLINE = 0.2
watching._SHORTEST = watching._LONGEST = 0.2


class App:
    def __init__(self, settings: dict[str, Any]) -> None:
        self._pins = Client(
            settings["bootstrap"], ca=settings["ca"], push=False, reports=False, app="com.example"
        )

    def connect(self, port: int) -> str:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
                with self._pins.context().wrap_socket(sock, server_hostname=HOST) as tls:
                    tls.sendall(REQUEST)
                    return tls.recv(1024).partition(b"\r\n")[0].decode()
        except LivepinError as exc:
            return type(exc).__name__

    def token(self, bound_to: str) -> dict[str, str]:
        found = self._pins.token(HOST, bound_to)
        return {"state": found.state.value, "token": found.value}

    def find(self, signal: str) -> list[str]:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if any(each.startswith(signal) for each in self._pins.status().signals):
                break
            time.sleep(0.01)
        return list(self._pins.status().signals)


def main() -> None:
    app = App(json.loads(Path(sys.argv[1]).read_text()))
    print(json.dumps({"started": True}), flush=True)
    for line in sys.stdin:
        ((what, about),) = json.loads(line).items()
        print(json.dumps({what: getattr(app, what)(about)}), flush=True)


if __name__ == "__main__":
    main()
