"""livepin restore: a server out of a backup, what was found of the lost one, what comes next."""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from livepin_server.backups import making
from livepin_server.custody import age
from livepin_server.custody.age import Seal

from .conftest import DELIVERY, PASSPHRASE, TOLD, Run


@pytest.fixture
def backed_up(run: Run, data: Path, tmp_path: Path) -> Path:
    """A backup, `b.age`, of a data folder whose delivery answers nobody."""
    text = (data / "livepin.toml").read_text()
    (data / "livepin.toml").write_text(text.replace(DELIVERY, "https://127.0.0.1:1"))
    run("delivery", "set", "--url", "https://127.0.0.1:1", "--yes")
    recipient = run("backup", "new-key", "identity.txt", "--json").json["recipient"]
    assert run("backup", "b.age", "--recipient", recipient).code == 0
    return tmp_path / "b.age"


def restore(run, *options):
    return run("restore", "b.age", "new", "--identity", "identity.txt", *options)


def test_it_says_what_it_did_and_what_comes_next(run, backed_up, tmp_path):
    done = restore(run)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0].startswith("new is restored from the backup of ")
    assert re.search(r" UTC: 1 account, \d+ rows$", lines[0])
    assert lines[1].startswith("acme goes on above version 1")
    assert lines[1].endswith("; the last in the backup is 2")
    assert lines[2].startswith("  https://127.0.0.1:1: ")
    assert lines[3] == "Next, once the lost server is stopped for good:"
    assert lines[4:] == ["  livepin serve --data new"]
    assert (tmp_path / "new" / "livepin.db").exists()


def test_the_restored_server_starts_publishes_and_is_well(run, backed_up, start, tmp_path):
    found = restore(run, "--json").json
    (account,) = found["accounts"]
    server = start(tmp_path / "new")
    log = run("config", "log", "--data", tmp_path / "new", "--json").json
    assert [each["version"] for each in log][:2] == [account["above"] + 1, 2]
    run(*TOLD, "--data", tmp_path / "new")
    assert run("status", "--data", tmp_path / "new").code == 0
    assert server.end() == 0
    assert not (tmp_path / "new" / "restored.json").exists()


def test_json_says_everything(run, backed_up):
    found = restore(run, "--json").json
    (account,) = found["accounts"]
    assert found.keys() == {"data", "moment", "rows", "master_key", "kept", "accounts"}
    assert (account["name"], account["last"], account["signs"]) == ("acme", 2, True)
    assert account["above"] > 1_000_000
    assert account["said"][0].startswith("https://127.0.0.1:1: ")
    assert (account["newer"], account["alive"], account["foreign"]) == ([], [], None)


def test_what_the_backup_lacks_is_said_and_kept(run, data, backed_up, tmp_path):
    for name in ("one", "two"):
        run("domain", "add", f"{name}.example.com", "--pin", "sha256/" + "A" * 43 + "=")
    (tmp_path / "www").mkdir()
    assert run("config", "export", "www").code == 0
    done = restore(run, "--seen", "www", "--keep", "kept", "--offline")
    version = run("config", "log", "--json").json[0]["version"]
    assert version == 4
    assert f"  www: config {version} of main is newer than the backup, which lacks:" in done.out
    assert "    + domain one.example.com" in done.out
    assert "    + domain two.example.com" in done.out
    assert "kept: kept/v1/acme/config/main" in done.out
    assert (tmp_path / "kept/v1/acme/config/main").read_bytes() == (
        tmp_path / "www/v1/acme/config/main"
    ).read_bytes()


def test_a_server_that_still_answers_is_warned_of(run, data, start, monkeypatch):
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    monkeypatch.setenv("LIVEPIN_DELIVERY_PORT", str(port))
    server = start(data)
    run("delivery", "set", "--url", f"https://localhost:{port}")
    recipient = run("backup", "new-key", "identity.txt", "--json").json["recipient"]
    run("backup", "b.age", "--recipient", recipient)
    done = restore(run)
    assert done.code == 0
    assert f"warning: https://localhost:{port} answers: is the lost server still" in done.err
    assert server.end() == 0


def test_the_passphrase_is_asked_for_once(data, terminal, run, tmp_path, monkeypatch):
    monkeypatch.setenv("LIVEPIN_BACKUP_PASSPHRASE", PASSPHRASE)
    run("backup", "b.age")
    monkeypatch.delenv("LIVEPIN_BACKUP_PASSPHRASE")
    command = terminal("restore", "b.age", "new", "--offline")
    command.until("Passphrase of the backup: ")
    command.type(f"{PASSPHRASE}\n")
    command.until("is restored from the backup")
    assert command.end() == 0
    done = run("restore", "b.age", "other", "--offline")
    assert done.code == 2
    assert "expected a passphrase for the backup" in done.err


# -- a server that cannot go on as it was ----------------------------------------------------------


def test_a_clock_before_the_backup_needs_a_version(run, data, tmp_path):
    identity = tmp_path / "identity.txt"
    tomorrow = dt.datetime.now(dt.timezone.utc) + dt.timedelta(days=1)
    seal = Seal(recipients=(age.new_identity(identity, now=tomorrow),))
    making.make(data, {}, tmp_path / "b.age", seal, now=tomorrow)
    done = restore(run, "--offline")
    assert done.code == 2
    assert "error: the clock says " in done.err
    assert "hint:  set the clock; or give --above a version that no app has seen" in done.err
    assert not (tmp_path / "new").exists()
    done = restore(run, "--offline", "--above", "5000000")
    assert "acme goes on above version 5000000; the last in the backup is 1" in done.out


