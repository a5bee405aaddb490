"""A thief has an admin's API key, or stands beside the backup: neither gives a private key."""

from __future__ import annotations

import json
import stat
import subprocess
import sys

import pytest
from livepin.testing import FakeClock
from livepin_server.backups import making
from livepin_server.custody import age
from livepin_server.custody.age import Seal
from livepin_server.management import app, openapi

NOW = FakeClock()()


def test_no_route_makes_or_gives_a_backup(server):
    """The one route about backups takes a note; with every method an admin gets nothing more."""
    paths = openapi.document(app.ROUTES)["paths"]
    assert [path for path in paths if "backup" in path] == ["/v1/backups"]
    assert list(paths["/v1/backups"]) == ["post"]
    key = server.key("admin")
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        assert server.send(method, "/v1/backups", to="management", key=key).status_code == 405
    body = {"recipients": 1, "size": 1, "rows": 1}
    answer = server.send("POST", "/v1/backups", to="management", key=key, json=body)
    assert list(answer.json()) == ["noted"]
    body["recipient"] = "age1attacker"  # and none may be named
    answer = server.send("POST", "/v1/backups", to="management", key=key, json=body)
    assert answer.status_code == 400


def test_what_an_admin_can_read_holds_no_key_of_the_server(server):
    key, folder = server.key("admin"), server.folder.data
    secrets = [(folder / name).read_bytes().strip() for name in ("master.key", "tls/server.key")]
    for path, operations in openapi.document(app.ROUTES)["paths"].items():
        if "get" in operations:
            named = path.replace("{account}", "acme").replace("{version}", "latest")
            answer = server.send("GET", named, to="management", key=key)
            assert not [each for each in secrets if each in answer.content]
            assert b"PRIVATE KEY" not in answer.content


def test_a_note_without_an_admins_key_is_refused(server):
    body = {"recipients": 1, "size": 1, "rows": 1}
    for role in ("operator", "viewer", "pentest"):
        key = server.key(role)
        answer = server.send("POST", "/v1/backups", to="management", key=key, json=body)
        assert answer.status_code == 403
    key = server.key("admin", "acme")
    answer = server.send("POST", "/v1/backups", to="management", key=key, json=body)
    assert answer.status_code == 403


def test_the_backup_is_for_its_owner_alone_from_its_first_byte_on(data_folder, tmp_path):
    import os

    recipient = age.new_identity(tmp_path / "identity", now=NOW)
    modes = []

    def look(_):
        modes.extend(
            stat.S_IMODE(each.stat().st_mode)
            for each in tmp_path.iterdir()
            if each.name.startswith((".b.age", "b.age"))
        )

    previous = os.umask(0)
    try:
        making.make(
            data_folder, {}, tmp_path / "b.age", Seal(recipients=(recipient,)), now=NOW,
            progress=look,
        )  # fmt: skip
    finally:
        os.umask(previous)
    assert set(modes) == {0o600}
    assert stat.S_IMODE((tmp_path / "b.age").stat().st_mode) == 0o600


@pytest.mark.parametrize("how", ["recipient", "passphrase"])
def test_nothing_secret_is_in_the_process_list_or_the_output(data_folder, tmp_path, how):
    """The command line of the process, while it works, and all that it prints."""
    words = "correct horse battery staple"
    recipient = age.new_identity(tmp_path / "identity", now=NOW)
    (tmp_path / "words").write_text(words)
    option = {
        "recipient": ["--recipient", recipient],
        "passphrase": ["--passphrase-file", str(tmp_path / "words")],
    }[how]
    command = [
        sys.executable, "-m", "livepin", "backup", str(tmp_path / "b.age"), *option,
        "--data", str(data_folder), "--json",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    secrets = [
        words,
        (tmp_path / "identity").read_text().splitlines()[-1],
        (data_folder / "master.key").read_text().strip(),
        (data_folder / "operator.key").read_text().strip(),
    ]
    for text in (done.stdout, done.stderr, " ".join(command)):
        assert not [each for each in secrets if each in text]
    assert json.loads(done.stdout)["rows"] > 0
