"""What clients claim to hold: never trusted, bounded, told to the operator with the cure."""

from __future__ import annotations

import pytest
from livepin_server.delivery.claims import KEPT, Claims
from livepin_server.delivery.snapshot import Snapshot
from livepin_server.services.model import AccountDocuments, ConfigDocument
from livepin_server.services.numbering import HIGHEST
from livepin_server.telemetry.metrics import Metrics


class World:
    """Claims of a service that has config 7 of two streams, under root 2."""

    def __init__(self):
        self.now, self.snapshot, self.metrics = 0.0, Snapshot(), Metrics()
        self.serve(7)
        self.claims = Claims(self.snapshot, self.metrics, monotonic=lambda: self.now)

    def serve(self, version, root_version=2):
        config = ConfigDocument(root_version=root_version, version=version, raw=b"x")
        documents = AccountDocuments(configs={"main": config, "canary": config}, roots={})
        self.snapshot.replace("acme", documents)

    def texts(self):
        return [each.text for each in self.claims.notes()]

    def gauge(self, stream="main"):
        labels = {"account": "acme", "stream": stream}
        return self.metrics.registry.get_sample_value("livepin_config_claimed_version", labels)


@pytest.fixture
def world():
    return World()


def test_a_claim_above_ours_is_told_with_the_version_and_the_cure(world):
    world.claims.note("acme", "main", 2, 1042)
    (note,) = world.claims.notes()
    assert note.account == "acme"
    assert "hold config 1042 of acme/main, and the newest here is 7" in note.text
    assert note.text.endswith("livepin config raise 1042 --account acme")
    assert world.gauge() == 1042


@pytest.mark.parametrize(
    ("account", "stream", "root_version", "version"),
    [
        ("acme", "main", 2, 7), ("acme", "main", 2, 6), ("acme", "main", 1, 1042),
        ("acme", "main", 3, 1042), ("acme", "gone", 2, 1042), ("beta", "main", 2, 1042),
    ],
)  # fmt: skip
def test_what_is_ours_or_older_or_of_another_root_is_no_claim(
    world, account, stream, root_version, version
):
    world.claims.note(account, stream, root_version, version)
    assert world.texts() == []


def test_a_version_that_another_process_had_just_published_is_no_claim_any_more(world):
    world.claims.note("acme", "main", 2, 8)
    world.serve(8)
    assert world.texts() == []
    assert world.gauge() == 0


def test_under_a_new_root_old_claims_are_none(world):
    world.claims.note("acme", "main", 2, 1042)
    world.serve(3, root_version=3)
    assert world.texts() == []


def test_what_many_claim_is_not_hidden_by_what_a_few_invent(world):
    for _ in range(5):
        world.claims.note("acme", "main", 2, 1042)
    for number in range(1000):
        world.claims.note("acme", "main", 2, 10**15 + number)
    assert "config 1042 of acme/main" in world.texts()[0]


def test_memory_is_bounded_whatever_is_claimed(world):
    for number in range(10_000):
        world.claims.note("acme", "main", 2, 100 + number)
        world.claims.note(f"account-{number}", "main", 2, 100)
        world.claims.note("acme", f"stream-{number}", 2, 100)
    assert sum(map(len, world.claims._found.values())) == 16


def test_what_nobody_repeats_is_forgotten(world):
    world.claims.note("acme", "main", 2, 1042)
    world.now = KEPT
    assert world.texts()
    world.now += 1
    assert world.texts() == []
    assert world.gauge() == 0
    world.claims.note("acme", "canary", 2, 50)
    assert "acme/canary" in world.texts()[0]


def test_a_version_without_room_above_it_asks_for_a_new_root(world):
    world.claims.note("acme", "main", 2, HIGHEST + 1)
    assert world.texts()[0].endswith(
        "a new root, which starts the count anew: livepin root prepare"
    )


# -- over the wire -------------------------------------------------------------------------------


def told(server):
    return server.metrics.attention.texts("acme")


def test_a_tag_above_the_newest_is_a_claim_and_the_answer_is_as_ever(start_server):
    server = start_server()
    path = "/v1/acme/config/main"
    plain = server.send("GET", path)
    for tag in ('"1.1"', 'W/"1.1"', '"1.0"', '"2.99"', '"x.99"', '"1.99', "*", '"1.1", "1.99"'):
        server.send("GET", path, headers={"if-none-match": tag})
    assert told(server) == []
    answer = server.send("GET", path, headers={"if-none-match": '"1.99"'})
    assert (answer.status_code, answer.content) == (200, plain.content)
    assert "config 99 of acme/main" in told(server)[0]


def test_a_report_with_its_root_is_a_claim(start_server):
    server = start_server()
    report = {
        "host": "api.example.com", "chain": ["sha256/" + "A" * 43 + "="], "config_version": 99,
        "at": 1795435200,
    }  # fmt: skip
    for more in ({}, {"root_version": 2}, {"root_version": 1, "stream": "gone"}):
        server.send("POST", "/v1/acme/reports", json=report | more)
    assert told(server) == []
    assert (
        server.send("POST", "/v1/acme/reports", json=report | {"root_version": 0}).status_code
        == 400
    )
    server.send("POST", "/v1/acme/reports", json=report | {"root_version": 1})
    assert "config 99 of acme/main" in told(server)[0]


def test_the_status_tells_it_to_who_may_see_the_account(start_server):
    server = start_server()
    server.send("GET", "/v1/acme/config/main", headers={"if-none-match": '"1.99"'})
    found = server.send("GET", "/v1/status", to="management", key=server.key("viewer")).json()
    assert [each for each in found["warnings"] if "livepin config raise 99" in each]
