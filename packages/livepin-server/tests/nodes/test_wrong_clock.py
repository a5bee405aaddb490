"""`livepin serve` on a machine whose clock jumps: apps go on, and operators are told."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from killing import BASE, PATIENCE
from publishing import Publishing

LIBRARY = "faketime/libfaketimeMT.so.1"


@pytest.fixture
def clock_file(counterpart, tmp_path):
    """Give the environment of a process whose clock is as far off as a file says: `+1y`, `-1h`."""
    counterpart("faketime")
    (library,) = Path("/usr/lib").glob(f"*/{LIBRARY}")
    file = tmp_path / "clock"
    file.write_text("+0")
    environment = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    return file, environment


def newest(http, stream="main"):
    """Return the newest publication of a stream."""
    answer = http.get(f"{BASE}/configs", params={"limit": 1, "stream": stream})
    return answer.json()["items"][0]


def newest_reasons(http):
    """Return the reasons of the newest publications: streams are signed one after another."""
    streams = [each["name"] for each in http.get(f"{BASE}/streams").json()]
    return {newest(http, each)["reason"] for each in streams}


def test_a_clock_that_jumps_an_hour_back_and_a_year_ahead(
    start_nodes, data_folder, clock_file, until
):
    file, environment = clock_file
    operation = Publishing(1)
    (node,) = start_nodes(operation, data_folder)
    pattern, modes = "host-0.example.com", itertools.cycle(["report", "enforce"])

    def restart():
        assert node.child.end() == 0
        node.start(**environment)
        assert node.child.serves(), node.child.log

    def change(http):
        path = f"{BASE}/domains/{pattern}/settings"
        answer = http.patch(path, json={"mode": next(modes), "reason": file.read_text()})
        assert answer.status_code == 200
        return answer.json()["publication"]

    def follow(version):
        app.refresh(timeout=PATIENCE)
        return app.status().version == version

    restart()
    app, node.ledger.node = node.ledger.apps["main"], node
    with node.management() as http, node.followed():
        found = []
        for text in ("+0", "-1h", "+1y", "-1h", "+0"):
            file.write_text(text)
            found.append(change(http))
            until(lambda: follow(found[-1]["version"]))
        with operation.at_work(node):
            for text in ("+1y", "-1h", "+1y", "+0"):
                node.wait_for_more()
                file.write_text(text)
            node.wait_for_more()
    assert [each["version"] for each in found] == list(
        range(found[0]["version"], found[0]["version"] + 5)
    )
    node.ledger.check(node)
    # It took one of the future: it cannot know whose clock is wrong, and goes on all the same.
    assert app.status().clock_wrong
    assert not app.status().stale
    with node.management() as http:
        # Chance may have left each stream dated ahead: this signs them all at the right time.
        assert http.put(f"{BASE}/delivery", json={"refresh_interval": 604800}).status_code == 200
        warned = http.get("/v1/status").json()["warnings"]
    assert any("the clock of a server was ahead once" in each for each in warned)


def test_a_config_of_the_future_is_signed_again_when_the_clock_is_back(
    start_nodes, data_folder, clock_file, until
):
    file, environment = clock_file
    (node,) = start_nodes(Publishing(1), data_folder)
    for now, reason in (
        ("+1y", "re-signed at half its lifetime"),
        ("+0", "re-signed because its time of issue is in the future"),
    ):
        assert node.child.end() == 0
        file.write_text(now)
        node.start(**environment)
        assert node.child.serves(), node.child.log
        with node.management() as http:
            until(lambda http=http, reason=reason: newest_reasons(http) == {reason})
        node.ledger.check(node)
