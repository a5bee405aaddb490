"""livepin app release: registered by a manifest, listed, ended."""

from __future__ import annotations

import pytest


@pytest.fixture
def manifest(run, data, tmp_path):
    """The manifest of a release of a registered app `shop`, as it is measured."""
    run("app", "add", "shop")
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "app.py").write_text("print('hello')\n")
    file = tmp_path / "shop.manifest"
    assert run("app", "measure", tmp_path / "build", "--manifest", file).code == 0
    return file


def test_there_is_none_at_first(run, data) -> None:
    run("app", "add", "shop")
    assert run("app", "release", "list", "shop").out.startswith("No release of shop is registered")


def test_a_measured_release_is_registered_and_ends(run, manifest, tmp_path) -> None:
    digest = run("app", "measure", tmp_path / "build", "--json").json["digest"]
    done = run("app", "release", "add", "shop", "1.4", "--manifest", manifest)
    assert done.out == f"The release 1.4 of shop is registered: 1 file, {digest}.\n"
    line = run("app", "release", "list", "shop").out.splitlines()[1].split()
    assert (line[:3], line[-1]) == (["1.4", digest, "1"], "operator")
    assert run("app", "list", "--json").json[0]["releases"] == 1
    done = run("app", "release", "end", "shop", "1.4", "--reason", "everybody has 1.5")
    assert done.out == "The release 1.4 of shop has ended.\n"
    assert run("app", "release", "list", "shop").out.splitlines()[1].endswith("UTC")
    done = run("app", "release", "add", "shop", "1.4", "--manifest", manifest, "--json")
    assert (done.json["version"], done.json["ended"]) == ("1.4", None)
    assert run("app", "release", "list", "shop", "--json").json == [done.json]
    assert run("app", "release", "end", "shop", "1.4", "--json").json["ended"]


def test_what_cannot_be_is_refused(run, manifest, tmp_path) -> None:
    add = ("app", "release", "add")
    done = run(*add, "shop", "1", "--manifest", tmp_path / "no")
    assert (done.code, done.err.splitlines()[1]) == (
        2,
        "hint:  livepin app measure PATH --manifest FILE",
    )
    done = run(*add, "shop", "1", "--manifest", tmp_path / "build" / "app.py")
    assert done.err.splitlines()[1] == "hint:  livepin app measure makes one"
    done = run(*add, "shp", "1", "--manifest", manifest)
    assert (done.code, done.err.splitlines()[1]) == (3, "hint:  did you mean shop?")
    assert run(*add, "shop", "a/b", "--manifest", manifest).code == 2
    run(*add, "shop", "1.0", "--manifest", manifest)
    done = run(*add, "shop", "1.0", "--manifest", manifest)
    assert done.err.startswith("error: the release 1.0 of shop is in force already\n")
    done = run("app", "release", "end", "shop", "1.1")
    assert (done.code, done.err.splitlines()[1]) == (3, "hint:  did you mean 1.0?")
