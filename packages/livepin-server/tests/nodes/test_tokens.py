"""Token requests at several servers of one database, which goes away; and at one that is killed."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from datetime import datetime, timezone

import httpx
import pytest
from killing import working
from livepin import tokens
from livepin.documents.token_request import TokenRequest
from livepin.jose import PrivateKey
from livepin.tokens import TokenError, verify
from livepin_server.services.model import Intent, NewDomain, NewPin

INTENT = Intent(author="bob")
HOST = "api.example.com"
LOST = 5.0  # seconds: one is promised, and a busy machine may be late


class Protected:
    """An account with a domain that asks for tokens."""

    def prepare(self, services):
        pins = [NewPin(sha256=f"sha256/{'A' * 43}=")]
        services.domains.add("acme", NewDomain(pattern=HOST, pins=pins, token=True), INTENT)

    @contextlib.contextmanager
    def at_work(self, node):
        yield

    def check(self, node):
        pass


class Installation:
    """An app on a device, that asks any server for tokens."""

    def __init__(self):
        self.key, self.challenge = PrivateKey.generate(), None

    @property
    def id(self):
        return tokens.installation_id("acme", self.key.public.kid)

    def request(self, challenge=None):
        """Return a request, signed anew."""
        request = TokenRequest(
            account="acme", app="app", key=self.key.public, challenge=challenge or self.challenge,
            stream="main", root_version=1, config_version=1, hosts={HOST: None},
        )  # fmt: skip
        return request.signed(self.key)

    def ask(self, delivery, raw=None):
        """Return the token that a server gives, or None for a challenge."""
        answer = delivery.post("/v1/acme/token", content=raw or self.request())
        assert answer.status_code == 200, answer.text
        self.challenge = answer.json()["challenge"]
        found = answer.json()["tokens"]
        return None if found is None else found[HOST]["token"]


@pytest.fixture
def reach():
    """Return a client of a node's delivery, which keeps its connection."""
    with contextlib.ExitStack() as stack:

        def one(node):
            url = f"https://localhost:{node.child.port()}"
            client = httpx.Client(base_url=url, verify=node.context, trust_env=False, timeout=60)
            return stack.enter_context(client)

        yield one


def challenged(delivery):
    """Return an installation that a server has given a challenge."""
    found = Installation()
    assert found.ask(delivery) is None
    return found


@pytest.fixture
def hears(until):
    """Wait until a server hears another: it takes its challenges, without a second round trip.

    That is some seconds later: of those of before it does not know which were spent.
    """

    def one(server, another):
        def taken():
            time.sleep(0.2)
            return challenged(another).ask(server) is not None

        until(taken)

    return one


def test_two_servers_answer_as_one(start_nodes, postgres_folder, reach, hears, until):
    nodes = start_nodes(Protected(), postgres_folder, 2)
    one, other = map(reach, nodes)

    hears(other, one)
    keys = tokens.parse_jwks(one.get("/v1/acme/jwks.json").content)
    assert keys.keys() == tokens.parse_jwks(other.get("/v1/acme/jwks.json").content).keys()

    # A replay is refused at once where it was taken, and within a second by the other.
    for seconds in (1, 2, 4, 8, 16):
        app = challenged(one)
        raw, spent = app.request(), app.challenge
        assert app.ask(one, raw) is not None
        assert app.ask(one, raw) is None
        assert app.ask(one, app.request(spent)) is None
        time.sleep(seconds)  # the time that is promised, or more on a busy machine
        if app.ask(other, app.request(spent)) is None:
            assert app.ask(other, raw) is None
            break
    else:
        pytest.fail("a request was taken twice")

    # What is decided at one holds at the other.
    app = challenged(one)
    with nodes[0].management() as http:
        rule = {"verdict": "block", "reason": "a test"}
        path = f"/v1/accounts/acme/installations/{app.id}/rule"
        assert http.put(path, json=rule).status_code == 200

    def refused():
        token = app.ask(other) or app.ask(other)
        try:
            verify(token, keys, audience=HOST, now=datetime.now(timezone.utc))
        except TokenError as exc:
            return exc.reason == "signature"
        return False

    until(refused)


