"""Several processes on one database: everything is seen everywhere, once."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise

import msgspec
import pytest
import tomllib
from livepin import Client
from livepin_server import folder
from livepin_server.custody.sealed import load_master_key
from livepin_server.errors import UnavailableError
from livepin_server.listener import available_port
from livepin_server.services.audit import SERVER
from livepin_server.services.audit.chain import Walk
from livepin_server.services.audit.log import Wanted
from livepin_server.services.changes import SetDelivery
from livepin_server.services.delivery_settings import DeliveryChange
from livepin_server.services.model import Area, DomainTaken, Intent, NewDomain, NewStream, Role
from livepin_server.services.overrides.model import NewOverride
from livepin_server.services.publishing.publisher import Publisher
from livepin_server.storage.database import Database
from livepin_server.storage.schema import configs, keys
from sqlalchemy import select

INTENT = Intent(author="bob")


@pytest.fixture
def two_servers(postgres_folder, another_folder, request):
    """Two whole servers, each on its own copy of the data folder."""
    running = request.getfixturevalue("run_server")
    return running(postgres_folder), running(another_folder(postgres_folder))


OVERRIDE = "/v1/acme/override/" + "o" * 43


@pytest.fixture
def add_override(new_pin, intent):
    """Sign an override at a server; return it."""

    def one(server):
        services = server.services
        services.domains.add("acme", NewDomain(pattern="api.test", pins=[new_pin()]), intent)
        new = NewOverride(installation="o" * 43, domains=["api.test"], mode="off")
        services.overrides.create("acme", new, intent, tested=False)
        return services.published.overrides("acme")["o" * 43].raw

    return one


def etag(server):
    return server.send("GET", "/v1/acme/config/main").headers["etag"]


def test_what_one_publishes_all_deliver(two_servers, until, new_pin, intent):
    first, second = two_servers
    publish = first.services.publisher.republish
    assert publish("acme", "main", intent).version == 2
    until(lambda: etag(first) == etag(second) == '"1.2"')
    publish = second.services.publisher.republish
    assert publish("acme", "main", intent).version == 3
    until(lambda: etag(first) == etag(second) == '"1.3"')
    # One publication is counted once by each, also by the one that made it.
    for server in two_servers:
        line = 'livepin_publications_total{account="acme",stream="main"} 2.0'
        until(lambda server=server, line=line: line in server.metrics.text().decode())
        assert "livepin_in_step 1.0" in server.metrics.text().decode()


def test_an_override_made_at_one_is_delivered_by_all_and_ended_at_another(
    two_servers, until, add_override
):
    first, second = two_servers
    made = add_override(first)
    until(lambda: all(each.send("GET", OVERRIDE).content == made for each in two_servers))
    second.services.overrides.end("acme", "o" * 43, INTENT, tested=False)
    ended = second.services.published.overrides("acme")["o" * 43].raw
    until(lambda: all(each.send("GET", OVERRIDE).content == ended for each in two_servers))


def test_an_event_stream_on_one_tells_of_what_another_published(two_servers, intent):
    first, second = two_servers
    with second.connect() as sock:
        sock.sendall(b"GET /v1/acme/events HTTP/1.1\r\nHost: x\r\n\r\n")
        found = b""
        while b'"version":1}' not in found:
            found += sock.recv(65536)
        first.services.publisher.republish("acme", "main", intent)
        while b'"version":2}' not in found:
            found += sock.recv(65536)


def test_a_key_revoked_on_one_is_refused_by_all(two_servers):
    first, second = two_servers
    key = first.key("viewer")
    assert second.send("GET", "/v1/whoami", to="management", key=key).status_code == 200
    first.services.api_keys.revoke(key.split("_")[1], INTENT)
    assert second.send("GET", "/v1/whoami", to="management", key=key).status_code == 401


def test_a_key_rotated_on_one_is_refused_by_all(two_servers):
    first, _ = two_servers
    key = first.key("viewer")
    _, newer = first.services.api_keys.rotate(key.split("_")[1], INTENT, overlap=timedelta())
    statuses = [
        server.send("GET", "/v1/whoami", to="management", key=each).status_code
        for server in two_servers for each in (key, newer)
    ]  # fmt: skip
    assert statuses == [401, 200, 401, 200]


def test_the_last_use_is_the_last_on_any_server(two_servers):
    first, second = two_servers
    key = first.key("viewer")
    identity = key.split("_")[1]
    first.services.api_keys.verify(key, "192.0.2.7")
    second.services.clock.advance(minutes=5)
    second.services.api_keys.verify(key, "192.0.2.8")
    for server in (second, first):
        server.services.api_keys.keep_uses()
    for server in two_servers:
        assert server.services.api_keys.show(identity).last_used_from == "192.0.2.8"


PUBLISHING = """
import pathlib, sys
from livepin.testing import FakeClock
from livepin_server import folder
from livepin_server.custody.sealed import load_master_key
from livepin_server.services.model import Intent
with folder.opened(pathlib.Path(sys.argv[1]), {}, clock=FakeClock()) as opened:
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(25):
        label = f"{sys.argv[2]} {number}"
        found = opened.services.publisher.republish("acme", "main", Intent(author="x"), [label])
        print(found.version, label, flush=True)
