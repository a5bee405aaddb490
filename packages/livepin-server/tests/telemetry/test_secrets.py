"""No secret in a log, a repr or an error, whatever is done and at whatever level."""

import base64
import contextlib
import functools
import logging
import os
import re
import sqlite3
import subprocess
import sys

import pytest
from livepin_server import folder
from livepin_server.cli.app import main
from livepin_server.custody.label import SEALED, Label
from livepin_server.custody.root_file import read_root_key
from livepin_server.custody.sealed import load_master_key
from livepin_server.errors import ServiceError
from livepin_server.folder import Plan
from livepin_server.services.model import Intent, NewDomain, NewPin, NextRoot, Role
from livepin_server.storage.schema import keys
from sqlalchemy import select

INTENT = Intent(author="bob")

PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def made(tmp_path, settings, clock):
    return Plan(
        data=tmp_path / "data",
        account="acme",
        settings=settings,
        root_key=tmp_path / "root.key",
        passphrase=PASSPHRASE,
    )


def forms(raw):
    """Return the texts in which bytes could be shown."""
    standard, url = base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()
    return {standard.rstrip("="), url.rstrip("="), raw.hex(), repr(raw)[2:-1], str(list(raw))}


def private_forms(key):
    """Return the texts in which a private key could be shown."""
    number = key.key.private_numbers().private_value
    return forms(number.to_bytes(32, "big")) | forms(key.pkcs8()) | {str(number), f"{number:x}"}


def secrets_of(data, root_key, services):
    """Return every secret that the server has, in every form."""
    found = {PASSPHRASE, (data / "operator.key").read_text().strip()[17:]}
    found |= forms(base64.b64decode((data / "master.key").read_text()))
    for name in ("server.key", "next.key"):
        found |= set(re.findall(r"^[A-Za-z0-9+/=]{40,}$", (data / "tls" / name).read_text(), re.M))
    vault = load_master_key(data / "master.key", None)
    with services.database.reading() as connection:
        rows = connection.execute(select(keys)).all()
    private = [vault.open(row.sealed, Label(row.account, row.role, row.kid)) for row in rows]
    private.append(read_root_key(root_key, passphrase=PASSPHRASE)[1])
    for each in private:
        found |= private_forms(each)
    for row in rows:
        found |= forms(row.sealed)
    return found


def shown(value, depth=4):
    """Return the reprs of an object of Livepin's and of those that it holds."""
    texts = [repr(value), str(value)]
    names = [*getattr(value, "__dict__", ()), *getattr(type(value), "__slots__", ())]
    for each in (getattr(value, name, None) for name in names if depth):
        if type(each).__module__.startswith("livepin"):
            texts += shown(each, depth - 1)
    return texts


def use_everything(opened, clock, intent):
    """Do what operators do, right and wrong; return what came back, and the errors."""
    services = opened.services
    pin = "sha256/" + "A" * 43 + "="
    new = NewDomain(pattern="api.example.com", pins=[NewPin(sha256=pin)])
    yield services.domains.add("acme", new, intent)
    yield services.accounts.all()
    view, text = services.api_keys.create("ci", Role.ADMIN, "acme", INTENT)
    yield view
    yield services.api_keys.verify(text)
    yield services.api_keys.all()
    yield services.api_keys.revoke(view.id, INTENT)
    for wrong in (text, text[:-1], text.upper(), ""):
        try:
            services.api_keys.verify(wrong)
        except ServiceError as exc:
            yield exc
    try:
        services.domains.add("acme", new, intent)
    except ServiceError as exc:
        yield exc
    yield services.roots.prepare("acme", NextRoot(replace_online=True), INTENT)
    yield services.roots.show("acme")
    for wrong in (services.roots.sign, services.roots.publish):
        try:
            wrong("acme", b"{}", INTENT)
        except ServiceError as exc:
            yield exc
    yield services.private_keys.rekey(INTENT)
    yield services.private_keys.warnings()
    clock.advance(days=8)
    yield services.publisher.resign_due()
    folder.renew_identity(opened, clock=clock)


def test_no_secret_is_logged_shown_or_raised(made, clock, intent, caplog):
    with caplog.at_level(logging.DEBUG):
        folder.initialise(made, clock=clock)
        with folder.opened(made.data, {}, clock=clock) as opened:
            secrets = secrets_of(made.data, made.root_key, opened.services)
            texts = [repr(each) for each in use_everything(opened, clock, intent)]
            texts += shown(made) + shown(opened) + shown(opened.services)
            secrets |= secrets_of_new_identity(made.data)
            secrets |= secrets_of(made.data, made.root_key, opened.services)
    texts += [repr(vars(record)) for record in caplog.records]
    everything = "\n".join([*texts, caplog.text])
    assert len(texts) > 50
    assert len(secrets) > 20
    assert not [each for each in secrets if each in everything]


