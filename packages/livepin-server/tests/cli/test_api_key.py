"""livepin api-key: made and shown once, listed, rotated, revoked; the commands lock nobody out."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import ssl
import stat
from datetime import datetime, timedelta, timezone
from pathlib import Path

import httpx
import pytest
from livepin_server.cli.profiles import Profiles

from .conftest import TOLD

PIN = "sha256/" + "A" * 43 + "="
NEXT = "sha256/" + "B" * 42 + "A="
TEXT = re.compile(r"lpk_[a-z0-9]{12}_[A-Za-z0-9_-]{43}\n")


def in_days(number: int) -> datetime:
    return datetime.now(timezone.utc) + timedelta(days=number)


@pytest.fixture
def made(run, data) -> str:
    """The text of a key `ci` of the data folder."""
    done = run("api-key", "create", "ci", "--role", "viewer")
    assert done.code == 0
    return str(done.out.strip())


@pytest.fixture
def use(run, remote, monkeypatch):
    """Run a command on the running server, by a key."""

    def one(key: str, *arguments: object):
        monkeypatch.setenv("LIVEPIN_API_KEY", key)
        return run(*arguments)

    return one


@pytest.fixture
def operator(served) -> str:
    """The first key of the running server."""
    return (served.data / "operator.key").read_text().strip()


# -- create --------------------------------------------------------------------------------------


def test_the_text_alone_is_on_standard_output(run, data) -> None:
    done = run("api-key", "create", "ci", "--role", "operator", "--scope", "pins",
               "--scope", "domains", "--expires", "90d")  # fmt: skip
    assert done.code == 0
    assert TEXT.fullmatch(done.out)
    ends = f"{in_days(90):%Y-%m-%d %H:%M} UTC"
    first, *rest = done.err.splitlines()
    assert first in (
        f"The API key ci is made: operator of acme, for domains, pins alone, until {each}."
        for each in (ends, f"{in_days(90) - timedelta(minutes=1):%Y-%m-%d %H:%M} UTC")
    )
    assert rest == [
        "This is its text. Keep it well: it is shown this once.",
        "For commands elsewhere, with a copy of tls/ca.pem:",
        "  livepin profile add NAME --url https://HOST:PORT --ca ca.pem --key-file FILE",
    ]
    assert done.out.strip() not in run("api-key", "list", "--json").out


def test_a_key_goes_into_a_file_that_only_its_owner_can_read(run, data) -> None:
    done = run("api-key", "create", "Shop CI", "--role", "operator", "--out", "shop ci.key")
    assert (done.code, done.out) == (0, "")
    assert done.err.splitlines() == [
        "The API key Shop CI is made: operator of acme.",
        "Its text is in shop ci.key, which only you can read.",
        "For commands elsewhere, with a copy of tls/ca.pem:",
        "  livepin profile add NAME --url https://HOST:PORT --ca ca.pem --key-file 'shop ci.key'",
    ]
    assert TEXT.fullmatch(Path("shop ci.key").read_text())
    assert stat.S_IMODE(Path("shop ci.key").stat().st_mode) == 0o600


def test_json_has_the_text_only_where_no_file_has_it(run, data) -> None:
    done = run("api-key", "create", "a", "--role", "viewer", "--json").json
    assert TEXT.fullmatch(done["key"] + "\n")
    assert done["view"]["name"] == "a"
    done = run("api-key", "create", "b", "--role", "viewer", "--out", "b.key", "--json")
    assert done.json["file"] == "b.key"
    assert Path("b.key").read_text().strip() not in done.out


def test_prometheus_gets_a_key_for_metrics_and_nothing_else(run, served, use) -> None:
    done = run("api-key", "create", "prometheus", "--server", "--role", "viewer", "--scope",
               "metrics", "--out", "prometheus.key", "--data", served.data)  # fmt: skip
    assert done.err.splitlines()[-1] == (
        "In prometheus.yml, as authorization: credentials_file: prometheus.key"
    )
    key = Path("prometheus.key").read_text().strip()
    context = ssl.create_default_context(cafile=served.data / "tls" / "ca.pem")
    answer = httpx.get(
        f"{served.url}/metrics", headers={"authorization": f"Bearer {key}"}, trust_env=False,
        verify=context,
    )  # fmt: skip
    assert answer.status_code == 200
    refused = use(key, "domain", "list", "--account", "acme")
    assert refused.code == 3
    assert refused.err.splitlines() == [
        "error: expected an API key with the scope domains, pins or streams",
        "hint:  it needs an API key with more rights: LIVEPIN_API_KEY",
    ]


def test_a_ci_job_adds_pins_by_a_key_for_pins_alone(use, operator) -> None:
    made = use(operator, "api-key", "create", "job", "--role", "operator", "--scope", "pins")
    use(operator, "domain", "add", "job.test", "--pin", PIN)
    key = made.out.strip()
    assert use(key, "pin", "add", "job.test", NEXT).code == 0
    assert use(key, "pin", "list", "job.test").code == 0
    assert use(key, "pin", "remove", "job.test", PIN, "--force", "--reason", "test").code == 0
    for command in (("domain", "remove", "job.test"), ("api-key", "list"),
                    ("domain", "set-mode", "job.test", "off", "--yes")):  # fmt: skip
        done = use(key, *command)
        assert (done.code, done.out) == (3, ""), command


@pytest.mark.parametrize(
    ("arguments", "code", "error", "hint"),
    [
        (("--scope", "pin"), 2, 'Invalid value "pin" for --scope.',
         "livepin api-key create --help"),
        (("--expires", "90"), 2, "--expires: expected a day or a time with its zone, found '90'",
         "such as 90d, 2027-01-31, or 2027-01-31T12:00:00Z"),
        (("--expires", "2020-01-31"), 2, "expected an expiry to come, found 2020-01-31 00:00 UTC",
         None),
        (("--scope", "metrics"), 2, "the metrics are those of the whole server, not of acme",
         "a key for the whole server has them: --server"),
        (("--account", "acmee"), 3, "there is no account 'acmee'", "did you mean acme?"),
        (("--account", "acme", "--server"), 2, "expected --account acme or --server, found both",
         "a key is for one account, or for all of them"),
        (("--out", "taken"), 2, "taken exists already", "name a new file"),
        (("--out", "nowhere/key"), 2, "nowhere is not a folder", "make it first"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_a_key_is_made(
    run, data, arguments, code, error, hint
) -> None:
    Path("taken").write_text("mine")
    done = run("api-key", "create", "ci", "--role", "viewer", *arguments)
    assert (done.code, done.out) == (code, "")
    first, *rest = done.err.splitlines()
    assert first.startswith(f"error: {error}")
    assert rest == ([] if hint is None else [f"hint:  {hint}"])
    assert [each["name"] for each in run("api-key", "list", "--json").json] == ["operator"]
    assert Path("taken").read_text() == "mine"


def test_of_several_accounts_one_is_said_or_all(run, data, monkeypatch) -> None:
    monkeypatch.setenv("LIVEPIN_ROOT_PASSPHRASE", "correct horse battery staple")
    assert run("account", "add", "beta", "--root-key", "beta.key").code == 0
    done = run("api-key", "create", "ci", "--role", "viewer")
    assert done.err.splitlines() == [
        "error: expected --account NAME or --server",
        "hint:  there is acme, beta",
    ]
    for account in ("acme", "beta"):
        assert run("api-key", "create", "ci", "--role", "viewer", "--account", account).code == 0
    done = run("api-key", "show", "ci")
    assert done.err.splitlines()[0] == "error: 2 API keys are named 'ci'"
    assert run("api-key", "show", "ci", "--account", "beta", "--json").json["account"] == "beta"
    (only,) = run("api-key", "list", "--account", "beta", "--json").json
    assert run("api-key", "revoke", only["id"], "--json").json["revoked"]


def test_an_admin_of_an_account_needs_to_name_nothing(use, operator) -> None:
    made = use(operator, "api-key", "create", "alice", "--role", "admin", "--account", "acme")
    alice = made.out.strip()
    assert use(alice, "api-key", "create", "alices", "--role", "viewer").code == 0
    listed = {each["name"] for each in use(alice, "api-key", "list", "--json").json}
    assert {"alice", "alices"} <= listed
    assert "operator" not in listed
    assert use(alice, "api-key", "rotate", "alices", "--overlap", "0").code == 0
    assert use(alice, "api-key", "revoke", "alices").code == 0
    for command in (("create", "x", "--role", "viewer", "--server"), ("list", "--server")):
        done = use(alice, "api-key", *command)
        assert done.err.startswith("error: expected an API key for the whole server\n")
    done = use(alice, "api-key", "revoke", "operator")
    assert done.err.splitlines()[0] == "error: there is no API key 'operator'"


# -- list, show ----------------------------------------------------------------------------------


def test_keys_are_listed_with_what_they_may(run, data) -> None:
    run("api-key", "create", "ci", "--role", "operator", "--scope", "pins", "--expires", "13d")
    run("api-key", "create", "old", "--role", "viewer", "--server")
    run("api-key", "revoke", "old")
    done = run("api-key", "list")
    today, ends = f"{in_days(0):%Y-%m-%d}", f"{in_days(13):%Y-%m-%d}"
    assert done.err == f"warning: the API key ci of acme expires on {ends}\n"
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert lines[0] == "key id role of scopes expires last used"
    assert [re.sub(r" [0-9a-f]{12} ", " ", each) for each in sorted(lines[1:])] == [
        f"ci operator acme pins {ends} -",
        f"operator admin the server all - {today}",
    ]
    every = run("api-key", "list", "--all")
    assert "revoked" in every.out.splitlines()[0]
    assert len(every.out.splitlines()) == 4
    assert len(run("api-key", "list", "--json").json) == 2
    assert len(run("api-key", "list", "--all", "--json").json) == 3


def test_the_status_warns_of_a_key_that_ends_soon(run, data) -> None:
    run(*TOLD)
    assert run("status").code == 0
    run("api-key", "create", "ci", "--role", "operator", "--expires", "1d")
    done = run("status")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert done.err.startswith("warning: the API key ci of acme expires on ")


def test_a_key_is_shown_without_its_text(run, data, made) -> None:
    run("api-key", "rotate", "ci", "--overlap", "1h")
    done = run("api-key", "show", "ci")
    view = run("api-key", "show", "ci", "--json").json
    lines = done.out.splitlines()
    assert lines[0] == f"ci ({view['id']})"
    assert [each.split()[0] for each in lines[1:]] == ["may", "made", "rotated", "last"]
    assert lines[1] == "  may        viewer of acme"
    assert lines[2].endswith(" UTC, by operator")
    assert "; the old one is taken until " in lines[3]
    assert lines[4] == "  last used  never"
    assert made[17:] not in done.out + json.dumps(view)
    run("api-key", "revoke", view["id"])
    assert "  revoked  " in run("api-key", "show", view["id"]).out
    assert ", from 127.0.0.1" in run("api-key", "show", "operator").out


@pytest.mark.parametrize("command", ["show", "rotate", "revoke"])
def test_a_wrong_name_suggests_the_nearest(run, data, made, command) -> None:
    done = run("api-key", command, "cii")
    assert (done.code, done.out) == (3, "")
    assert done.err.splitlines() == [
        "error: there is no API key 'cii'",
        "hint:  did you mean ci?",
    ]


@pytest.mark.parametrize("command", ["show", "rotate", "revoke"])
def test_the_text_of_a_key_is_no_argument_and_is_not_repeated(run, data, made, command) -> None:
    """Arguments are in the process list, and in the history of the shell."""
    for typed in (made, made[:30]):
        done = run("api-key", command, typed)
        assert (done.code, done.out) == (2, "")
        assert done.err.splitlines() == [
            "error: expected the name or ID of a key, found its text, which is in the process list"
            " now",
            f"hint:  livepin api-key rotate {made[4:16]} --overlap 0",
        ]
    assert run("api-key", command, "lpk_x").err.count("\n") == 1


# -- rotate --------------------------------------------------------------------------------------


def test_a_key_is_rotated_and_the_old_text_works_for_a_while(use, operator) -> None:
    old = use(operator, "api-key", "create", "r", "--role", "viewer").out.strip()
    done = use(operator, "api-key", "rotate", "r", "--out", "r.key")
    assert (done.code, done.out) == (0, "")
    first, second = done.err.splitlines()
    assert first.startswith("The API key r has a new text; the old one is taken until ")
    assert second == "Its text is in r.key, which only you can read."
    new = Path("r.key").read_text().strip()
    for key in (old, new):
        assert use(key, "domain", "list").code == 0
    done = use(operator, "api-key", "rotate", "r", "--overlap", "0", "--json")
    assert done.json["view"]["overlap_until"] is None
    for key in (old, new):
        refused = use(key, "domain", "list")
        assert refused.err.splitlines() == [
            "error: the server does not take this API key",
            "hint:  is LIVEPIN_API_KEY right, and neither expired nor revoked?",
        ]
    assert use(done.json["key"], "domain", "list").code == 0


def test_an_overlap_is_a_length_of_time(run, data, made) -> None:
    done = run("api-key", "rotate", "ci", "--overlap", "soon")
    assert done.err.splitlines() == [
        "error: --overlap: expected a length of time, found 'soon'",
        "hint:  such as 30m, 24h, 90d or 12w",
    ]
    assert run("api-key", "rotate", "ci", "--overlap", "31d").code == 2
    assert run("api-key", "show", "ci", "--json").json["rotated"] is None


@pytest.mark.parametrize("overlap", ["24h", "0"])
def test_the_key_of_the_data_folder_is_rewritten_there_and_locks_nobody_out(
    run, data, overlap
) -> None:
    path = data / "operator.key"
    before = path.read_text()
    done = run("api-key", "rotate", "operator", "--overlap", overlap)
    assert (done.code, done.out) == (0, "")
    lines = done.err.splitlines()
    assert lines[1:] == [
        f"Its text is in {path}, which only you can read.",
        "If the data folder was copied to other hosts, put the new text into operator.key there: "
        "commands use it.",
    ]
    assert path.read_text() != before
    assert TEXT.fullmatch(path.read_text())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert run("account", "list").code == 0
    assert run("api-key", "list", "--json").json[0]["name"] == "operator"
    # A copy of the data folder on another host has the old text: taken as long as was said.
    path.write_text(before)
    assert run("account", "list").code == (0 if overlap == "24h" else 3)


def test_the_key_of_a_data_folder_is_rewritten_while_its_server_runs(run, data, start) -> None:
    start(data)
    before = (data / "operator.key").read_text()
    assert run("api-key", "rotate", "operator", "--overlap", "0").code == 0
    assert (data / "operator.key").read_text() != before
    assert run("status", "--json").json["running"] is True


def test_the_key_of_a_profile_is_rewritten_there(run, served, use, operator) -> None:
    made = use(operator, "api-key", "create", "bob", "--role", "admin", "--server")
    Path("bob.key").write_text(made.out)
    ca = served.data / "tls" / "ca.pem"
    run("profile", "add", "there", "--url", served.url, "--ca", ca, "--key-file", "bob.key")
    os.environ.pop("LIVEPIN_URL")
    done = run("api-key", "rotate", "bob", "--overlap", "0", "--profile", "there", "--json")
    assert done.json["file"] == str(Profiles.load().key_file("there"))
    assert "key" not in done.json
    assert Profiles.load().key("there") != made.out.strip()
    assert run("api-key", "list", "--profile", "there").code == 0


def test_a_key_in_a_variable_is_shown_and_that_of_the_server_is_spoken_of(use, operator) -> None:
    done = use(operator, "api-key", "rotate", "operator")
    assert TEXT.fullmatch(done.out)
    assert done.err.splitlines()[1:] == [
        "This is its text. Keep it well: it is shown this once.",
        "On the server's machine, put the new text into operator.key there: commands use it.",
    ]


def test_what_is_rewritten_takes_no_other_file(run, data) -> None:
    done = run("api-key", "rotate", "operator", "--out", "new.key")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [
        f"error: {data}/operator.key keeps this key for the commands, and is rewritten",
        "hint:  leave out --out",
    ]
    assert run("api-key", "show", "operator", "--json").json["rotated"] is None


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("create", "f", "--role", "viewer"), r"livepin api-key rotate [0-9a-f]{12}"),
        (("rotate", "full"), r"livepin api-key rotate [0-9a-f]{12} --account acme"),
    ],
)
def test_a_text_that_cannot_be_written_is_not_shown_instead(use, operator, arguments, hint) -> None:
    """Where the output goes may be a log that others read."""
    use(operator, "api-key", "create", "full", "--role", "viewer")
    account = ("--account", "acme") if arguments[0] == "rotate" else ()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, before[1]))  # a full disk, after 50 bytes
    try:
        done = use(operator, "api-key", *arguments, "--out", "new.key", *account)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (done.code, done.out) == (2, "")
    first, second = done.err.splitlines()
    assert first == ("error: cannot write new.key: File too large; the text of the key is lost")
    assert re.fullmatch(f"hint:  for another text: {hint}", second)
    assert not Path("new.key").exists()


@pytest.mark.parametrize(
    ("overlap", "hint"),
    [("24h", r"livepin api-key rotate [0-9a-f]{12}"), ("0", "livepin api-key recover")],
)
def test_a_file_of_the_commands_that_cannot_be_rewritten_says_the_way_back(
    run, data, start, overlap, hint
) -> None:
    start(data)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, before[1]))
    try:
        done = run("api-key", "rotate", "operator", "--overlap", overlap)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (done.code, done.out) == (2, "")
    assert re.fullmatch(f"hint:  for another text: {hint}", done.err.splitlines()[1])
    # The old text is there as it was; without an overlap it is taken no more.
    assert run("api-key", "list").code == (0 if overlap == "24h" else 3)


# -- revoke, recover -----------------------------------------------------------------------------


def test_a_key_is_revoked_by_its_name(use, operator) -> None:
    key = use(operator, "api-key", "create", "gone", "--role", "viewer").out.strip()
    done = use(operator, "api-key", "revoke", "gone", "--reason", "nobody uses it")
    assert done.out == f"The API key gone ({key[4:16]}) is revoked.\n"
    assert use(key, "domain", "list").code == 3
    assert use(operator, "api-key", "create", "gone", "--role", "viewer").code == 0


def test_the_last_admin_key_stays(run, data) -> None:
    done = run("api-key", "revoke", "operator", "--yes")
    assert (done.code, done.out) == (3, "")
    assert done.err.splitlines() == [
        "error: this is the last admin key of the server that neither ends nor has scopes",
        "hint:  make another one first",
    ]


def test_the_key_in_use_is_revoked_only_by_who_means_it(run, data) -> None:
    run("api-key", "create", "other", "--role", "admin", "--server")
    done = run("api-key", "revoke", "operator")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [
        "error: the commands use this key here, and will be refused, and nobody is here to agree",
        "hint:  to agree: --yes",
    ]
    assert run("api-key", "list").code == 0
    assert run("api-key", "revoke", "operator", "--yes").code == 0
    assert run("api-key", "list").err.splitlines() == [
        "error: the server does not take this API key",
        f"hint:  is {data}/operator.key right, and neither expired nor revoked?",
    ]
    # And there is a way back for who has the folder.
    done = run("api-key", "recover")
    assert done.out.splitlines() == [
        "operator.key holds a new admin key, operator. See who else has one:",
        "  livepin api-key list --server",
    ]
    found = run("api-key", "show", "operator", "--json").json
    assert (found["role"], found["account"]) == ("admin", None)
    assert found["created_by"] == "livepin api-key recover"


def test_a_lost_operator_key_is_made_anew_beside_the_old_one(run, data) -> None:
    (data / "operator.key").unlink()
    assert run("api-key", "recover", "--json").json == {"name": "operator-2"}
    assert run("api-key", "recover", "--json").json == {"name": "operator-3"}
    assert stat.S_IMODE((data / "operator.key").stat().st_mode) == 0o600
    names = {each["name"] for each in run("api-key", "list", "--json").json}
    assert names == {"operator", "operator-2", "operator-3"}
    assert run("api-key", "revoke", "operator").code == 0


def test_recovery_needs_the_folder_to_itself(run, data, start, remote) -> None:
    start(data)
    done = run("api-key", "recover", "--data", data)
    assert done.code == 4
    assert done.err.startswith(f"error: another process works on {data}\n")


def test_what_a_copy_of_the_folder_recovers_is_taken_by_the_same_database(run, data) -> None:
    """It is the database that is asked, wherever the folder is."""
    copy = data.with_name("copy")
    shutil.copytree(data, copy)
    assert run("api-key", "recover", "--data", copy).code == 0
    assert (copy / "operator.key").read_text() != (data / "operator.key").read_text()
    assert run("account", "list", "--data", copy).code == 0
    assert run("account", "list").code == 0
