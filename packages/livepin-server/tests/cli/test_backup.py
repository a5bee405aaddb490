"""livepin backup: to recipients or under a passphrase, while the server runs or not."""

from __future__ import annotations

import re

import pytest

from .conftest import PASSPHRASE, Run


@pytest.fixture
def recipient(run: Run, tmp_path) -> str:
    """The recipient of a new identity, in `identity.txt`."""
    return run("backup", "new-key", tmp_path / "identity.txt", "--json").json["recipient"]


def test_a_backup_is_made_and_noted_and_says_how_to_use_it(run, data, recipient, tmp_path):
    done = run("backup", "b.age", "--recipient", recipient)
    assert (done.code, done.err) == (0, "")
    first, second, third = done.out.splitlines()
    assert re.fullmatch(
        rf"b\.age is a backup of {data}: 1 account, \d+ rows, \d+ KiB, sealed to 1 recipient", first
    )
    assert second == "Keep it off this machine. To make a server of it:"
    assert third == "  livepin restore b.age FOLDER --identity FILE"
    assert (tmp_path / "b.age").stat().st_mode & 0o777 == 0o600
    assert recipient[5:] not in done.out


def test_it_is_made_while_the_server_runs_and_the_server_notes_it(run, data, recipient, start):
    server = start(data)
    found = run("backup", "b.age", "--recipient", recipient, "--json").json
    assert (found["noted"], found["master_key"], found["accounts"]) == (True, True, 1)
    key = (data / "operator.key").read_text().strip()
    import ssl

    import httpx

    context = ssl.create_default_context(cafile=str(data / "tls/ca.pem"))
    headers = {"authorization": f"Bearer {key}"}
    text = httpx.get(f"{server.url}/metrics", headers=headers, verify=context, trust_env=False).text
    assert re.search(r"^livepin_backup_timestamp_seconds [1-9]", text, re.MULTILINE)
    assert server.end() == 0


def test_it_may_replace_an_older_backup_and_nothing_else(run, data, recipient, tmp_path):
    assert run("backup", "b.age", "--recipient", recipient).code == 0
    before = (tmp_path / "b.age").read_bytes()
    assert run("backup", "b.age", "--recipient", recipient).code == 0
    assert (tmp_path / "b.age").read_bytes() != before
    done = run("backup", "identity.txt", "--recipient", recipient)
    assert done.code == 2
    assert "identity.txt exists, and is none of these" in done.err
    assert (tmp_path / "identity.txt").read_text().startswith("# created")


def test_several_can_open_it(run, data, recipient, tmp_path):
    other = run("backup", "new-key", "other.txt", "--json").json["recipient"]
    run("backup", "b.age", "--recipient", recipient, "--recipient", other)
    for number, identity in enumerate(("identity.txt", "other.txt")):
        done = run("restore", "b.age", f"new-{number}", "--identity", identity, "--offline")
        assert done.code == 0, done.err


# -- under a passphrase ---------------------------------------------------------------------------


def test_a_passphrase_comes_from_a_file_or_the_environment(run, data, tmp_path, monkeypatch):
    (tmp_path / "words").write_text(f"{PASSPHRASE}\n")
    done = run("backup", "b.age", "--passphrase-file", "words")
    assert done.code == 0, done.err
    assert done.out.splitlines()[0].endswith("sealed under a passphrase")
    assert done.out.splitlines()[-1] == "  livepin restore b.age FOLDER"
    monkeypatch.setenv("LIVEPIN_BACKUP_PASSPHRASE", PASSPHRASE)
    assert run("backup", "c.age").code == 0
    for file in ("b.age", "c.age"):
        assert run("restore", file, f"new-{file}", "--offline").code == 0


def test_a_passphrase_is_asked_for_twice(data, terminal, tmp_path):
    command = terminal("backup", "b.age", "--data", str(data))
    command.until("at least 12): ")
    command.type(f"{PASSPHRASE}\n")
    command.until("The same again: ")
    command.type(f"{PASSPHRASE}\n")
    command.until("sealed under a passphrase")
    assert command.end() == 0
    assert PASSPHRASE not in command.text
    command = terminal("backup", "c.age", "--data", str(data))
    command.until("at least 12): ")
    command.type(f"{PASSPHRASE}\n")
    command.until("The same again: ")
    command.type("another passphrase\n")
    command.until("differ")
    assert command.end() == 2
    assert not (tmp_path / "c.age").exists()