def test_tokens_are_issued_while_the_database_is_away(
    start_nodes, own_postgres, own_folder, reach, hears, until
):
    nodes = start_nodes(Protected(), own_folder, 2)
    one, other = map(reach, nodes)
    hears(other, one)
    own_postgres.stop_at_once()
    try:
        for delivery in (one, other):
            app = challenged(delivery)
            assert app.ask(delivery) is not None
            assert app.ask(delivery) is not None
        # Who hears nobody takes no challenge of another: it may have been spent there.
        until(lambda: challenged(one).ask(other) is None)
    finally:
        own_postgres.start()
    hears(other, one)
    with nodes[1].management() as http:
        until(lambda: app.id in http.get("/v1/accounts/acme/installations?limit=1000").text)


def test_a_server_that_is_killed_under_load_forgets_a_second_and_takes_nothing_twice(
    start_nodes, data_folder, reach, until
):
    (node,) = start_nodes(Protected(), data_folder)
    delivery = reach(node)
    spent = challenged(delivery)
    raw = spent.request()
    assert spent.ask(delivery, raw) is not None
    answered, ended = {}, threading.Event()

    def ask():
        with contextlib.suppress(httpx.HTTPError):
            while not ended.is_set():
                app = challenged(mine := reach(node))
                for _ in range(10):
                    assert app.ask(mine) is not None
                answered[app.id] = time.monotonic()

    path = "/v1/accounts/acme/installations?limit=1000"
    with working(ask, ask, ask, stop=ended.set):
        until(lambda: len(answered) > 5)
        with node.management() as http:
            known = set(answered)
            until(lambda: all(each in http.get(path).text for each in known))
        killed = time.monotonic()
        node.child.end(signal.SIGKILL)
    node.start()
    assert node.child.serves(), node.child.log
    delivery = reach(node)
    assert spent.ask(delivery, raw) is None  # spent by a process that is no more
    assert spent.ask(delivery) is not None
    with node.management() as http:
        kept = {each["id"] for each in http.get(path).json()}
        assert {each for each, when in answered.items() if when < killed - LOST} <= kept
        until(lambda: spent.id in http.get(path).text)


def test_a_server_that_is_killed_under_load_leaves_the_other_one_whole(
    start_nodes, postgres_folder, reach, hears, until
):
    """It takes what the dead one made and had not taken, and nothing else of it."""
    victim, living = start_nodes(Protected(), postgres_folder, 2)
    one, other = map(reach, (victim, living))
    hears(other, one)
    spent = challenged(one)
    raw = spent.request()
    assert spent.ask(one, raw) is not None

    def heard():
        later = challenged(one)
        raw = later.request()
        assert later.ask(one, raw) is not None
        time.sleep(0.3)
        return later.ask(other, raw) is None

    until(heard)  # in order: what was spent before is known there, too
    by_victim, by_living, ended = {}, {}, threading.Event()

    def ask(node, answered):
        while not ended.is_set():
            app = challenged(mine := reach(node))
            for _ in range(10):
                assert app.ask(mine) is not None
            answered[app.id] = time.monotonic()

    def ask_victim():
        with contextlib.suppress(httpx.HTTPError):
            ask(victim, by_victim)

    with working(ask_victim, ask_victim, lambda: ask(living, by_living), stop=ended.set):
        until(lambda: min(len(by_victim), len(by_living)) > 3)
        waiting = challenged(one)
        killed = time.monotonic()
        victim.child.end(signal.SIGKILL)
        before = len(by_living)
        assert waiting.ask(other) is not None
        assert waiting.ask(other) is not None
        assert spent.ask(other, raw) is None
        until(lambda: len(by_living) > before + 3)
    victim.start()
    assert victim.child.serves(), victim.child.log
    assert spent.ask(reach(victim), raw) is None
    with living.management() as http:

        def kept():
            path = "/v1/accounts/acme/installations?limit=1000"
            return {each["id"] for each in http.get(path).json()}

        until(lambda: by_living.keys() <= kept())
        early = {each for each, when in by_victim.items() if when < killed - LOST}
        assert early <= kept()
