"""Killed while backing up, restoring or exporting: what is there is whole, or was never there.

Two kills in each run of the tests, fifty in `make torture`.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
from livepin.bootstrap import Bootstrap
from livepin.trust import TrustedState
from livepin_server.backups import mark, restoring
from livepin_server.backups.restoring import RestorePlan
from livepin_server.custody import age
from livepin_server.custody.age import Opening
from livepin_server.folder import opened as open_data
from livepin_server.services.model import Intent, NewDomain
from livepin_server.services.numbering import above_everything
from livepin_server.storage import rows, schema_version
from livepin_server.storage.schema import accounts
from sqlalchemy import select

INTENT = Intent(author="bob")
MAIN, ROOT = "v1/acme/config/main", "v1/acme/root/1"

# Each says when it begins, so that the kill comes in its work and not in its imports.
BACK_UP = """
import sys
from datetime import datetime, timezone
from pathlib import Path
from livepin_server.backups.making import make
from livepin_server.custody.age import Seal
data, file = Path(sys.argv[1]), Path(sys.argv[2])
print("begins", flush=True)
make(data, {}, file, Seal(recipients=(sys.argv[3],)), now=datetime.now(timezone.utc))
"""
RESTORE = """
import sys
from datetime import datetime, timezone
from pathlib import Path
from livepin_server.backups.restoring import RestorePlan, restore
from livepin_server.custody import age
plan = RestorePlan(
    file=Path(sys.argv[1]), data=Path(sys.argv[2]), database=sys.argv[4], offline=True,
    opening=age.Opening(identities=age.read_identities(Path(sys.argv[3]))),
)
print("begins", flush=True)
restore(plan, {}, clock=lambda: datetime.now(timezone.utc))
"""
EXPORT = """
import sys
from pathlib import Path
from livepin_server.exports.static import Documents, export, target
config, root = (Path(each).read_bytes() for each in sys.argv[2:4])
documents = Documents(account="acme", roots={1: root}, configs={"main": config})
place = target(sys.argv[1], {})
print("begins", flush=True)
export(documents, place)
"""


class Work:
    """A program that is run again and again, and killed in its work."""

    def __init__(self, text, chance):
        self._text, self._chance = text, chance
        self._longest = 0.0

    def run(self, *arguments):
        """Run it to its end, and take the time that it works."""
        process, began = self._started(arguments)
        assert process.wait(60) == 0
        self._longest = max(self._longest, time.monotonic() - began)

    def kill(self, *arguments):
        """Run it and kill it at any moment; tell whether it had ended by itself."""
        process, _ = self._started(arguments)
        killer = threading.Timer(self._chance.uniform(0, self._longest), process.kill)
        killer.start()
        code = process.wait(60)
        killer.cancel()
        killer.join()
        assert code in (0, -signal.SIGKILL)
        return code == 0

    def _started(self, arguments):
        process = subprocess.Popen(
            [sys.executable, "-c", self._text, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env={k: v for k, v in os.environ.items() if not k.startswith("LIVEPIN_")},
        )
        assert process.stdout.readline() == b"begins\n"
        process.stdout.close()
        return process, time.monotonic()


@pytest.fixture
def filled(request, open_folder, new_pin):
    """Fill a data folder with some history."""

    def one(name):
        data = request.getfixturevalue(name)
        with open_folder(data) as opened:
            for number in range(12):
                pins = [new_pin(40 * number + n) for n in range(40)]
                new = NewDomain(pattern=f"{number}.example.com", pins=pins)
                opened.services.domains.add("acme", new, INTENT)
        return data

    return one


@pytest.fixture
def keys_of_backups(tmp_path):
    """A recipient, and the file of its identity."""
    path = tmp_path / "identity"
    return age.new_identity(path, now=dt.datetime.now(dt.timezone.utc)), path


@pytest.mark.torture
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("database", ["data_folder", "postgres_folder"])
def test_a_backup_that_is_killed_is_whole_or_was_never_there(
    filled, torture, database, keys_of_backups, start_child, tmp_path
):
    data = filled(database)
    recipient, identity = keys_of_backups
    opening = Opening(identities=age.read_identities(identity))
    server = start_child(data)
    server.port()
    work, file = Work(BACK_UP, torture.chance), tmp_path / "b.age"
    work.run(data, file, recipient)
    for _ in range(torture.kills):
        if torture.chance.random() < 0.5:
            file.unlink(missing_ok=True)
        before = file.read_bytes() if file.exists() else None
        ended = work.kill(data, file, recipient)
        after = file.read_bytes() if file.exists() else None
        assert after != before if ended else True
        if after is not None:
            plan = RestorePlan(
                file=file, data=tmp_path / "new", opening=opening, database="sqlite", offline=True
            )
            restoring.restore(plan, {}, clock=lambda: dt.datetime.now(dt.timezone.utc))
            shutil.rmtree(tmp_path / "new")
        assert server.get("/v1/acme/config/main").status_code == 200
    work.run(data, file, recipient)
    assert {each.name for each in tmp_path.iterdir() if "b.age" in each.name} == {"b.age"}
    assert server.end() == 0
    torture.count("kills", torture.kills)


@pytest.mark.torture
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("to", ["sqlite", "postgresql"])
def test_a_restore_that_is_killed_leaves_a_whole_server_or_none(
    filled, torture, to, keys_of_backups, tmp_path, request, open_database
):
    data = filled("data_folder")
    recipient, identity = keys_of_backups
    made = dt.datetime.now(dt.timezone.utc)
    Work(BACK_UP, torture.chance).run(data, tmp_path / "b.age", recipient)
    url = "sqlite"
    if to == "postgresql":
        url = request.getfixturevalue("postgres").url(request.getfixturevalue("new_database")())
    work, new = Work(RESTORE, torture.chance), tmp_path / "new"
    arguments = (tmp_path / "b.age", new, identity, url)

    def check():
        """Check the folder and the database, each whole or empty; then remove both."""
        whole = new.exists()
        if whole:
            with open_data(new, {}, clock=lambda: dt.datetime.now(dt.timezone.utc)) as opened:
                mark.go_on(opened)
                newest = opened.services.published.history("acme", "main")[0].version
                assert newest > above_everything(13, since=made, now=made)
                assert len(opened.services.domains.all("acme")) == 12
            shutil.rmtree(new)
        if to == "postgresql":
            database = open_database(url)
            with database.reading() as connection:
                if "accounts" in rows.names(connection):
                    last = connection.scalar(select(accounts.c.last_version))
                    assert last >= above_everything(13, since=made, now=made)
                else:
                    assert not whole
            schema_version.remove(database)
        for each in tmp_path.glob(".new.*"):
            shutil.rmtree(each)
        return whole

    work.run(*arguments)
    assert check()
    for _ in range(torture.kills):
        ended = work.kill(*arguments)
        assert check() or not ended
    torture.count("kills", torture.kills)


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_an_export_that_is_killed_leaves_the_old_or_the_new_and_never_a_config_without_its_root(
    opened, torture, tmp_path, add_domain
):
    published = opened.services.published
    www, root = tmp_path / "www", tmp_path / "root"
    www.mkdir()
    root.write_bytes(published.documents("acme").roots[1])
    configs = {}
    for number in range(torture.kills + 2):
        add_domain(f"{number}.example.com", *range(20))
        raw = published.documents("acme").configs["main"].raw
        configs[number] = raw
        (tmp_path / f"config-{number}").write_bytes(raw)
    state = TrustedState.from_bootstrap(Bootstrap(root=root.read_bytes(), config=configs[0]))
    work = Work(EXPORT, torture.chance)
    work.run(www, tmp_path / "config-0", root)
    for number in range(1, torture.kills + 1):
        if torture.chance.random() < 0.5:
            shutil.rmtree(www / "v1")  # as for a new target
        before = (www / MAIN).read_bytes() if (www / MAIN).exists() else None
        ended = work.kill(www, tmp_path / f"config-{number}", root)
        after = (www / MAIN).read_bytes() if (www / MAIN).exists() else None
        assert after == configs[number] or (after == before and not ended)
        if after is not None:
            assert (www / ROOT).read_bytes() == root.read_bytes()
            state = state.advance_config(after)
    work.run(www, tmp_path / f"config-{torture.kills + 1}", root)
    assert (www / MAIN).read_bytes() == configs[torture.kills + 1]
    left = {each.name for each in www.rglob("*") if each.is_file()}
    assert left <= {".livepin.lock", "main", "1"}
    torture.count("kills", torture.kills)
