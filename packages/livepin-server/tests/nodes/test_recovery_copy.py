"""The day delivery is gone: a real app takes root and config from what nginx serves as files."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import tempfile
from pathlib import Path

import httpx
import livepin
import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from livepin.documents.root import TYP
from livepin.jose import parse_general, sign_general
from livepin.testing import make_chain
from livepin_server.custody.sealed import Label, load_master_key
from livepin_server.exports.static import Documents, export, target
from livepin_server.exports.static.documents import (
    CONFIG_CACHING,
    CONFIG_TYPE,
    ROOT_CACHING,
    ROOT_TYPE,
)
from livepin_server.services.changes import SetDelivery
from livepin_server.services.delivery_settings import DeliveryChange
from livepin_server.services.model import How, Intent, NewDomain
from livepin_server.storage.schema import keys, roots
from sqlalchemy import insert, select

INTENT = Intent(author="bob")
HOST = "api.example.com"
GUIDE = Path(__file__).parents[4] / "docs" / "operations.md"


def snippet():
    """Return the server block of the guide, word for word."""
    text = GUIDE.read_text("utf-8")
    (found,) = re.findall(r"```nginx\n(.*?)```", text, re.DOTALL)
    return found


@pytest.fixture
def nginx(tmp_path, counterpart, until):
    """Serve a folder as the guide says, over http and https; give the URL of each."""
    with contextlib.ExitStack() as stack:

        def one(www):
            folder = tmp_path / "nginx"
            folder.mkdir()
            chain = make_chain("localhost", "127.0.0.1")
            pem = b"".join(each.public_bytes(Encoding.PEM) for each in chain.presented)
            (folder / "site.pem").write_bytes(pem)
            key = chain.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            (folder / "site.key").write_bytes(key)
            ports = []
            for _ in range(2):
                with socket.socket() as sock:
                    sock.bind(("127.0.0.1", 0))
                    ports.append(sock.getsockname()[1])
            server = snippet()
            for old, new in {
                "listen 80;": f"listen 127.0.0.1:{ports[0]};",
                "listen 443 ssl;": f"listen 127.0.0.1:{ports[1]} ssl;",
                "/etc/ssl/recovery.pem": f"{folder}/site.pem",
                "/etc/ssl/recovery.key": f"{folder}/site.key",
                "/srv/www/livepin": str(www),
            }.items():
                assert old in server
                server = server.replace(old, new)
            temporary = "".join(
                f"{each}_temp_path {folder};"
                for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            )
            (folder / "nginx.conf").write_text(
                f"worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log;"
                f"events {{}} http {{ access_log off; {temporary} {server} }}"
            )
            command = [counterpart("nginx"), "-c", f"{folder}/nginx.conf", "-e", f"{folder}/e.log"]
            process = subprocess.Popen(command)
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)

            def answers():
                assert process.poll() is None, (folder / "error.log").read_text()
                with contextlib.suppress(OSError):
                    for port in ports:
                        socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    return True
                return False

            until(answers)
            return f"http://127.0.0.1:{ports[0]}", f"https://localhost:{ports[1]}", chain

        yield one


@pytest.fixture
def www():
    """A folder that nginx can get to, whose workers are another user's where it is root's."""
    with tempfile.TemporaryDirectory(prefix="lp-www-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def add_root(open_folder):
    """Have a server hold root 2, signed by the root key that it keeps online."""

    def one(opened):
        services = opened.services
        vault = load_master_key(opened.data / "master.key", None)
        with services.database.reading() as connection:
            first = connection.execute(select(roots)).one()
            row = connection.execute(select(keys).where(keys.c.role == "root")).one()
        key = vault.open(row.sealed, Label("acme", "root", row.kid))
        payload = json.loads(parse_general(first.document, typ=TYP).payload) | {"version": 2}
        raw = sign_general(json.dumps(payload).encode(), typ=TYP, signers=[key])
        values = first._asdict() | {"version": 2, "document": raw}
        services.database.write(lambda each: each.execute(insert(roots).values(**values)))

    return one


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_app_whose_delivery_is_dead_takes_root_and_config_from_nginx(
    scheme, data_folder, run_server, nginx, www, add_root, tmp_path, until, monkeypatch, new_pin
):
    http, https, chain = nginx(www)
    url = {"http": http, "https": https}[scheme]
    (tmp_path / "ca.pem").write_text(chain.authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))  # what the device trusts
    server = run_server(data_folder, LIVEPIN_EXPORT=str(www))
    services = server.services
    dead = DeliveryChange(urls=["https://127.0.0.1:1"], recovery_urls=[url])
    agreed = msgspec.structs.replace(INTENT, how=How(confirmed=True))
    services.publisher.publish("acme", [SetDelivery(wanted=dead)], agreed)
    bootstrap = services.published.bootstrap("acme", "main")
    add_root(server.folder)
    services.domains.add("acme", NewDomain(pattern=HOST, pins=[new_pin(1)]), INTENT)
    newest = services.published.version("acme", "main")[1]
    copy = www / "v1/acme/config/main"
    until(lambda: copy.exists() and copy.read_bytes() == newest)
    with livepin.Client(bootstrap, push=False, reports=False) as app:
        assert app.domain(HOST) is None
        app.refresh()
        status = app.status()
        assert (status.root_version, status.version) == (2, 3)
        assert app.domain(HOST).pins.texts(now=status.issued) == (new_pin(1).sha256,)


def test_nginx_says_what_delivery_says_of_types_and_caching(nginx, www, opened):
    found = opened.services.published.documents("acme")
    raw = found.configs["main"].raw
    documents = Documents(account="acme", roots=found.roots, configs={"main": raw})
    export(documents, target(str(www), {}))
    url = nginx(www)[0]
    for path, kind, caching, body in (
        ("config/main", CONFIG_TYPE, CONFIG_CACHING, raw),
        ("root/1", ROOT_TYPE, ROOT_CACHING, found.roots[1]),
    ):
        for encoding in ("identity", "gzip"):
            headers = {"accept-encoding": encoding}
            answer = httpx.get(f"{url}/v1/acme/{path}", headers=headers, trust_env=False)
            assert (answer.status_code, answer.content) == (200, body)
            assert answer.headers["content-type"] == kind
            assert answer.headers["cache-control"] == caching
            assert answer.headers.get("content-encoding", "identity") == encoding
    for path in (".livepin.lock", "v1/acme/root/2", "v1/acme/config/", "v1/acme/config/.main.x"):
        assert httpx.get(f"{url}/{path}", trust_env=False).status_code == 404
