"""The composition root: it alone reads environment and clock, and holds the folder's lock."""

import asyncio
import datetime as dt
import json
import os
import signal
import subprocess
import sys

import httpx
import pytest
from livepin.errors import ConfigurationError
from livepin_server import lock, main
from livepin_server.backups.restoring import RestorePlan
from livepin_server.custody import age
from livepin_server.custody.age import Seal
from livepin_server.folder import Plan
from livepin_server.lock import DataFolderBusyError
from livepin_server.storage import schema_version

SERVE = """
import pathlib, sys
from livepin_server import main

async def started(running):
    print(running.delivery.port, running.management.port, flush=True)
    if sys.argv[2] == "stop":
        running.stop.set()

main.run_server(pathlib.Path(sys.argv[1]), started=started)
print("ended")
"""


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in [*os.environ]:
        if name.startswith("LIVEPIN_"):
            monkeypatch.delenv(name)


def served(data, how, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", SERVE, str(data), how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


def test_the_clock_is_aware_and_in_utc():
    now = main.clock()
    assert now.tzinfo is dt.timezone.utc
    assert abs(now - dt.datetime.now(dt.timezone.utc)) < dt.timedelta(minutes=1)


def test_init_makes_a_folder_of_today(tmp_path, settings):
    data = tmp_path / "new"
    plan = Plan(data=data, account="acme", settings=settings, root_key=None, passphrase=None)
    main.initialise(plan)
    with main.in_process(data) as (app, _):
        assert callable(app)


def test_in_process_gives_the_operators_key_and_holds_the_lock(data_folder):
    with main.in_process(data_folder) as (app, key):
        assert callable(app)
        assert key == (data_folder / "operator.key").read_text().strip()
        with pytest.raises(DataFolderBusyError), lock.holding(data_folder):
            pass
    with lock.holding(data_folder):
        pass


def test_servers_of_one_process_take_their_own_keys_alone(data_folder, tmp_path, settings):
    other = tmp_path / "other"
    main.initialise(
        Plan(data=other, account="acme", settings=settings, root_key=None, passphrase=None)
    )

    async def whoami(app, key):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="https://x") as client:
            headers = {"authorization": f"Bearer {key}"}
            return (await client.get("/v1/whoami", headers=headers)).status_code

    with main.in_process(data_folder) as (one, its), main.in_process(other) as (two, other_key):
        asked = [(one, its), (two, other_key), (one, other_key), (two, its)]
        assert [asyncio.run(whoami(*each)) for each in asked] == [200, 200, 401, 401]


def test_the_status_warns_of_a_certificate_of_delivery_that_ends(data_folder, clock, monkeypatch):
    clock.advance(days=3650 - 80)
    monkeypatch.setattr(main, "clock", clock)
    with main.in_process(data_folder) as (app, key):

        async def status():
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="https://x") as client:
                headers = {"Authorization": f"Bearer {key}"}
                return (await client.get("/v1/status", headers=headers)).json()

        found = asyncio.run(status())["warnings"]
    told = "the certificate of delivery expires on 2036-11-20: livepin delivery renew-keys"
    assert told in found


@pytest.mark.parametrize(
    "use",
    [
        lambda data: main.in_process(data).__enter__(),
        main.upgrade,
        main.renew_delivery_keys,
        main.run_server,
    ],
    ids=["in_process", "upgrade", "renew_delivery_keys", "run_server"],
)
def test_nothing_works_on_a_folder_that_another_process_has(data_folder, use):
    with lock.holding(data_folder), pytest.raises(DataFolderBusyError, match=str(data_folder)):
        use(data_folder)


def test_the_environment_is_read_here(data_folder, monkeypatch):
    (data_folder / "master.key").rename(data_folder.parent / "master.key")
    text = (data_folder.parent / "master.key").read_text().strip()
    monkeypatch.setenv("LIVEPIN_MASTER_KEY", text)
    main.renew_delivery_keys(data_folder)  # signs, so it has the key
    assert (data_folder / "tls.old").is_dir()


def test_an_upgrade_of_a_current_folder_makes_no_backup(data_folder):
    assert main.upgrade(data_folder) == (schema_version.head(), None)


def test_an_upgrade_makes_the_tables_of_an_empty_database(data_folder):
    for path in data_folder.glob("livepin.db*"):
        path.unlink()
    assert main.upgrade(data_folder) == (schema_version.head(), None)
    with main.in_process(data_folder):
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_serves_until_a_signal_and_ends_in_order(data_folder, number):
    with served(data_folder, "serve") as process:
        ports = [int(each) for each in process.stdout.readline().split()]
        assert len(ports) == 2
        assert 0 not in ports
        with pytest.raises(DataFolderBusyError), lock.holding(data_folder):
            pass
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "ended\n"), err
    messages = [json.loads(line)["message"] for line in err.splitlines()]
    assert messages[0] == "serving"
    assert messages[-1] == "stopping"
    assert not (data_folder / "run" / "management.json").exists()
    with lock.holding(data_folder):
        pass


def test_a_server_that_was_killed_leaves_a_folder_that_serves_again(data_folder):
    with served(data_folder, "serve") as process:
        assert process.stdout.readline()
        process.kill()
        process.communicate(timeout=60)
    with served(data_folder, "stop", LIVEPIN_LOG_FORMAT="text") as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.endswith("ended\n")
    assert " INFO livepin.server: serving delivery=" in err


# -- exports, and a restored server ---------------------------------------------------------------


def test_a_target_that_is_none_ends_the_start_before_anything_listens(data_folder, monkeypatch):
    monkeypatch.setenv("LIVEPIN_EXPORT", "ftp://host/x")
    with pytest.raises(ConfigurationError, match="a URL of s3, gs or az"):
        main.run_server(data_folder)
    assert not (data_folder / "run").exists()


def test_the_first_start_of_a_restored_server_publishes_before_it_serves(data_folder, tmp_path):
    recipient = age.new_identity(tmp_path / "identity", now=main.clock())
    seal = Seal(recipients=(recipient,))
    made = main.back_up(data_folder, tmp_path / "b.age", seal, progress=lambda _: None)
    assert made.path == tmp_path / "b.age"
    plan = RestorePlan(
        file=made.path,
        data=tmp_path / "new",
        opening=age.Opening(identities=age.read_identities(tmp_path / "identity")),
        offline=True,
    )
    (account,) = main.restore(plan, progress=lambda _: None).accounts
    process = served(tmp_path / "new", "stop")
    assert process.communicate(timeout=60)[0].endswith("ended\n")
    with main.in_process(tmp_path / "new") as (app, key):
        found = asyncio.run(ask(app, key, "/v1/accounts/acme/configs"))
    assert [each["version"] for each in found["items"]] == [account.floor + 1, 1]


async def ask(app, key, path):
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="https://x") as client:
        return (await client.get(path, headers={"authorization": f"Bearer {key}"})).json()
