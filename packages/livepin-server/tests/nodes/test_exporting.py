"""Several servers that export to one place: whoever writes last, the newest is what stays."""

from __future__ import annotations

import json
import ssl
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from livepin.trust import TrustedState
from livepin_server.layout import RUN_FILE
from livepin_server.services.model import Intent, NewDomain, Role

HOST = "api.example.com"


@pytest.fixture
def exporting(open_folder, postgres_folder, another_folder, start_child, new_pin, tmp_path):
    """Two servers on one database that export to one folder; a way to publish on each."""
    intent = Intent(author="bob")
    www = tmp_path / "www"
    www.mkdir()
    with open_folder(postgres_folder) as opened:
        services = opened.services
        services.domains.add("acme", NewDomain(pattern=HOST, pins=[new_pin(1)]), intent)
        key = services.api_keys.create("publisher", Role.OPERATOR, "acme", intent)[1]
        start = services.published.bootstrap("acme", "main")
    toml = postgres_folder / "livepin.toml"
    toml.write_text(toml.read_text() + f'export = ["{www}"]\n')
    folders = [postgres_folder, another_folder(postgres_folder)]
    children = [start_child(each) for each in folders]
    for each in children:
        each.port()

    def publish(number, mode):
        data = folders[number]
        port = json.loads((data / RUN_FILE).read_text())["port"]
        context = ssl.create_default_context(cafile=str(data / "tls" / "ca.pem"))
        url = f"https://127.0.0.1:{port}/v1/accounts/acme/domains/{HOST}/settings"
        headers = {"authorization": f"Bearer {key}"}
        with httpx.Client(verify=context, trust_env=False, timeout=60) as http:
            http.patch(url, json={"mode": mode}, headers=headers)

    return www, children, publish, start


def test_the_newest_is_what_stays(exporting, until):
    www, children, publish, start = exporting
    file = www / "v1/acme/config/main"
    state = TrustedState.from_bootstrap(start)
    for round_ in range(4):
        with ThreadPoolExecutor(8) as pool:
            for number in range(8):
                pool.submit(publish, number % 2, ("report", "enforce")[(number + round_) % 2])
        newest = children[0].get("/v1/acme/config/main").content
        until(lambda newest=newest: file.exists() and file.read_bytes() == newest)
        state = state.advance_config(file.read_bytes())
    assert state.config.version > 6
    for each in children:
        assert "Traceback" not in each.log