"""


def test_processes_that_publish_at_once_share_no_number_and_lose_nothing(
    postgres_folder, another_folder, open_folder
):
    folders = [postgres_folder, another_folder(postgres_folder), another_folder(postgres_folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with contextlib.ExitStack() as stack:
        children = [
            stack.enter_context(
                subprocess.Popen([sys.executable, "-c", PUBLISHING, str(data), name], **pipes)
            )
            for data, name in zip(folders, "abc", strict=True)
        ]
        for child in children:
            assert child.stdout.readline() == "ready\n"
        for child in children:
            child.stdin.write("\n")
            child.stdin.flush()
        with ThreadPoolExecutor(3) as pool:
            lines = [
                line for found in pool.map(lambda c: c.stdout.readlines(), children)
                for line in found
            ]  # fmt: skip
    acknowledged = dict(line.strip().split(" ", 1) for line in lines)
    assert len(lines) == len(acknowledged) == 75
    with open_folder(postgres_folder) as opened:
        history = opened.services.published.history("acme", "main", limit=1000)
        entries = [json.loads(line) for line in opened.services.audit.export("acme").splitlines()]
    assert [each.version for each in history] == list(range(76, 0, -1))
    for each in history[:-1]:
        assert each.changed == [acknowledged[str(each.version)]]
    # One order of entries for all of them, without a gap: that of the versions.
    assert [each["number"] for each in entries] == list(range(1, len(entries) + 1))
    published = [each["entry"].get("config") for each in entries]
    assert [each for each in published if each] == list(range(1, 77))
    for before, each in pairwise(entries):
        assert each["previous"] == before["digest"]


RECORDING = """
import pathlib, sys
from livepin.testing import FakeClock
from livepin_server import folder
from livepin_server.services.audit import SERVER, entry_of
from livepin_server.services.model import Intent
with folder.opened(pathlib.Path(sys.argv[1]), {}, clock=FakeClock()) as opened:
    audit, now = opened.services.audit, opened.services.clock()
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(40):
        who = Intent(author=sys.argv[2], reason=f"{number}")
        for account in (SERVER, "acme"):
            audit.record(entry_of(who, account=account, action="probe", now=now))