def test_a_key_in_other_hands_ends_with_code_1_and_asks_for_a_new_root(
    run, data, backed_up, tmp_path, start, foreign
):
    (tmp_path / "www/v1/acme/config").mkdir(parents=True)
    (tmp_path / "www/v1/acme/config/main").write_bytes(foreign(data, 2**53 - 1))
    done = restore(run, "--seen", "www", "--offline")
    assert done.code == 1
    assert "warning: config 9007199254740991 of acme is signed by its key" in done.err
    assert done.out.splitlines()[-1] == "  livepin root prepare --account acme --data new"
    server = start(tmp_path / "new")
    status = run("status", "--data", "new")
    assert status.code == 1
    assert "the key is in other hands" in status.err
    assert server.end() == 0
    assert run("status", "--data", "new").code == 1


def test_more_lines_than_anybody_reads_are_cut(run, data, backed_up, tmp_path, foreign):
    members = {
        "pin_sets": {"p": [{"sha256": "A" * 43 + "="}]},
        "domains": [{"pattern": f"{n}.example.com", "pin_set": "p"} for n in range(30)],
    }
    (tmp_path / "www/v1/acme/config").mkdir(parents=True)
    (tmp_path / "www/v1/acme/config/main").write_bytes(foreign(data, 3, **members))
    done = restore(run, "--seen", "www", "--offline")
    assert "    and 10 more" in done.out
    found = run("restore", "b.age", "new2", "--identity", "identity.txt", "--seen", "www",
                "--offline", "--json").json  # fmt: skip
    assert len(found["accounts"][0]["newer"][0]["lines"]) == 30


@pytest.fixture
def foreign():
    """Sign a config of another version with the config key of a data folder, as its thief can."""
    from livepin.documents import config
    from livepin.jose import parse_compact, sign_compact
    from livepin_server.custody.sealed import Label, load_master_key

    def one(data, version, **members):
        with closing(sqlite3.connect(data / "livepin.db")) as connection:
            query = "SELECT kid, sealed FROM keys WHERE role = 'config'"
            kid, sealed = connection.execute(query).fetchone()
            query = "SELECT document FROM configs ORDER BY version DESC LIMIT 1"
            (raw,) = connection.execute(query).fetchone()
        key = load_master_key(data / "master.key", None).open(sealed, Label("acme", "config", kid))
        payload = json.loads(parse_compact(raw, typ=config.TYP).payload)
        payload |= {"version": version, **members}
        return sign_compact(json.dumps(payload).encode(), typ=config.TYP, signer=key)

    return one


# -- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--database", "mysql://x"), "expected --database to be the URL of PostgreSQL, or sqlite"),
        (("--database", "postgresql+psycopg://u:secret@h/n"), "is in the process list"),
        (("--above", "0"), "--above"),
        (("--seen", "ftp://x"), "cannot look at ftp://x"),
        (("--identity", "gone.txt"), "cannot read gone.txt"),
    ],
)
def test_mistakes_are_named_and_nothing_is_left(run, backed_up, tmp_path, options, error):
    done = restore(run, *options)
    assert done.code == 2
    assert error in done.err
    assert "secret" not in done.err
    assert not [each for each in tmp_path.iterdir() if "new" in each.name]


def test_two_databases_are_one_too_many(run, backed_up, monkeypatch):
    monkeypatch.setenv("LIVEPIN_DATABASE", "postgresql+psycopg://livepin@a/b")
    done = restore(run, "--database", "postgresql+psycopg://livepin@c/d")
    assert done.code == 2
    assert "--database and LIVEPIN_DATABASE name different databases" in done.err


def test_the_database_of_the_environment_is_said(run, backed_up, monkeypatch, tmp_path):
    monkeypatch.setenv("LIVEPIN_DATABASE", f"sqlite:///{tmp_path}/other.db")
    done = restore(run, "--offline")
    assert "The database is that of LIVEPIN_DATABASE, which is not written down" in done.out


def test_without_an_identity_it_says_what_is_needed(run, backed_up):
    done = run("restore", "b.age", "new", "--offline")
    assert done.code == 2
    assert "it is sealed to an age identity" in done.err
    assert "--identity FILE names its file" in done.err


@pytest.mark.parametrize("name", ["gone.age", "livepin.toml"])
def test_a_file_that_is_no_backup_is_named(run, data, name, tmp_path):
    shutil.copy(data / "livepin.toml", tmp_path)
    done = run("restore", name, "new")
    assert done.code == 2
    assert "is it the right file?" in done.err or "is it a backup" in done.err


def test_a_folder_that_is_there_is_left_alone(run, backed_up, data):
    done = run("restore", "b.age", data, "--identity", "identity.txt", "--offline")
    assert done.code == 2
    assert f"{data} exists already" in done.err


def test_a_master_key_that_is_elsewhere_is_asked_for(run, data, tmp_path, monkeypatch):
    monkeypatch.setenv("LIVEPIN_MASTER_KEY", (data / "master.key").read_text().strip())
    recipient = run("backup", "new-key", "identity.txt", "--json").json["recipient"]
    run("backup", "b.age", "--recipient", recipient)
    done = restore(run, "--offline")
    assert "the backup holds no master key: serve needs it as LIVEPIN_MASTER_KEY" in done.err