def test_where_nobody_can_be_asked_it_says_what_to_do(shell, data, tmp_path):
    done = shell("backup", "b.age", "--data", data)
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [
        "error: expected --recipient AGE1..., or a passphrase: a backup holds every key of the "
        "server",
        "hint:  on another machine: livepin backup new-key FILE; it prints the recipient",
    ]
    assert not (tmp_path / "b.age").exists()


def test_a_terminal_that_ends_before_the_answer_is_no_answer(data, terminal):
    command = terminal("backup", "b.age", "--data", str(data))
    command.until("at least 12): ")
    command.type("\x04")
    assert command.end() == 2
    assert "expected a passphrase for the backup" in command.text


# -- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--recipient", "age1x"), "expected an age recipient, which begins with age1"),
        (("--recipient", "ssh-ed25519 AAAA"), "expected an age recipient"),
        (("--passphrase-file", "short"), "a passphrase of at least 12 characters"),
        (("--passphrase-file", "gone"), "cannot read gone"),
        (("--recipient", "age1x", "--passphrase-file", "short"), "found both"),
    ],
)
def test_mistakes_are_named_before_anything_is_done(run, data, tmp_path, options, error):
    (tmp_path / "short").write_text("short")
    done = run("backup", "b.age", *options)
    assert (done.code, done.out) == (2, "")
    assert error in done.err
    assert not (tmp_path / "b.age").exists()


def test_a_folder_that_is_none_is_named(run, recipient):
    done = run("backup", "b.age", "--recipient", recipient, "--data", "nowhere")
    assert done.code == 2
    assert "nowhere is not a Livepin data folder" in done.err


def test_a_master_key_that_is_elsewhere_is_said(run, data, recipient, monkeypatch):
    master = (data / "master.key").read_text().strip()
    monkeypatch.setenv("LIVEPIN_MASTER_KEY", master)
    (data / "master.key").unlink()
    done = run("backup", "b.age", "--recipient", recipient)
    assert done.code == 0
    assert "warning: it holds no master key, for LIVEPIN_MASTER_KEY gives that" in done.err


def test_a_server_that_does_not_note_it_does_not_spoil_the_backup(run, data, recipient):
    (data / "operator.key").write_text("lpk_000000000000_" + "A" * 43 + "\n")
    done = run("backup", "b.age", "--recipient", recipient)
    assert done.code == 0
    assert "the backup is whole, but the server did not note it" in done.err
    assert run("restore", "b.age", "new", "--identity", "identity.txt", "--offline").code == 0


def test_a_profile_that_is_a_server_elsewhere_has_no_folder_here(run, data, recipient, monkeypatch):
    monkeypatch.delenv("LIVEPIN_DATA")
    run("profile", "add", "far", "--url", "https://192.0.2.1:8444", "--no-check")
    done = run("backup", "b.age", "--recipient", recipient, "--profile", "far")
    assert done.code == 2


def test_progress_is_shown_where_a_person_looks(data, terminal, recipient, tmp_path):
    command = terminal("backup", "b.age", "--recipient", recipient, "--data", str(data))
    assert command.end() == 0
    assert "is a backup of" in command.text


# -- the key --------------------------------------------------------------------------------------


def test_a_new_key_prints_what_the_server_needs_and_keeps_the_rest(run, tmp_path):
    done = run("backup", "new-key", "identity.txt")
    assert (done.code, done.err) == (0, "")
    recipient = done.out.splitlines()[0]
    assert re.fullmatch(r"age1[a-z0-9]{58}", recipient)
    assert done.out.splitlines()[-1] == f"  livepin backup FILE --recipient {recipient}"
    secret = (tmp_path / "identity.txt").read_text().splitlines()[-1]
    assert secret.startswith("AGE-SECRET-KEY-1")
    assert secret not in done.out
    done = run("backup", "new-key", "identity.txt")
    assert done.code == 2
    assert "exists already" in done.err
