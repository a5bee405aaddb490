"""Ten thousand requests that are none, or something else, to a server that has to stay up."""

from __future__ import annotations

import json
import random
import re
import socket
from collections import Counter

import pytest
from livepin.documents.token_request import TYP, TokenRequest
from livepin.errors import VerificationError
from livepin.jose import PrivateKey, sign_compact
from livepin_server.services.model import Intent, NewDomain, NewPin

INTENT = Intent(author="bob")
HOST = "api.example.com"
COUNT, CONNECTIONS = 10_000, 4
# Where bounds are, and what other parsers take for something else.
VALUES = [
    None, True, False, 0, 1, -1, 1.0, 1e300, 2**53 - 1, 2**53, 10**40, "", "\0", "\ud800", "main",
    "acme", "other", "*.com", "b.example.com", "API.example.com", "::1", "A" * 43, "A" * 129,
    [], {}, [[]], ["x"], [{"format": "x"}], [{"host": "b.example.com"}], {"critical": ["x"]},
]  # fmt: skip
NAMES = ["critical", "x", "bind", "host", "challenge", "stream", "evidence", "d", "kid"]


class Protected:
    """An account with a domain that asks for tokens."""

    def prepare(self, services):
        pins = [NewPin(sha256=f"sha256/{'A' * 43}=")]
        services.domains.add("acme", NewDomain(pattern=HOST, pins=pins, token=True), INTENT)


class Attacker:
    """Damages requests of an installation of its own, before they are signed or afterwards."""

    def __init__(self, chance):
        self.key, self.challenge, self._chance = PrivateKey.generate(), None, chance

    def good(self):
        """Return a payload with which nothing is wrong."""
        return TokenRequest(
            account="acme", app="app", key=self.key.public, challenge=self.challenge,
            stream="main", root_version=1, config_version=1, hosts={HOST: bytes(32)},
            evidence=({"format": "x"},),
        ).payload()  # fmt: skip

    def signed(self, payload):
        return sign_compact(payload, typ=TYP, signer=self.key)

    def request(self):
        """Return the body of a request."""
        what = self._chance.random()
        if what < 0.5:
            return self._with_other_bytes(self.signed(self.good()))
        if what < 0.6:
            return self.signed(self._with_other_bytes(self.good()))
        value = json.loads(self.good())
        for _ in range(self._chance.choice((1, 1, 2))):
            value = self._changed(value)
        return self.signed(json.dumps(value).encode())

    def _with_other_bytes(self, good):
        body, chance = bytearray(good), self._chance
        at = chance.randrange(len(body))
        body[at : at + chance.choice((0, 1, 1, 2, 50))] = chance.randbytes(
            chance.choice((0, 1, 1, 40))
        )
        return bytes(body)

    def _changed(self, value):
        """Return JSON with something in it changed, added, doubled or left out."""
        chance = self._chance
        if not isinstance(value, (dict, list)) or not value or chance.random() < 0.1:
            return chance.choice(VALUES)
        found = value.copy()
        key = (
            chance.choice(list(found)) if isinstance(found, dict) else chance.randrange(len(found))
        )
        what = chance.random()
        if what < 0.7:
            found[key] = self._changed(found[key])
        elif what < 0.8:
            del found[key]
        elif isinstance(found, dict):
            found[chance.choice(NAMES)] = chance.choice(VALUES)
        else:
            found.append(found[key])
        return found


class Connection:
    """A kept connection, without all that a client does for each answer."""

    def __init__(self, node):
        plain = socket.create_connection(("localhost", node.child.port()), timeout=60)
        self.socket = node.context.wrap_socket(plain, server_hostname="localhost")

    def post(self, body):
        """Return the status of an answer and what it says."""
        head = f"POST /v1/acme/token HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        self.socket.sendall(head.encode() + body)
        found = self._more(b"")
        while b"\r\n\r\n" not in found:
            found = self._more(found)
        head, _, said = found.partition(b"\r\n\r\n")
        length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
        while len(said) < length:
            said = self._more(said)
        return int(head.split(b" ", 2)[1]), json.loads(said)

    def _more(self, found):
        more = self.socket.recv(65536)
        assert more, "the server has hung up"
        return found + more


def expected(body, challenge):
    """Return the status, and for which hosts there are tokens: None where the challenge is bad."""
    try:
        request = TokenRequest.read(body)
    except VerificationError:
        return 400, None
    if (request.account, request.stream) != ("acme", "main"):
        return 400, None
    good = challenge is not None and request.challenge == challenge
    return 200, sorted({HOST} & {*request.hosts}) if good else None


@pytest.fixture
def node(start_nodes, data_folder):
    """A server, as a process of its own, that issues tokens."""
    (found,) = start_nodes(Protected(), data_folder)
    return found


def test_ten_thousand_malformed_requests_take_nothing_down(node) -> None:
    """Every other one is signed after it was damaged, so that what is behind that is reached."""
    attacker, seen, pid = Attacker(random.Random(1)), Counter(), node.child.pid
    connections = [Connection(node) for _ in range(CONNECTIONS)]

    def send(number, body):
        status, says = connections[number % CONNECTIONS].post(body)
        if status == 200:
            attacker.challenge, found = says["challenge"], says["tokens"]
            return 200, None if found is None else sorted(found)
        assert says["detail"].isprintable()
        return status, None

    for number in range(COUNT):
        body = attacker.request()
        wanted = expected(body, attacker.challenge)
        assert send(number, body) == wanted, body
        seen[wanted[0], str(wanted[1])] += 1
    for number in range(CONNECTIONS):
        assert send(number, attacker.signed(attacker.good())) == (200, [HOST])
        connections[number].socket.close()
    # Of each kind there were many.
    assert min(seen.values()) > COUNT / 200, seen
    assert seen.keys() == {(400, "None"), (200, "None"), (200, "[]"), (200, f"['{HOST}']")}
    assert node.child.process.poll() is None
    assert node.child.pid == pid
    assert '"level": "error"' not in node.child.log