"""


def test_entries_of_several_servers_are_in_one_order_without_a_gap(
    postgres_folder, another_folder, open_folder
):
    folders = [postgres_folder, another_folder(postgres_folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with contextlib.ExitStack() as stack:
        children = [
            stack.enter_context(
                subprocess.Popen([sys.executable, "-c", RECORDING, str(data), name], **pipes)
            )
            for data, name in zip(folders, "ab", strict=True)
        ]
        for child in children:
            assert child.stdout.readline() == "ready\n"
        for child in children:
            child.stdin.write("\n")
            child.stdin.flush()
        assert [child.wait(60) for child in children] == [0, 0]
    with open_folder(postgres_folder) as opened:
        of_server, of_account = Walk(SERVER), Walk("acme")
        for walk in (of_server, of_account):
            for line in opened.services.audit.export(walk.account).splitlines(keepends=True):
                walk.take(line)
        items = opened.services.audit.log("acme", Wanted(action="probe"), limit=1000).items
    assert (of_server.number, of_account.number) == (82, 83)
    # Of each server its entries are in the order in which it made them.
    for name in "ab":
        reasons = [each.entry.reason for each in items if each.entry.author == name]
        assert reasons == [f"{number}" for number in range(39, -1, -1)]


def test_a_config_that_is_due_is_signed_again_by_one_of_them(
    postgres_folder, another_folder, open_folder, clock
):
    with (
        open_folder(postgres_folder) as first,
        open_folder(another_folder(postgres_folder)) as second,
        ThreadPoolExecutor(2) as pool,
    ):
        clock.advance(days=8)
        publishers = [each.services.publisher for each in (first, second)]
        found = list(pool.map(lambda each: each.resign_due(), publishers))
        assert sorted(len(each) for each in found) == [0, 1]
        assert len(first.services.published.history("acme", "main")) == 2


def test_a_process_that_found_it_due_too_late_leaves_it(opened, clock, intent):
    clock.advance(days=8)
    services, calls = opened.services, []

    def late():
        # It has looked; until it signs, another has done it.
        calls.append(1)
        if len(calls) == 2:
            services.publisher.republish("acme", "main", intent)
        return clock()

    vault = load_master_key(opened.data / "master.key", None)
    slow = Publisher(services.database, vault, services.bus, clock=late, look=dict.fromkeys)
    assert slow.resign_due() == []
    assert len(calls) == 2
    assert len(services.published.history("acme", "main")) == 2


# -- delivery alone ------------------------------------------------------------------------------


def test_delivery_alone_needs_no_key_and_may_read_none(
    run_server, postgres_folder, delivery_folder, start_child, until, intent, clock, add_override
):
    clock.advance(seconds=max(0.0, time.time() - clock().timestamp()))  # the child has its own
    server, data = run_server(postgres_folder, clock=clock), delivery_folder()
    child = start_child(data, "--only", "delivery")
    assert child.get("/readyz").status_code == 200
    assert child.get("/v1/acme/root/1").status_code == 200
    before = server.send("GET", "/v1/acme/config/main").content
    assert child.get("/v1/acme/config/main").content == before
    server.services.publisher.republish("acme", "main", intent)
    until(lambda: child.get("/v1/acme/config/main").headers["etag"] == '"1.2"')
    made = add_override(server)
    until(lambda: child.get(OVERRIDE).content == made)
    # It has no key to sign tokens with, nor those that verify them: ask another server.
    for method, path in (("POST", "/v1/acme/token"), ("GET", "/v1/acme/jwks.json")):
        answer = child.ask(method, path)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
        assert answer.json()["detail"] == "no tokens are issued here"
    # There is nothing to steal: no management, no key in the folder, none in its reach.
    assert not child.management
    assert {each.name for each in data.iterdir()} == {"livepin.toml", "tls", "livepin.lock"}
    with folder.delivering(data, {}, clock=server.services.clock) as node:
        database = Database(node.settings.database)
        try:
            for query in (select(keys), select(configs.c.document).with_for_update()):
                with pytest.raises(UnavailableError), database.reading() as connection:
                    connection.execute(query)
            with pytest.raises(UnavailableError, match="does not allow this"):
                database.write(lambda each: each.execute(configs.delete()))
        finally:
            database.close()
    assert child.end() == 0


def test_a_delivery_node_tells_its_metrics_in_private_to_who_has_a_key_to_look(
    run_server, postgres_folder, delivery_folder, start_child
):
    server = run_server(postgres_folder)
    keys = {
        (role, account): server.services.api_keys.create(f"{role}-{account}", role, account, INTENT)
        for role, account in ((Role.VIEWER, None), (Role.PENTEST, None), (Role.VIEWER, "acme"))
    }
    node = start_child(delivery_folder(metrics=True), "--only", "delivery")

    def ask(path, key=None):
        bearer = {} if key is None else {"Authorization": f"Bearer {key}"}
        return node.get(path, "management", **bearer)

    assert node.get("/v1/acme/config/main").status_code == 200
    found = ask("/metrics", keys[Role.VIEWER, None][1])
    assert found.status_code == 200
    assert (
        'livepin_config_fetches_total{account="acme",held="none",stream="main"} 1.0' in found.text
    )
    assert "livepin_in_step 1.0" in found.text
    assert "livepin_delivery_certificate_expires_timestamp_seconds" in found.text
    for path in ("/healthz", "/readyz"):
        assert (ask(path).status_code, ask(path).text) == (200, "ok\n")
    assert ask("/metrics").status_code == 401
    assert ask("/metrics", "lpk_wrong").status_code == 401
    assert ask("/metrics", keys[Role.PENTEST, None][1]).status_code == 403
    assert ask("/metrics", keys[Role.VIEWER, "acme"][1]).status_code == 403
    for scope, status in ((Area.METRICS, 200), (Area.SERVER, 403)):
        named = f"for {scope.value}"
        _, key = server.services.api_keys.create(named, Role.ADMIN, None, INTENT, scopes=[scope])
        assert ask("/metrics", key).status_code == status
    server.services.api_keys.revoke(keys[Role.VIEWER, None][0].id, INTENT)
    assert ask("/metrics", keys[Role.VIEWER, None][1]).status_code == 401
    # Nothing else is there, and none of it faces the internet.
    operator = server.key()
    for path in ("/v1/status", "/v1/accounts", "/v1/api-keys", "/openapi.json"):
        assert ask(path, operator).status_code == 404
    assert node.get("/metrics", Authorization=f"Bearer {operator}").status_code == 404


def test_a_delivery_node_whose_user_may_not_read_api_keys_tells_nobody_its_metrics(
    run_server, postgres_folder, delivery_folder, start_child
):
    server = run_server(postgres_folder)
    node = start_child(delivery_folder(), "--only", "delivery")
    answer = node.get("/metrics", "management", Authorization=f"Bearer {server.key()}")
    assert answer.status_code == 503
    assert "does not allow this" in answer.json()["detail"]
    assert node.get("/readyz", "management").status_code == 200
    assert node.get("/v1/acme/config/main").status_code == 200


def test_a_new_stream_reaches_delivery_alone_and_a_move_in_both_streams(
    run_server, postgres_folder, delivery_folder, start_child, until, intent, new_pin
):
    server = run_server(postgres_folder)
    child = start_child(delivery_folder(), "--only", "delivery")
    assert child.get("/v1/acme/config/canary").status_code == 404
    services = server.services
    services.streams.add("acme", NewStream(name="canary"), intent)
    until(lambda: child.get("/v1/acme/config/canary").status_code == 200)
    services.domains.add("acme", NewDomain(pattern="a.test", pins=[new_pin()]), intent)
    wanted = DomainTaken(pattern="a.test", source="main")
    services.streams.take("acme", "canary", wanted, intent)
    for stream, version in (("canary", 4), ("main", 5)):
        path = f"/v1/acme/config/{stream}"
        until(lambda p=path, v=version: child.get(p).headers["etag"] == f'"1.{v}"')


def test_apps_reach_delivery_nodes_through_nginx_while_one_of_them_dies(
    run_server, postgres_folder, delivery_folder, start_child, start_nginx, until, intent
):
    server, port = run_server(postgres_folder), available_port("127.0.0.1", 0)
    publisher = server.services.publisher
    wanted = DeliveryChange(urls=[f"https://localhost:{port}"])
    publisher.publish("acme", [SetDelivery(wanted=wanted)], intent)
    nodes = [start_child(delivery_folder(), "--only", "delivery") for _ in range(2)]
    start_nginx(port, postgres_folder / "tls", *(each.port() for each in nodes))
    with Client(
        server.services.published.bootstrap("acme", "main"), push=False, reports=False
    ) as client:
        client.refresh()
        assert client.status().version == 2
        publisher.republish("acme", "main", intent)
        for each in nodes:
            until(lambda each=each: each.get("/v1/acme/config/main").headers["etag"] == '"1.3"')
        client.refresh()
        assert client.status().version == 3
        assert nodes[0].end(signal.SIGKILL) == -signal.SIGKILL
        publisher.republish("acme", "main", intent)
        until(lambda: nodes[1].get("/v1/acme/config/main").headers["etag"] == '"1.4"')
        for _ in range(4):  # whichever node it is nginx's turn to ask
            client.refresh()
        assert client.status().version == 4


# -- what is refused -----------------------------------------------------------------------------


def test_a_second_process_on_the_same_folder_is_refused_here_too(run_server, postgres_folder,
                                                                 start_child):  # fmt: skip
    run_server(postgres_folder)
    child = start_child(postgres_folder)
    # The server of this test holds no lock of the folder; the first child takes it.
    child.port()
    second = start_child(postgres_folder)
    assert second.process.wait(60) not in (0, 1)
    assert "another process works on" in second.log


def test_on_sqlite_delivery_alone_is_refused(data_folder, start_child):
    child = start_child(data_folder, "--only", "delivery")
    assert child.process.wait(60) == 2
    assert child.log.splitlines()[0] == (
        "error: delivery alone needs PostgreSQL: on SQLite one process does everything"
    )


def test_a_file_of_sqlite_elsewhere_has_one_process_too(
    data_folder, another_folder, tmp_path, start_child, open_folder
):
    shared = tmp_path / "shared.db"
    (data_folder / "livepin.db").rename(shared)
    second = another_folder(data_folder)
    with open_folder(data_folder, LIVEPIN_DATABASE=f"sqlite:///{shared}") as opened:
        assert len(opened.services.accounts.all()) == 1
        with (second / "livepin.toml").open("a") as file:
            file.write(f'database = "sqlite:///{shared}"\n')
        child = start_child(second)
        assert child.process.wait(60) == 4
        assert f"another process works on {tmp_path}" in child.log
    with open_folder(second) as opened:
        assert len(opened.services.accounts.all()) == 1


def test_a_database_that_is_in_use_is_not_taken_for_a_new_server(
    postgres, postgres_folder, settings, tmp_path, clock, open_folder
):
    url = tomllib.loads((postgres_folder / "livepin.toml").read_text())["database"]
    plan = folder.Plan(
        data=tmp_path / "new", account="beta", root_key=None,
        settings=msgspec.structs.replace(settings, database=url), passphrase=None,
    )  # fmt: skip
    with pytest.raises(Exception, match="holds the data of another Livepin server") as caught:
        folder.initialise(plan, clock=clock)
    assert "copy that server's data folder" in caught.value.hint
    assert not plan.data.exists()
    with open_folder(postgres_folder) as opened:
        assert [each.name for each in opened.services.accounts.all()] == ["acme"]


def test_a_server_that_cannot_be_made_leaves_the_database_empty(
    postgres, new_database, settings, tmp_path, clock
):
    name = new_database()
    plan = folder.Plan(
        data=tmp_path / "new", account="NOT A NAME", root_key=None, passphrase=None,
        settings=msgspec.structs.replace(settings, database=postgres.url(name)),
    )  # fmt: skip
    with pytest.raises(Exception, match="NOT A NAME"):
        folder.initialise(plan, clock=clock)
    with postgres.connect(name) as connection:
        query = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        assert connection.execute(query).fetchone() == (0,)
