"""PostgreSQL killed under two servers: delivery goes on, management says so, nothing is lost."""

from __future__ import annotations

import shutil
import threading
import time

import pytest
from livepin_server import folder
from livepin_server.errors import UnavailableError


def etag(server):
    return server.send("GET", "/v1/acme/config/main").headers["etag"]


def in_step(server):
    return "livepin_in_step 1.0" in server.metrics.text().decode()


def test_a_killed_database_stops_no_delivery_and_loses_no_acknowledged_publish(
    own_postgres, own_folder, another_folder, run_server, until, intent
):
    first, second = run_server(own_folder), run_server(another_folder(own_folder))
    key = first.key()
    acknowledged, refused = [], []

    def publish():
        while not refused:
            try:
                done = first.services.publisher.republish("acme", "main", intent, ["a change"])
                acknowledged.append(done.version)
            except UnavailableError as exc:
                refused.append(exc)

    publishing = threading.Thread(target=publish)
    publishing.start()
    until(lambda: len(acknowledged) >= 20)
    own_postgres.kill()
    publishing.join(60)
    assert acknowledged == list(range(2, len(acknowledged) + 2))
    until(lambda: not in_step(first) and not in_step(second))

    for server in (first, second):
        # Apps notice nothing; a node that can deliver stays in front of them.
        assert server.send("GET", "/readyz").status_code == 200
        assert server.send("GET", "/v1/acme/config/main").status_code == 200
        for path in ("/readyz", "/v1/status"):
            answer = server.send("GET", path, to="management", key=key)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["detail"].startswith("the database does not answer")
            assert str(own_postgres.folder) not in answer.text
        assert server.send("GET", "/healthz", to="management").status_code == 200
        with pytest.raises(UnavailableError):
            server.services.publisher.republish("acme", "main", intent)

    own_postgres.start()
    until(lambda: in_step(first) and in_step(second))
    history = first.services.published.history("acme", "main", limit=10_000)
    kept = sorted(each.version for each in history)
    # What was acknowledged is there; of the one under way only PostgreSQL can know.
    assert set(acknowledged) <= set(kept)
    assert kept[-1] - acknowledged[-1] in (0, 1)
    assert kept == list(range(1, kept[-1] + 1))
    until(lambda: etag(first) == etag(second) == f'"1.{kept[-1]}"')
    for server in (first, second):
        assert server.send("GET", "/readyz", to="management").status_code == 200
    newest = second.services.publisher.republish("acme", "main", intent).version
    assert newest == kept[-1] + 1
    until(lambda: etag(first) == etag(second) == f'"1.{newest}"')


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_a_database_stopped_again_and_again_under_publishers_keeps_what_it_acknowledged(
    own_postgres, own_folder, another_folder, run_server, until, intent, torture
):
    servers = run_server(own_folder), run_server(another_folder(own_folder))
    acknowledged, ended = [], threading.Event()

    def publish(publisher):
        while not ended.is_set():
            try:
                done = publisher.republish("acme", "main", intent, ["a change"])
            except UnavailableError:
                ended.wait(0.02)  # the next try
            else:
                acknowledged.append(done.version)

    def wait_for_more():
        before = len(acknowledged)
        until(lambda: len(acknowledged) > before)

    publishers = [each.services.publisher for each in servers for _ in range(2)]
    publishing = [threading.Thread(target=publish, args=(each,)) for each in publishers]
    for each in publishing:
        each.start()
    try:
        for _ in range(torture.kills):
            wait_for_more()
            time.sleep(torture.chance.uniform(0, 0.1))  # the moment is what is tried
            own_postgres.stop_at_once()
            own_postgres.start()
        wait_for_more()
    finally:
        ended.set()
        for each in publishing:
            each.join(60)
    history = servers[0].services.published.history("acme", "main", limit=1_000_000)
    kept = sorted(each.version for each in history)
    assert kept == list(range(1, kept[-1] + 1))
    assert len(acknowledged) == len(set(acknowledged))
    assert set(acknowledged) <= set(kept)
    # At most one of each publisher was committed in the moment of each stop, and never said so.
    assert len(kept) - 1 - len(acknowledged) <= len(publishing) * torture.kills
    until(lambda: etag(servers[0]) == etag(servers[1]) == f'"1.{kept[-1]}"')
    torture.count("kills", torture.kills)
    torture.count("publications", len(kept))


def test_what_was_published_while_a_node_was_cut_off_is_fetched_on_its_return(
    postgres, postgres_folder, another_folder, run_server, until, intent
):
    # Only the node's listening connection ends; what is announced meanwhile it never hears.
    server = run_server(postgres_folder)
    name = server.services.database.url.database
    with folder.opened(another_folder(postgres_folder), {}, clock=server.services.clock) as other:
        for version in range(2, 7):
            postgres.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                f" WHERE datname = '{name}' AND query LIKE '%pg_notify%'"
            )
            other.services.publisher.republish("acme", "main", intent)
            until(lambda version=version: etag(server) == f'"1.{version}"')


def test_a_server_does_not_start_without_its_database(own_postgres, own_folder, start_child):
    own_postgres.stop()
    child = start_child(own_folder)
    assert child.process.wait(60) == 4
    assert child.log.startswith("error: the database does not answer: ")
    assert "Traceback" not in child.log
    own_postgres.start()
    child = start_child(own_folder)
    assert child.get("/readyz").status_code == 200
    shutil.rmtree(own_folder / "run", ignore_errors=True)
    assert child.end() == 0
