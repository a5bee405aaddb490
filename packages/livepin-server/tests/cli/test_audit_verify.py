"""livepin audit verify: over the API and on exported files, with and without what is brought."""

from __future__ import annotations

import itertools
import json
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from livepin.bootstrap import Bootstrap
from livepin.documents import config
from livepin.jose import PrivateKey, parse_compact, sign_compact
from livepin_server.cli.api import Common, connected
from livepin_server.cli.app import main
from livepin_server.custody.sealed import Label, load_master_key

PIN = "sha256/" + "A" * 43 + "="
ALONE = [
    "  Only a config from elsewhere shows whether the server itself wrote it anew:",
    "  --config or --bootstrap, from an app, a cache or a recovery URL.",
]


@pytest.fixture(scope="module")
def made(template, tmp_path_factory) -> Path:
    """Config 2 with a domain, a bootstrap of it, and config 3 without; both logs, exported.

    And a bootstrap of another account, of another server.
    """
    found = tmp_path_factory.mktemp("made")
    shutil.copytree(template, found / "data")

    def livepin(*arguments: object, data: str = "data") -> None:
        assert main([*map(str, arguments), "--data", str(found / data)]) == 0

    livepin("domain", "add", "a.test", "--pin", PIN)
    livepin("bootstrap", "--out", found / "app.json")
    bootstrap = Bootstrap.parse((found / "app.json").read_bytes())
    (found / "cdn").write_bytes(bootstrap.config + b"\n")
    livepin("domain", "remove", "a.test")
    livepin("audit", "export", "--out", found / "acme.jsonl")
    livepin("audit", "export", "--server", "--out", found / "server.jsonl")
    livepin(
        "init", "--account", "beta", "--url", "https://b.example.com", "--online-root",
        "--port", 0, "--management-port", 0, data="other",
    )  # fmt: skip
    livepin("bootstrap", "--out", found / "other.json", data="other")
    shutil.rmtree(found / "other")
    return found


@pytest.fixture
def data(made, tmp_path, monkeypatch) -> Path:
    """All of that in a folder of this test's own."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("LIVEPIN_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def without_times(out: str) -> list[str]:
    """Return lines without the times in them."""
    return [line.partition(", 20")[0] for line in out.splitlines()]


def test_the_log_holds_and_the_servers_configs_prove_it(run, data) -> None:
    done = run("audit", "verify")
    assert (done.code, done.err) == (0, "")
    assert without_times(done.out) == [
        "4 entries of the account acme, each follows from the one before",
        "  3 configs that the server keeps: proven up to entry 4",
        *ALONE,
    ]


def test_what_is_brought_from_elsewhere_proves_what_came_before_it(run, data) -> None:
    done = run("audit", "verify", "--bootstrap", "app.json", "--config", "cdn")
    assert without_times(done.out)[2:] == [
        "  app.json: proven up to entry 3",
        "  cdn: proven up to entry 3",
    ]


def test_the_servers_log_is_proven_by_the_accounts(run, data) -> None:
    done = run("audit", "verify", "--server", "--bootstrap", "app.json")
    assert without_times(done.out)[3:] == [
        "2 entries of the server, each follows from the one before",
        "  entry 2 of the account acme: proven up to entry 1",
        "  entry 4 of the account acme: proven up to entry 2",
    ]


def test_for_programs_it_is_one_value(run, data) -> None:
    found = run("audit", "verify", "--server", "--config", "cdn", "--json").json
    assert found["holds"] is True
    account, server = found["logs"]
    assert (account["account"], account["entries"], account["configs"]) == ("acme", 4, 3)
    assert account["kept"]["entry"] == 4
    assert [(each["by"], each["entry"]) for each in account["proven"]] == [("cdn", 3)]
    assert (server["account"], server["entries"], server["kept"]) == ("", 2, None)


def test_a_log_of_many_pages_is_verified(run, data, monkeypatch) -> None:
    monkeypatch.setattr("livepin_server.services.audit.log._MOST_BYTES", 1)
    monkeypatch.setattr("livepin_server.cli.audit_verify._AT_A_TIME", 2)
    found = run("audit", "verify", "--json").json["logs"][0]
    assert (found["entries"], found["configs"], found["kept"]["entry"]) == (4, 3, 4)


def test_a_log_that_grows_meanwhile_holds(run, data, start) -> None:
    start(data)
    stopped, published = threading.Event(), threading.Semaphore(0)

    def publish() -> None:
        with connected(Common(data=data)) as api:
            for number in itertools.count():
                if stopped.is_set():
                    return
                body = {"name": f"s{number}", "pins": [{"sha256": PIN}]}
                api.call("POST", f"{api.base}/pin-sets", body)
                published.release()

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        for _ in range(8):
            assert published.acquire(timeout=60)
            assert run("audit", "verify").code == 0
    finally:
        stopped.set()
        thread.join(60)


def test_a_config_from_before_there_was_a_log_proves_nothing_and_it_says_so(run, data) -> None:
    bootstrap = json.loads(Path("app.json").read_bytes())
    jws = parse_compact(bootstrap["config"].encode(), typ=config.TYP)
    payload = json.loads(jws.payload)
    del payload["audit"]
    raw = sign_compact(json.dumps(payload).encode(), typ=config.TYP, signer=config_key(data))
    Path("before.json").write_text(json.dumps(bootstrap | {"config": raw.decode()}))
    done = run("audit", "verify", "--bootstrap", "before.json")
    assert done.code == 0
    assert done.err == (
        "warning: before.json carries no head: it is from before there was an audit log\n"
    )
    assert without_times(done.out)[2:] == ALONE


def config_key(data: Path) -> PrivateKey:
    """Return the key that signs the server's configs."""
    with closing(sqlite3.connect(data / "livepin.db")) as connection:
        query = "SELECT kid, sealed FROM keys WHERE role = 'config'"
        ((kid, sealed),) = connection.execute(query).fetchall()
    vault = load_master_key(data / "master.key", None)
    return vault.open(sealed, Label("acme", "config", kid))


