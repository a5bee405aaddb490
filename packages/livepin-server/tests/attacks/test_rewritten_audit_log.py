"""Who can write the database, or has the whole server, rewrites what the audit log says was done.

The attacker drops the triggers first. Each story ends with `livepin audit verify`, which says what
does not hold and where. A config that an app holds was signed before the attack: it ends even what
the server with all of its keys puts right among its own.
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from livepin.documents import config
from livepin.jose import parse_compact, sign_compact
from livepin_server.cli.app import main
from livepin_server.custody.sealed import Label, load_master_key
from livepin_server.services.audit.chain import FIRST, digest, text
from livepin_server.services.model import Intent, NewDomain, Role
from livepin_server.storage.schema import accounts, audit, configs, keys
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import DatabaseError

MALLORY = Intent(author="mallory", reason="nothing to see", origin="203.0.113.9")


@pytest.fixture(params=["sqlite", "postgresql"])
def attacked(request, tmp_path):
    """The data folder that is attacked, on each database in turn."""
    name = "postgres_folder" if request.param == "postgresql" else "data_folder"
    return request.getfixturevalue(name)


@pytest.fixture
def app(attacked, open_folder, new_pin, intent, tmp_path):
    """What an app embeds that was built when config 2 was the newest; configs 3 and 4 follow."""
    path = tmp_path / "app.json"
    with open_folder(attacked) as opened:
        services = opened.services
        new = NewDomain(pattern="api.example.com", pins=[new_pin(1)])
        services.domains.add("acme", new, intent)
        path.write_bytes(services.published.bootstrap("acme", "main").to_json())
        services.domains.add_pins("acme", "api.example.com", [new_pin(2)], "main", MALLORY)
        services.api_keys.create("back door", Role.ADMIN, None, MALLORY)
        services.publisher.republish("acme", "main", intent)
    return path


@pytest.fixture
def attack(attacked, open_folder):
    """Change the rows of a log by a function, and run statements, without any trigger."""

    def one(change=lambda rows: rows, *statements, account="acme"):
        def transaction(connection):
            drop_triggers(connection)
            query = select(audit).where(audit.c.account == account).order_by(audit.c.number)
            rows = change([row._asdict() for row in connection.execute(query)])
            connection.execute(delete(audit).where(audit.c.account == account))
            connection.execute(insert(audit), rows)
            for each in statements:
                connection.execute(each)

        with open_folder(attacked) as opened:
            opened.services.database.write(transaction)

    return one


def drop_triggers(connection):
    if connection.dialect.name == "sqlite":
        for name in ("update", "delete", "insert"):
            connection.exec_driver_sql(f"DROP TRIGGER audit_{name}")
    else:
        connection.exec_driver_sql("ALTER TABLE audit DISABLE TRIGGER USER")


def chained_anew(rows):
    """Give rows the numbers and digests that they would have had."""
    before = FIRST
    for number, row in enumerate(rows, 1):
        row["number"], row["digest"] = number, digest(before, row["entry"])
        before = row["digest"]
    return rows


def told_otherwise(row):
    """Return a row that tells of another author, address and reason."""
    entry = json.loads(row["entry"])
    entry |= {"author": "nobody", "reason": "nothing to see"}
    entry.pop("origin", None)
    return row | {"entry": msgspec.json.encode(entry)}


def without(number):
    return lambda rows: [row for row in rows if row["number"] != number]


@pytest.fixture
def verify(attacked, capsys):
    """Verify the log; return the exit code, and what was said."""

    def one(*arguments):
        capsys.readouterr()
        code = main(["audit", "verify", "--data", str(attacked), *map(str, arguments)])
        found = capsys.readouterr()
        return code, (found.err or found.out).splitlines()[0]

    return one


HOLDS = "6 entries of the account acme, each follows from the one before"


def test_what_was_really_done_holds(app, verify):
    assert verify() == (0, HOLDS)
    assert verify("--bootstrap", app, "--server") == (0, HOLDS)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET entry = digest WHERE number = 5",
        "DELETE FROM audit WHERE number = 5",
        "DELETE FROM audit",
        "INSERT INTO audit SELECT account, number + 10, entry, digest FROM audit",
    ],
)
def test_who_has_not_dropped_the_triggers_is_refused_by_them(
    app, attacked, open_folder, verify, statement
):
    with open_folder(attacked) as opened:
        database = opened.services.database
        with pytest.raises(DatabaseError, match="the audit log only gains entries"):
            database.write(lambda each: each.exec_driver_sql(statement))
    assert verify("--bootstrap", app) == (0, HOLDS)


# -- in the database: the server's own configs show it ---------------------------------------------


def test_an_entry_is_changed(app, attack, verify):
    attack(lambda rows: [told_otherwise(row) if row["number"] == 5 else row for row in rows])
    assert verify() == (1, "error: entry 5 does not have its digest")


def test_an_entry_is_changed_and_its_digest_with_it(app, attack, verify):
    def change(rows):
        rows[4] = told_otherwise(rows[4])
        rows[4]["digest"] = digest(rows[3]["digest"], rows[4]["entry"])
        return rows

    attack(change)
    # The config that it published was signed over the digest that it had.
    assert verify() == (
        1,
        "error: entry 5 published config 3, but its digest is not the head that the server's "
        "config 3 carries",
    )


def test_an_entry_is_removed(app, attack, verify):
    attack(without(4))
    assert verify() == (1, "error: expected entry 4, found entry 5")


def test_an_entry_is_removed_and_the_others_move_up(app, attack, verify):
    attack(lambda rows: [row | {"number": n} for n, row in enumerate(without(4)(rows), 1)])
    assert verify() == (1, "error: entry 4 does not have its digest")


def test_an_entry_is_put_in(app, attack, verify):
    def change(rows):
        listed = [*rows[:4], told_otherwise(rows[3]), *rows[4:]]
        return [row | {"number": n} for n, row in enumerate(listed, 1)]

    attack(change)
    assert verify() == (1, "error: entry 5 does not have its digest")


def test_two_entries_change_places(app, attack, verify):
    def change(rows):
        listed = [*rows[:3], rows[4], rows[3], *rows[5:]]
        return [row | {"number": n} for n, row in enumerate(listed, 1)]

    attack(change)
    assert verify() == (1, "error: entry 4 does not have its digest")


def test_the_tail_is_cut_off(app, attack, verify):
    attack(lambda rows: rows[:-2])
    assert verify() == (
        1,
        "error: the server's config 3 carries a head that is not in the log of the account acme, "
        "which ends at entry 4",
    )


def test_an_entry_of_another_account_is_moved_over(app, attack, verify, attacked, open_folder):
    with open_folder(attacked) as opened, opened.services.database.reading() as connection:
        query = select(audit).where(audit.c.account == "")
        foreign = connection.execute(query).first()._asdict()

    def change(rows):
        foreign["account"] = "acme"
        return chained_anew([*rows, foreign])

    attack(change)
    assert verify() == (1, "error: entry 7 is of the server, not of the account acme")


def test_the_whole_chain_is_written_anew(app, attack, verify):
    def change(rows):
        return chained_anew([told_otherwise(row) if row["number"] == 5 else row for row in rows])

    attack(change)
    assert verify()[0] == 1
    assert "entry 5 published config 3, but its digest is not the head" in verify()[1]


def test_an_entry_in_the_servers_log_is_left_out(app, attack, verify):
    attack(lambda rows: chained_anew(rows[:-1]), account="")  # the one that tells of the back door
    assert verify() == (0, HOLDS)
    assert verify("--server") == (
        1,
        "error: entry 6 of the account acme carries a head that is not in the log of the server, "
        "which ends at entry 2",
    )


# -- the whole server: only what is elsewhere shows it --------------------------------------------


@pytest.fixture
def signed_anew(attacked, open_folder):
    """Return the statements that sign every config anew, over other heads."""

    def one(heads):
        statements = []
        with open_folder(attacked) as opened, opened.services.database.reading() as connection:
            found = connection.execute(select(configs)).all()
            row = connection.execute(select(keys).where(keys.c.role == "config")).one()
        vault = load_master_key(attacked / "master.key", None)
        key = vault.open(row.sealed, Label("acme", "config", row.kid))
        for each in found:
            payload = json.loads(parse_compact(each.document, typ=config.TYP).payload)
            payload["audit"] = heads[each.version]
            raw = sign_compact(json.dumps(payload).encode(), typ=config.TYP, signer=key)
            place = configs.c.version == each.version
            statements.append(update(configs).where(place).values(document=raw))
        return statements

    return one


def test_log_and_configs_are_cut_off_together(app, attack, verify):
    newest = delete(configs).where(configs.c.version > 1), update(accounts).values(last_version=1)
    attack(lambda rows: rows[:3], *newest)
    assert verify() == (0, HOLDS.replace("6", "3"))
    assert verify("--bootstrap", app) == (
        1,
        f"error: {app} carries a head that is not in the log of the account acme, which ends at "
        "entry 3",
    )


def test_log_and_configs_are_written_anew_with_the_servers_own_keys(
    app, attack, verify, attacked, open_folder, signed_anew
):
    with open_folder(attacked) as opened, opened.services.database.reading() as connection:
        query = select(audit).where(audit.c.account == "acme").order_by(audit.c.number)
        rows = [row._asdict() for row in connection.execute(query)]
    anew = chained_anew([told_otherwise(row) if row["number"] in (4, 5) else row for row in rows])
    published = {json.loads(row["entry"]).get("config"): text(row["digest"]) for row in anew}
    attack(lambda _: anew, *signed_anew(published))
    assert verify() == (0, HOLDS)  # among itself everything fits
    assert verify("--bootstrap", app) == (
        1,
        f"error: entry 4 published config 2, but its digest is not the head that {app} carries",
    )


def test_the_account_is_made_anew_under_another_root(app, attacked, tmp_path, capsys):
    other = tmp_path / "made-anew"
    arguments = ["--account", "acme", "--url", "https://pins.example.com:8443", "--online-root"]
    ports = ["--port", "0", "--management-port", "0"]
    assert main(["init", str(other), *arguments, *ports]) == 0
    assert main(["audit", "verify", "--data", str(other)]) == 0
    capsys.readouterr()
    assert main(["audit", "verify", "--data", str(other), "--bootstrap", str(app)]) == 1
    message = "root 1 of the server is not the one that was known before"
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_a_config_that_nobody_signed_is_no_proof(app, verify, tmp_path):
    found = json.loads(app.read_bytes())
    forged = Path(tmp_path / "forged")
    forged.write_text(found["config"][:-5] + "AAAAA")
    code, said = verify("--config", forged)
    assert (code, said) == (1, f"error: {forged} is not signed by a key that root 1 names")
