"""livepin doctor beside the operators' commands: the same examination, the same exit codes."""

from __future__ import annotations

import pytest
from livepin.pins import fingerprint_text


def test_the_bootstrap_of_a_server_is_judged_at_the_endpoint(run, data, api, ca, chain) -> None:
    run("domain", "add", "localhost", "--port", api.port, "--ca", ca)
    run("bootstrap", "--out", "bootstrap.json")
    where = f"https://localhost:{api.port}"
    done = run("doctor", where, "--ca", ca, "--bootstrap", "bootstrap.json")
    assert (done.code, done.err) == (0, "")
    assert f"{fingerprint_text(chain.pin.sha256)} matches\n" in done.out
    found = run("doctor", where, "--ca", ca, "--bootstrap", "bootstrap.json", "--json").json
    assert found["domain"]["matched"] == fingerprint_text(chain.pin.sha256)


@pytest.mark.parametrize(
    ("arguments", "code"), [(("nowhere.invalid",), 4), (("http://a.test",), 2), ((), 2)]
)
def test_what_fails_has_its_exit_code_and_no_output(run, arguments, code) -> None:
    done = run("doctor", *arguments)
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("error: ")


def test_a_pin_that_does_not_match_is_exit_code_1(run, data, api, ca) -> None:
    run("domain", "add", "localhost", "--pin", "sha256/" + "A" * 43 + "=")
    run("bootstrap", "--out", "bootstrap.json")
    where = f"localhost:{api.port}"
    done = run("doctor", where, "--ca", ca, "--bootstrap", "bootstrap.json")
    assert done.code == 1
    assert "problem: no pin of localhost matches: an app is refused\n" in done.out