def secrets_of_new_identity(data):
    text = (data / "tls" / "server.key").read_text()
    return set(re.findall(r"^[A-Za-z0-9+/=]{40,}$", text, re.M))


SERVE = """
import logging, pathlib, sys
from livepin_server import main

async def started(running):
    logging.getLogger("livepin.test").debug("asked with %s", sys.argv[2])
    running.stop.set()

main.run_server(pathlib.Path(sys.argv[1]), started=started)
"""


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_server_at_its_most_talkative_tells_no_secret(made, clock, form):
    folder.initialise(made, clock=clock)
    with folder.opened(made.data, {}, clock=clock) as opened:
        secrets = secrets_of(made.data, made.root_key, opened.services)
    key = (made.data / "operator.key").read_text().strip()
    environment = {"LIVEPIN_LOG_LEVEL": "debug", "LIVEPIN_LOG_FORMAT": form}
    environment["LIVEPIN_MASTER_KEY"] = (made.data / "master.key").read_text().strip()
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", SERVE, str(made.data), key],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | environment,
    )
    assert "asked with lpk_" in done.stderr
    output = done.stdout + done.stderr
    assert not [each for each in secrets if each in output]


CEREMONY = [
    "init data --account acme --url https://pins.example.com --root-key root.key --port 0",
    "root new-key bob.key --account acme",
    "root new-key hsm --account acme --pkcs11-module {module} --token acme --label acme-root",
    "root new-key hsm --account acme --pkcs11-module {module} --token acme --label acme-root",
    "root prepare --replace-online --add-key bob.key.pub --add-key hsm.pub --threshold 2 --out p",
    "root prepare --add-key bob.key",
    "root sign p --key root.key --passphrase-file wrong --yes",
    "root sign p --key root.key --yes --json",
    "root sign p --key root.key --yes",
    "root sign p --pkcs11-module {module} --token acme --label acme-root --yes",
    "root publish p --json",
    "root publish p",
    "root show",
    "root show --json",
    "root rotate --key bob.key --root-key new.key --yes",
    "root rotate --key root.key --key bob.key --replace-online --yes --json",
    "custody rekey --yes --json",
    "custody rekey --yes",
    "account add beta --root-key beta.key --json",
    "account add gamma --root-public bob.key.pub --json",
    "account add delta --root-public bob.key",
    "account list --json",
    "status --json",
]


@pytest.mark.parametrize("token", ["", "in a token"])
def test_no_command_of_a_ceremony_tells_a_secret(
    tmp_path, soft_token, monkeypatch, capsys, caplog, token
):
    monkeypatch.chdir(tmp_path)
    environment = soft_token.environment if token else {"LIVEPIN_PKCS11_PIN": soft_token.pin}
    variables = {"LIVEPIN_DATA": "data", "LIVEPIN_ROOT_PASSPHRASE": PASSPHRASE, **environment}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "wrong").write_text(f"not {PASSPHRASE}")
    secrets = {PASSPHRASE, soft_token.pin}
    texts = []
    with caplog.at_level(logging.DEBUG):
        for line in CEREMONY:
            code = main(line.format(module=soft_token.module).split())
            said = capsys.readouterr()
            texts.append(f"{code} {said.out} {said.err}")
            secrets |= secrets_of_files(tmp_path)
    texts += [caplog.text, *(repr(vars(record)) for record in caplog.records)]
    codes = [int(each.split()[0]) for each in texts[: len(CEREMONY)]]
    assert codes.count(0) == len(CEREMONY) - 8
    everything = "\n".join(texts)
    assert len(secrets) > 50
    assert not [each for each in secrets if each in everything]


@functools.cache
def secrets_of_root_key(path):
    return private_forms(read_root_key(path, passphrase=PASSPHRASE)[1])


def secrets_of_files(folder):
    """Return the secrets in a data folder, and in the root key files beside it."""
    data, found = folder / "data", set()
    for path in folder.glob("*.key"):
        found |= secrets_of_root_key(path)
    if (data / "master.key").exists():
        found |= forms(base64.b64decode((data / "master.key").read_text()))
        found.add((data / "operator.key").read_text().strip()[17:])
        sealed = load_master_key(data / "master.key", None)
        with contextlib.closing(sqlite3.connect(data / "livepin.db")) as connection:
            rows = connection.execute("SELECT account, role, kid, sealed FROM keys").fetchall()
        for account, role, kid, kept in rows:
            if kept[:1] == SEALED:
                found |= private_forms(sealed.open(kept, Label(account, role, kid))) | forms(kept)
    return found