# -- exported files ------------------------------------------------------------------------------


def test_an_export_is_verified_without_a_server(run, data, monkeypatch) -> None:
    monkeypatch.delenv("LIVEPIN_DATA")
    done = run("audit", "verify", "acme.jsonl")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "4 entries of the account acme, each follows from the one before", *ALONE,
    ]  # fmt: skip
    done = run("audit", "verify", "server.jsonl", "acme.jsonl", "--bootstrap", "app.json")
    assert without_times(done.out) == [
        "4 entries of the account acme, each follows from the one before",
        "  app.json: proven up to entry 3",
        "2 entries of the server, each follows from the one before",
        "  entry 2 of the account acme: proven up to entry 1",
        "  entry 4 of the account acme: proven up to entry 2",
    ]


def test_an_export_in_parts_is_one_log(run, data) -> None:
    whole = run("audit", "export").out
    run("domain", "add", "b.test", "--pin", PIN)
    run("audit", "export", "--after", "4", "--out", "more.jsonl")
    assert Path("acme.jsonl").read_text() == whole
    found = run("audit", "verify", "acme.jsonl", "more.jsonl", "--json").json["logs"]
    assert [each["entries"] for each in found] == [5]
    done = run("audit", "verify", "more.jsonl")
    assert (done.code, done.err.splitlines()[0]) == (1, "error: expected entry 1, found entry 5")


def test_a_changed_export_does_not_hold(run, data) -> None:
    text = Path("acme.jsonl").read_text()
    Path("acme.jsonl").write_text(text.replace('"operator"', '"somebody"', 1))
    done = run("audit", "verify", "acme.jsonl")
    assert done.code == 1
    assert done.out == "2 entries of the account acme, each follows from the one before\n"
    assert done.err == (
        "error: entry 3 does not have its digest\n"
        "hint:  it was changed, or the one before it; earlier ones follow from each other\n"
    )
    done = run("audit", "verify", "acme.jsonl", "--json")
    assert done.code == 1
    assert done.json["holds"] is False
    assert done.json["error"] == "entry 3 does not have its digest"
    assert done.json["logs"][0]["entries"] == 2


# -- what is not as expected ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["acme.jsonl", "--server"], 2, "expected files or --server"),
        (["gone.jsonl"], 2, "cannot read gone.jsonl: No such file or directory"),
        (["empty"], 2, "empty is empty"),
        (["app.json"], 1, "expected a line of an audit log, found none: "),
        (["acme.jsonl", "--config", "gone"], 2, "cannot read gone: No such file or directory"),
        (["acme.jsonl", "--config", "cdn"], 2, "cdn is signed under root 1, which is not here"),
        (["acme.jsonl", "--config", "app.json"], 2, "app.json is no signed config: "),
        (["acme.jsonl", "--bootstrap", "cdn"], 2, "expected a Livepin bootstrap: "),
        (["server.jsonl", "--bootstrap", "app.json"], 2, "no file holds the log of the account"),
        (["--bootstrap", "other.json"], 2, "other.json is of the account beta, not of acme"),
        (["acme.jsonl", "--bootstrap", "other.json"], 2, "no file holds the log of the account"),
    ],
)
def test_what_cannot_be_verified_is_told_apart_from_what_does_not_hold(
    run, data, arguments, code, error
) -> None:
    Path("empty").write_bytes(b"")
    done = run("audit", "verify", *arguments)
    assert (done.code, done.out) == (code, "")
    first, second = done.err.splitlines()[:1], done.err.splitlines()[1:]
    assert first[0].startswith(f"error: {error}")
    assert all(line.startswith("hint:  ") for line in second)
