"""No secret in a log, a repr or an error, whatever is done and at whatever level."""

import base64
import logging
import os
import re
import subprocess
import sys

import pytest
from livepin_server import folder
from livepin_server.custody.root_file import read_root_key
from livepin_server.custody.sealed import Label, load_master_key
from livepin_server.errors import ServiceError
from livepin_server.folder import Plan
from livepin_server.services.model import Intent, NewDomain, NewPin, Role
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
        number = each.key.private_numbers().private_value
        found |= forms(number.to_bytes(32, "big")) | {str(number), f"{number:x}"}
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
