"""livepin init --database: a data folder that starts on PostgreSQL, and a password nobody reads."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import tomllib

INIT = ("init", "new", "--account", "acme", "--url", "https://pins.example.com:8443",
        "--online-root", "--port", "0", "--management-port", "0")  # fmt: skip
PASSWORD = "s3cret-" + secrets.token_hex(8)


@pytest.fixture
def empty(postgres, new_database) -> str:
    """The URL of an empty database."""
    return postgres.url(new_database())


@pytest.fixture
def guarded(postgres, new_database) -> Iterator[str]:
    """The URL of an empty database of a user who needs the password."""
    name, role = new_database(), f"guarded_{secrets.token_hex(6)}"
    postgres.run(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
    postgres.run(f"ALTER DATABASE {name} OWNER TO {role}")
    rules = postgres.folder / "data" / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"local all {role} scram-sha-256\n{before}")
    postgres.run("SELECT pg_reload_conf()")
    url = postgres.url(name, role)
    deadline = time.monotonic() + 60
    while _opens(postgres, name, role):
        assert time.monotonic() < deadline, "the password is not asked for"
    yield url
    rules.write_text(before)
    postgres.run("SELECT pg_reload_conf()")
    postgres.run(f"REASSIGN OWNED BY {role} TO livepin", name=name)
    postgres.run(f"DROP OWNED BY {role}", name=name)
    postgres.run(f"ALTER DATABASE {name} OWNER TO livepin")
    postgres.run(f"DROP ROLE {role}")


def _opens(postgres, name: str, role: str) -> bool:
    try:
        psycopg.connect(host=str(postgres.folder), user=role, dbname=name).close()
    except psycopg.OperationalError:
        return False
    return True


def written() -> str | None:
    """Return the database that the settings name."""
    found = tomllib.loads(Path("new", "livepin.toml").read_text()).get("database")
    assert found is None or isinstance(found, str)
    return found


def test_a_data_folder_starts_on_postgresql(run, empty, start) -> None:
    assert run(*INIT, "--database", empty).code == 0
    assert written() == empty
    assert not Path("new", "livepin.db").exists()
    start(Path("new").absolute())
    done = run("status", "--data", "new", "--json")
    assert (done.json["running"], done.json["accounts"]) == (True, 1)


@pytest.mark.parametrize("way", ["PGPASSWORD", "PGPASSFILE"])
def test_a_password_comes_as_postgresql_takes_it(run, guarded, way, tmp_path, monkeypatch) -> None:
    file = tmp_path / "pgpass"
    file.write_text(f"*:*:*:*:{PASSWORD}\n")
    file.chmod(0o600)
    monkeypatch.setenv(way, PASSWORD if way == "PGPASSWORD" else str(file))
    done = run(*INIT, "--database", guarded)
    assert (done.code, PASSWORD in done.out + done.err) == (0, False)
    assert written() == guarded
    assert run("account", "list", "--data", "new").code == 0


def test_without_the_password_the_hint_says_how_to_give_it(run, guarded, monkeypatch) -> None:
    monkeypatch.setenv("PGPASSFILE", "none")
    done = run(*INIT, "--database", guarded)
    assert (done.code, done.out) == (4, "")
    assert done.err.splitlines() == [
        "error: the database does not answer: fe_sendauth: no password supplied",
        "hint:  PGPASSWORD, PGPASSFILE or ~/.pgpass gives the password",
    ]
    assert not Path("new").exists()


def test_a_url_in_the_environment_is_used_and_not_written_down(run, guarded, monkeypatch) -> None:
    monkeypatch.setenv("LIVEPIN_DATABASE", guarded.replace("@", f":{PASSWORD}@", 1))
    done = run(*INIT)
    assert done.code == 0
    assert (
        "The database is that of LIVEPIN_DATABASE, which is not written down: serve needs it, too."
        in done.out.splitlines()
    )
    assert PASSWORD not in done.out + done.err
    assert written() is None
    for path in Path("new").rglob("*"):
        assert path.is_dir() or PASSWORD.encode() not in path.read_bytes()
    assert run("account", "list", "--data", "new").code == 0


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://livepin:{0}@127.0.0.1:1/livepin",
        "postgresql://livepin@127.0.0.1:1/livepin?password={0}",
        "postgresql://livepin@127.0.0.1:1/livepin?sslpassword={0}",
        "postgresql://livepin:@127.0.0.1:1/livepin",
    ],
)
@pytest.mark.parametrize("command", [(*INIT, "--database"), ("upgrade", "--to")])
def test_a_password_in_the_process_list_is_refused(run, data, command, url) -> None:
    done = run(*command, url.format(PASSWORD))
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [
        f"error: {command[-1]}: a password in a command is in the process list, for everybody to "
        "read",
        "hint:  leave it out; PGPASSWORD, PGPASSFILE or ~/.pgpass gives it. And change this one",
    ]
    assert not Path("new").exists()


@pytest.mark.parametrize(
    ("url", "code", "error"),
    [
        ("sqlite:////srv/livepin.db", 2, "expected --database to be the URL of PostgreSQL"),
        ("db.example.com", 2, "expected --database to be the URL of PostgreSQL"),
        ("postgresql", 2, "the setting database is not the URL of a database that can be used"),
        ("postgresql://livepin@h:one/l", 2, "the setting database is not the URL of a database"),
        ("postgresql://livepin@127.0.0.1:1/livepin", 4, "the database does not answer: "),
    ],
)
def test_what_is_no_database_leaves_nothing_behind(run, url, code, error) -> None:
    done = run(*INIT, "--database", url)
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith(f"error: {error}")
    assert "\nhint:  " in done.err
    assert not Path("new").exists()


def test_a_password_that_splits_the_url_is_not_repeated(run, monkeypatch) -> None:
    """An @ in it has to be %40; else what comes after passes for host and port."""
    monkeypatch.setenv("LIVEPIN_DATABASE", "postgresql://livepin:hunter1@x:hunter2@db/livepin")
    done = run(*INIT)
    assert done.code == 2
    assert "hunter" not in done.out + done.err
    assert done.err.startswith("error: the setting database is not the URL of a database")


def test_two_databases_are_a_mistake_that_names_both(run, monkeypatch) -> None:
    """The variable would win at the next start, and find an empty database."""
    monkeypatch.setenv("LIVEPIN_DATABASE", "postgresql://livepin@other/livepin")
    done = run(*INIT, "--database", "postgresql://livepin@127.0.0.1:1/livepin")
    assert (done.code, done.err.splitlines()[0]) == (
        2,
        "error: --database and LIVEPIN_DATABASE name different databases",
    )
    assert not Path("new").exists()


def test_the_tables_of_another_program_are_left_alone(run, data, empty, postgres) -> None:
    """Else a failed init would take them along when it cleans up."""
    name = empty.split("@/")[1].split("?")[0]
    postgres.run("CREATE TABLE accounts (iban TEXT)", name=name)
    postgres.run("INSERT INTO accounts VALUES ('DE89')", name=name)
    for command in ((*INIT, "--database"), ("upgrade", "--to")):
        done = run(*command, empty)
        assert (done.code, done.out) == (2, "")
        assert done.err.splitlines() == [
            "error: the database is not empty: another program has a table accounts",
            "hint:  name an empty database",
        ]
    with postgres.connect(name) as connection:
        assert connection.execute("SELECT iban FROM accounts").fetchall() == [("DE89",)]
    assert not Path("new").exists()
