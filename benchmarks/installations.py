"""Installations of an app that ask for tokens, and a server that has them stored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime, timezone
from http.client import HTTPSConnection
from typing import Any

import msgspec
from livepin import tokens
from livepin.documents.token_request import TokenRequest
from livepin.jose import PrivateKey, b64url_encode
from livepin.pins import Pin
from livepin_server.main import clock
from livepin_server.services.appraisal.verdicts import Verdicts
from livepin_server.services.tokens.recording import Recording, Seen
from livepin_server.storage.database import Database

from .server import Server

HOST = "api.example.com"
PATH = "/v1/bench/token"


class Line:
    """A connection to a server, over which installations ask in turn."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._asking: Installation | None = None
        self._connection = self._connect()

    def send(self, app: Installation) -> None:
        """Send the request of an installation."""
        self._asking = app
        self._connection.request("POST", PATH, body=app.request())

    def receive(self) -> dict[str, Any] | None:
        """Return the tokens of the answer."""
        answer = self._connection.getresponse()
        found = msgspec.json.decode(answer.read())
        assert answer.status == 200, found
        assert self._asking is not None
        self._asking.challenge = found["challenge"]
        held: dict[str, Any] | None = found["tokens"]
        return held

    def ask(self, app: Installation) -> dict[str, Any] | None:
        """Send the request of an installation; return the tokens of the answer."""
        self.send(app)
        return self.receive()

    def again(self) -> None:
        """Connect anew."""
        self._connection.close()
        self._connection = self._connect()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _connect(self) -> HTTPSConnection:
        return HTTPSConnection("localhost", self._server.port, context=self._server.context())


class Installation:
    """One that asks for a token for a host, with the newest config held."""

    def __init__(self, host: str = HOST) -> None:
        self.key = PrivateKey.generate()
        self.challenge: str | None = None
        self._host = host

    @property
    def id(self) -> str:
        """Its id."""
        return tokens.installation_id("bench", self.key.public.kid)

    def request(self) -> bytes:
        """Return its next request, signed."""
        return TokenRequest(
            account="bench", app="app", key=self.key.public, challenge=self.challenge,
            stream="main", root_version=1, config_version=100, hosts={self._host: None},
        ).signed(self.key)  # fmt: skip


def protect(server: Server, host: str = HOST, **key: str) -> None:
    """Add a domain that asks for tokens, signed by a key of its own if one is described."""
    server.add(host, *(Pin(hashlib.sha256(f"{host} {n}".encode()).digest()) for n in range(2)))
    server.call(
        "PATCH", f"/v1/accounts/bench/domains/{host}/settings?confirmed=true", {"token": True}
    )
    if key:
        server.call("POST", "/v1/accounts/bench/token-keys", key)
        server.call("PATCH", f"/v1/accounts/bench/tokens/{host}", {"key": key["name"]})
    app, line = Installation(host), Line(server)
    while not line.ask(app):  # its challenge, and until the key is loaded
        pass
    line.close()


def fill(url: str, count: int) -> None:
    """Have so many installations stored."""
    database = Database(url)
    try:
        recording = Recording(database, Verdicts(database, clock=clock))
        for number, seen in enumerate(_stored(count), 1):
            recording.note(seen)
            if number % 100_000 == 0:
                recording.keep()
        recording.keep()
    finally:
        database.close()


def _stored(count: int) -> Iterator[Seen]:
    now = datetime.now(timezone.utc)
    for number in range(count):
        thumbprint = b64url_encode(hashlib.sha256(str(number).encode()).digest()).decode()
        yield Seen("bench", thumbprint[:22], thumbprint, "app", "main", 1, now)
