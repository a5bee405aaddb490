"""`livepin upgrade --to`: from the file of one process to the database of several."""

from __future__ import annotations

import json
import os
import subprocess
import sys


def upgrade(data, url, *arguments):
    command = [sys.executable, "-m", "livepin", "upgrade", "--data", str(data), "--to", url]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LIVEPIN_")}
    return subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True, check=False
    )


def test_a_server_is_stopped_moved_and_started(data_folder, postgres, new_database, start_child):
    url = postgres.url(new_database())
    child = start_child(data_folder)
    served = child.get("/v1/acme/config/main").content
    refused = upgrade(data_folder, url)
    assert refused.returncode == 4
    assert "another process works on" in refused.stderr
    assert child.end() == 0
    done = upgrade(data_folder, url)
    assert done.returncode == 0, done.stderr
    text = "".join(done.stdout.split("\n"))
    assert "rows copied; the old database is as it was" in text
    assert "set database in" in text
    with (data_folder / "livepin.toml").open("a") as file:
        file.write(f"database = {json.dumps(url)}\n")
    (data_folder / "livepin.db").unlink()
    assert start_child(data_folder).get("/v1/acme/config/main").content == served


def test_the_number_of_rows_is_given_as_json(data_folder, postgres, new_database):
    done = upgrade(data_folder, postgres.url(new_database()), "--json")
    assert json.loads(done.stdout)["rows"] >= 7
