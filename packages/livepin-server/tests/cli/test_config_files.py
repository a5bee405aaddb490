"""livepin config export and raise: documents as files, and versions above those that apps hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from livepin_server.cli import config_files
from livepin_server.cli.output import CommandError

from .conftest import Run

MAIN, ROOT = "v1/acme/config/main", "v1/acme/root/1"


@pytest.fixture
def www(tmp_path: Path) -> Path:
    """An empty folder, `www`."""
    found = tmp_path / "www"
    found.mkdir()
    return found


def test_the_files_are_written_and_named(run: Run, data, www):
    done = run("config", "export", "www")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [f"+ {ROOT}", f"+ {MAIN}", "www has 2 new files; 0 unchanged"]
    shown = run("config", "show", "--json").json
    assert (www / MAIN).read_text() == shown["document"]
    assert run("config", "export", "www").out == "www has 0 new files; 2 unchanged\n"


def test_one_stream_may_be_exported(run, data, www):
    run("stream", "add", "canary")
    found = run("config", "export", "www", "--stream", "canary", "--json").json
    assert found["written"] == [ROOT, "v1/acme/config/canary"]
    assert not (www / MAIN).exists()
    done = run("config", "export", "www", "--stream", "canari")
    assert (done.code, done.err.splitlines()[1]) == (3, "hint:  did you mean canary?")


def test_it_works_over_the_api_of_a_server_elsewhere(run, remote, www):
    assert run("config", "export", "www").code == 0
    assert (www / MAIN).exists()


def test_a_newer_config_there_stays_and_the_code_says_so(run, data, www, tmp_path):
    import shutil

    shutil.copytree(data, tmp_path / "old")
    run("config", "raise", "100")
    run("config", "export", "www")
    before = (www / MAIN).read_bytes()
    done = run("config", "export", "www", "--data", tmp_path / "old")
    assert done.code == 1
    assert f"warning: {MAIN} is newer there than here, and stays" in done.err
    assert (www / MAIN).read_bytes() == before
    found = run("config", "export", "www", "--data", tmp_path / "old", "--json")
    assert (found.code, found.json["newer"]) == (1, [MAIN])


def test_what_was_there_and_is_none_of_ours_is_replaced_and_told(run, data, www):
    (www / MAIN).parent.mkdir(parents=True)
    (www / MAIN).write_text("hello")
    done = run("config", "export", "www")
    assert done.code == 0
    assert f"warning: {MAIN} was there, and was not this account's: it was replaced" in done.err


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("gone", "error: gone is not a folder"),
        ("ftp://x", "expected a folder, or a URL of s3, gs or az"),
        ("s3://key:secret@bucket", "and nothing else"),
    ],
)
def test_a_target_that_is_none_is_named(run, data, target, error):
    done = run("config", "export", target)
    assert done.code == 2
    assert error in done.err
    assert "secret" not in done.err


@pytest.mark.parametrize(
    "found",
    [
        {"../../x": {"roots": [], "document": "x"}},
        {"/etc": {"roots": [], "document": "x"}},
        {"main": {}},
        {"main": {"roots": [{"version": "../x", "document": "x"}], "document": "x"}},
        {"main": {"roots": [{"version": 1, "document": 7}], "document": "x"}},
        {"main": {"roots": None, "document": "x"}},
        {"main": []},
    ],
)
def test_a_server_that_lies_writes_nowhere_else(found):
    with pytest.raises(CommandError, match="did not answer with documents"):
        config_files._documents("acme", found)


def test_an_account_is_a_name_too():
    with pytest.raises(CommandError, match="did not answer with documents"):
        config_files._documents("../acme", {})


# -- raise ----------------------------------------------------------------------------------------


def test_versions_go_on_above_one_that_apps_hold(run, data):
    run("stream", "add", "canary")
    done = run("config", "raise", "1042", "--reason", "an older backup was put back")
    assert (done.code, done.err) == (0, "")
    assert sorted(done.out.splitlines()) == [
        "canary is published again, as config version 1043.",
        "main is published again, as config version 1044.",
    ]
    log = run("config", "log", "--json").json
    assert log[0]["reason"] == "an older backup was put back"
    assert json.loads(run("config", "raise", "2000", "--json").out)[0]["version"] == 2001


@pytest.mark.parametrize(("version", "code"), [("1", 3), ("0", 2), ("x", 2), (str(2**53 - 1), 2)])
def test_versions_that_cannot_be_gone_above_are_refused(run, data, version, code):
    done = run("config", "raise", version)
    assert (done.code, done.out) == (code, "")
    assert len(run("config", "log", "--json").json) == 1
